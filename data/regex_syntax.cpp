#include "data/regex_syntax.h"

#include <algorithm>
#include <array>
#include <vector>

#include "configs/error.h"
#include "data/unicode.h"

namespace trainer {

namespace {

constexpr std::string_view white_space =
    "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}";
constexpr std::string_view not_white_space =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}";

std::string code_point(char32_t point) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    do hex.insert(hex.begin(), digits[point & 15]);
    while ((point >>= 4) != 0);
    return "\\x{" + hex + "}";
}

// Class content for the code points whose general category starts with one of `categories`.
std::string members(const std::vector<std::string>& categories) {
    std::string content;
    for (const std::string& category : categories) {
        content += "\\p{" + category + "}";
        for (const unicode::Added& added : unicode::added_after_14())
            if (std::string_view(added.category).substr(0, category.size()) == category)
                content += code_point(added.first) + "-" + code_point(added.last);
    }
    return content;
}

struct Translator {
    std::string_view pattern;
    std::size_t at = 0;
    std::string result;

    [[noreturn]] void refuse(std::string_view what) const {
        fail(Exit::bad_data, "regular expression {}: {} at byte {} is not supported", pattern, what, at);
    }

    bool starts(std::string_view text) const { return pattern.substr(at, text.size()) == text; }

    // A class escape with known members: as a class of its own, or as part of one.
    void add_set(const std::string& content, bool negated, bool in_class) {
        if (!in_class)
            result += (negated ? "[^" : "[") + content + "]";
        else if (!negated)
            result += content;
        else
            refuse("a negated property inside a class");
    }

    void property(bool in_class) {   // at "\p{" or "\P{"
        const bool upper = pattern[at + 1] == 'P';
        const std::size_t close = pattern.find('}', at);
        if (!(starts("\\p{") || starts("\\P{")) || close == std::string_view::npos) refuse("\\p without {…}");
        std::string name(pattern.substr(at + 3, close - at - 3));
        const bool caret = !name.empty() && name[0] == '^';
        if (caret) name.erase(0, 1);
        constexpr std::array<std::string_view, 36> known = {
            "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
            "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cs", ""};
        if (name.empty() || std::find(known.begin(), known.end(), name) == known.end())
            refuse("\\p{" + name + "} (general categories such as \\p{L} are)");
        add_set(members({name}), upper != caret, in_class);
        at = close + 1;
    }

    void escape(bool in_class) {
        if (at + 1 == pattern.size()) refuse("a trailing backslash");
        const char letter = pattern[at + 1];
        switch (letter) {
            case 'p':
            case 'P':
                return property(in_class);
            case 's':
            case 'S':
                if (in_class)
                    result += letter == 's' ? white_space : not_white_space;
                else
                    result += (letter == 's' ? "[" : "[^") + std::string(white_space) + "]";
                break;
            case 'd':
            case 'D':
                add_set(members({"Nd"}), letter == 'D', in_class);
                break;
            case 'w':
            case 'W':
                add_set(members({"L", "M", "Nd", "Pc"}), letter == 'W', in_class);
                break;
            case 'x':
                return hexadecimal();
            default: {
                const bool symbol = static_cast<unsigned char>(letter) < 0x80 && letter > ' ' &&
                                    !(letter >= '0' && letter <= '9') && !(letter >= 'a' && letter <= 'z') &&
                                    !(letter >= 'A' && letter <= 'Z');
                const std::string_view same = in_class ? "nrtfae" : "nrtfaeAzZG";
                if (letter != ' ' && !symbol && same.find(letter) == std::string_view::npos)
                    refuse(std::string("the escape \\") + letter);
                result += pattern.substr(at, 2);
            }
        }
        at += 2;
    }

    void hexadecimal() {   // \xHH or \x{H…}
        std::size_t end = at + 2;
        const auto is_hex = [&](std::size_t i) {
            return i < pattern.size() &&
                   std::string_view("0123456789abcdefABCDEF").find(pattern[i]) != std::string_view::npos;
        };
        if (starts("\\x{")) {
            end = at + 3;
            while (is_hex(end)) ++end;
            if (end == at + 3 || end >= pattern.size() || pattern[end] != '}') refuse("this \\x{…}");
            ++end;
        } else {
            if (!is_hex(end) || !is_hex(end + 1)) refuse("\\x without two digits");
            end += 2;
            if (pattern[at + 2] >= '8') refuse("a raw byte above \\x7f (\\x{…} is)");
        }
        result += pattern.substr(at, end - at);
        at = end;
    }

    void character_class() {
        result += '[';
        ++at;
        if (starts("^")) copy(1);
        bool first = true;
        for (;; first = false) {
            if (at == pattern.size()) refuse("a class without ]");
            if (starts("]") && !first) break;
            if (starts("]")) refuse("] as the first of a class (\\] is)");
            if (starts("[")) refuse("a class or POSIX bracket inside a class (\\[ is)");
            if (starts("&&")) refuse("&& inside a class");
            if (starts("\\"))
                escape(true);
            else
                copy(1);
        }
        copy(1);
    }

    void group() {   // at "("
        if (!starts("(?")) return copy(1);
        for (std::string_view plain : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
            if (starts(plain)) return copy(plain.size());
        std::size_t end = at + 2;
        while (end < pattern.size() && (pattern[end] == 'i' || pattern[end] == '-')) ++end;
        if (end == at + 2 || end == pattern.size() || (pattern[end] != ':' && pattern[end] != ')'))
            refuse("this kind of group");
        copy(end + 1 - at);
    }

    void braces() {   // at "{": an interval, or a literal brace
        std::size_t end = at + 1;
        while (end < pattern.size() && ((pattern[end] >= '0' && pattern[end] <= '9') || pattern[end] == ',')) ++end;
        if (end == at + 1 || end == pattern.size() || pattern[end] != '}') {
            result += "\\{";
            ++at;
            return;
        }
        if (starts("{,")) {
            result += "{0";
            ++at;
        }
        copy(end + 1 - at);
        if (starts("+")) refuse("+ after an interval");
    }

    void copy(std::size_t count) {
        result += pattern.substr(at, count);
        at += count;
    }

    std::string run() {
        while (at < pattern.size()) {
            switch (pattern[at]) {
                case '\\':
                    escape(false);
                    break;
                case '[':
                    character_class();
                    break;
                case '(':
                    group();
                    break;
                case '{':
                    braces();
                    break;
                default:
                    copy(1);
            }
        }
        return std::move(result);
    }
};

}   // namespace

std::string pcre2_pattern(std::string_view oniguruma) { return Translator{oniguruma, 0, {}}.run(); }

}   // namespace trainer
