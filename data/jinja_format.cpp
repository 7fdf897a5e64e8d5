// Numbers and strings with a width, as both "..." % values and "...".format(values) write them.
#include "data/jinja_format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer::jinja {

namespace {

std::string grouped(const std::string& digits, char separator, std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % size == 0) text += separator;
        text += digits[i];
    }
    return text;
}

std::string magnitude(std::uint64_t value, unsigned base, bool upper) {
    const std::string_view digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    std::string text;
    do {
        text += digits[value % base];
        value /= base;
    } while (value);
    std::reverse(text.begin(), text.end());
    return text;
}

std::string with_printf(double value, char type, std::int64_t precision, bool alternate) {
    if (precision > 2000) throw Failure("a format has more than 2000 decimals");
    char pattern[8];
    std::snprintf(pattern, sizeof pattern, alternate ? "%%#.*%c" : "%%.*%c", type);
    const int size = std::snprintf(nullptr, 0, pattern, static_cast<int>(precision), value);
    std::string text(static_cast<std::size_t>(size) + 1, '\0');
    std::snprintf(text.data(), text.size(), pattern, static_cast<int>(precision), value);
    text.pop_back();
    return text;
}

// The digits of |value|, without sign.
std::string float_digits(double value, const FormatStyle& style) {
    value = std::fabs(value);
    const bool upper = style.type >= 'A' && style.type <= 'Z';
    if (!std::isfinite(value)) {
        std::string text = std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
        return style.type == '%' ? text + "%" : text;
    }
    if (style.type == '%')
        return with_printf(value * 100, 'f', style.precision < 0 ? 6 : style.precision, style.alternate) + "%";
    if (style.type == 0 && style.precision < 0) return python_float(value);
    const char type = style.type == 0 || style.type == 'n' ? 'g' : style.type;
    std::string text = with_printf(value, type, style.precision < 0 ? 6 : style.precision, style.alternate);
    if (style.type == 0 && text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

// sign + prefix + digits, padded.
void add_number(Builder& out, const std::string& sign, const std::string& prefix, std::string digits,
                const FormatStyle& style, Tag tag) {
    if (style.grouped) {
        const std::size_t whole = std::min(digits.find_first_of(".e%"), digits.size());
        const std::size_t size = prefix.empty() && style.type != 'x' && style.type != 'b' && style.type != 'o' ? 3 : 4;
        digits = grouped(digits.substr(0, whole), style.group, size) + digits.substr(whole);
    }
    const auto used = static_cast<std::int64_t>(sign.size() + prefix.size() + digits.size());
    const std::int64_t space = std::max<std::int64_t>(0, style.width - used);
    const char align = style.align ? style.align : '>';
    const std::int64_t left = align == '>' ? space : align == '^' ? space / 2 : 0;
    out.add_repeated(style.fill, left);
    out.add(sign + prefix, tag);
    if (align == '=') out.add_repeated(style.fill, space);
    out.add(digits, tag);
    if (align == '<' || align == '^') out.add_repeated(style.fill, space - left);
}

std::string sign_of(bool negative, const FormatStyle& style) {
    return negative ? "-" : style.sign == '+' ? "+" : style.sign == ' ' ? " " : "";
}

}   // namespace

std::int64_t read_number(const std::string& text, std::size_t& at) {
    std::int64_t value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        value = value * 10 + (text[at] - '0');
        if (value > widest_format) throw Failure(format("a format is wider than {}", widest_format));
    }
    return value;
}

void add_integer(Builder& out, std::int64_t value, const FormatStyle& style, Tag tag) {
    const unsigned base = style.type == 'x' || style.type == 'X' ? 16
                          : style.type == 'o'                    ? 8
                          : style.type == 'b'                    ? 2
                                                                 : 10;
    const std::uint64_t absolute =
        value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
    std::string digits = magnitude(absolute, base, style.type == 'X');
    if (style.precision > static_cast<std::int64_t>(digits.size()))
        digits.insert(0, static_cast<std::size_t>(style.precision) - digits.size(), '0');
    const std::string prefix = style.alternate && base != 10 ? std::string("0") + style.type : "";
    add_number(out, sign_of(value < 0, style), prefix, digits, style, tag);
}

void add_string(Builder& out, const Value& text, const FormatStyle& style) {
    const Text& from = text.text();
    const std::size_t end =
        style.precision < 0 ? from.bytes.size() : offset_of(from, static_cast<std::size_t>(style.precision));
    const std::int64_t used = static_cast<std::int64_t>(code_points(std::string_view(from.bytes).substr(0, end)));
    const std::int64_t space = std::max<std::int64_t>(0, style.width - used);
    const std::int64_t left = style.align == '>' || style.align == '=' ? space : style.align == '^' ? space / 2 : 0;
    out.add_repeated(style.fill, left);
    out.add(from, 0, end);
    out.add_repeated(style.fill, space - left);
}

void add_float(Builder& out, double value, const FormatStyle& style, Tag tag) {
    add_number(out, sign_of(std::signbit(value) && !std::isnan(value), style), "", float_digits(value, style), style,
               tag);
}

}   // namespace trainer::jinja
