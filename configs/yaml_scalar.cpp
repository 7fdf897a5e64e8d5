#include "configs/yaml_scalar.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

namespace trainer {

namespace {

bool all_digits(std::string_view text, std::string_view digits) {
    return !text.empty() && text.find_first_not_of(digits) == std::string_view::npos;
}

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?   (YAML 1.2.2, section 10.3.2)
bool is_decimal_float(std::string_view text) {
    constexpr std::string_view decimal = "0123456789";
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
    if (const std::size_t e = text.find_first_of("eE"); e != std::string_view::npos) {
        std::string_view exponent = text.substr(e + 1);
        if (!exponent.empty() && (exponent[0] == '-' || exponent[0] == '+')) exponent.remove_prefix(1);
        if (!all_digits(exponent, decimal)) return false;
        text = text.substr(0, e);
    }
    const std::size_t point = text.find('.');
    if (point == std::string_view::npos) return all_digits(text, decimal);
    const std::string_view whole = text.substr(0, point);
    const std::string_view fraction = text.substr(point + 1);
    if (whole.empty()) return all_digits(fraction, decimal);
    return all_digits(whole, decimal) && (fraction.empty() || all_digits(fraction, decimal));
}

double to_double(std::string_view text) {
    if (text[0] == '+') text.remove_prefix(1);
    return std::strtod(std::string(text).c_str(), nullptr);   // the program never sets a locale
}

}   // namespace

Node yaml_scalar(const std::string& text) {
    if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return Node();
    if (text == "true" || text == "True" || text == "TRUE") return Node(true);
    if (text == "false" || text == "False" || text == "FALSE") return Node(false);

    std::string_view digits = text;
    const bool negative = digits[0] == '-';
    if (negative || digits[0] == '+') digits.remove_prefix(1);
    int base = 0;
    if (all_digits(digits, "0123456789")) {
        base = 10;
    } else if (text.substr(0, 2) == "0x" && all_digits(digits.substr(2), "0123456789abcdefABCDEF")) {
        base = 16;
    } else if (text.substr(0, 2) == "0o" && all_digits(digits.substr(2), "01234567")) {
        base = 8;
    }
    if (base != 0) {
        std::string spelling = negative ? "-" : "";
        spelling += base == 10 ? digits : digits.substr(2);
        std::int64_t value = 0;
        const char* end = spelling.data() + spelling.size();
        if (std::from_chars(spelling.data(), end, value, base).ec == std::errc()) return Node(value);
        if (base == 10) return Node(to_double(text));
        return Node(text);
    }
    if (is_decimal_float(text)) return Node(to_double(text));
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (digits == ".inf" || digits == ".Inf" || digits == ".INF") return Node(negative ? -infinity : infinity);
    if (text == ".nan" || text == ".NaN" || text == ".NAN") return Node(std::numeric_limits<double>::quiet_NaN());
    return Node(text);
}

}   // namespace trainer
