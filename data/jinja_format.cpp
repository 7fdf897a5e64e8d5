// "…" % values and "…".format(values).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "configs/error.h"
#include "configs/json.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"

namespace trainer::jinja {

namespace {

// How one value is to be written.
struct Style {
    std::string fill = " ";
    char align = 0;   // '<', '>', '^', '=' (after the sign), 0: as the type has it
    char sign = '-';
    bool alternate = false;
    bool grouped = false;
    char group = ',';
    std::int64_t width = 0;
    std::int64_t precision = -1;
    char type = 0;
};

constexpr std::int64_t widest = 1'000'000;

std::int64_t read_number(const std::string& text, std::size_t& at) {
    std::int64_t value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        value = value * 10 + (text[at] - '0');
        if (value > widest) throw Failure(format("a format is wider than {}", widest));
    }
    return value;
}

std::string grouped(const std::string& digits, char separator, std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % size == 0) text += separator;
        text += digits[i];
    }
    return text;
}

std::string magnitude(std::uint64_t value, unsigned base, bool upper) {
    std::string text;
    do {
        text += (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
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
std::string float_digits(double value, const Style& style) {
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
                const Style& style, Tag tag) {
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

std::string sign_of(bool negative, const Style& style) {
    return negative ? "-" : style.sign == '+' ? "+" : style.sign == ' ' ? " " : "";
}

void add_integer(Builder& out, std::int64_t value, const Style& style, Tag tag) {
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

void add_string(Builder& out, const Value& text, const Style& style) {
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

// One conversion of the % operator: text[at] stands after the '%'.
class Percent {
public:
    Percent(Evaluator& evaluator, const Value& pattern, const Value& operand)
        : budget_(evaluator.budget), out_(evaluator.budget), pattern_(pattern), operand_(operand) {
        tuple_ = operand.is_sequence() && operand.sequence().kind == Sequence::Kind::tuple;
        // Python lets these be left unused: they may be looked into by name.
        mapping_ = operand.is_dict() || (operand.is_sequence() && !tuple_ && operand.sequence().subscriptable());
    }

    Value run() {
        const std::string& bytes = pattern_.bytes();
        for (at_ = 0; at_ < bytes.size();) {
            const std::size_t mark = std::min(bytes.find('%', at_), bytes.size());
            out_.add(pattern_.text(), at_, mark);
            at_ = mark + 1;
            if (mark < bytes.size()) conversion(bytes);
        }
        const bool all = tuple_ ? used_ == operand_.sequence().items.size() : used_ > 0 || mapping_;
        if (!all) throw Failure("not all values of '%' were used by its format");
        return out_.finish();
    }

private:
    Value next() {
        if (tuple_) {
            if (used_ >= operand_.sequence().items.size()) throw Failure("the format of '%' needs more values");
            return operand_.sequence().items[used_++];
        }
        if (used_++ > 0) throw Failure("the format of '%' needs more values");
        return operand_;
    }

    std::int64_t count(const std::string& bytes) {
        if (at_ < bytes.size() && bytes[at_] == '*') {
            ++at_;
            const Value value = next();
            if (!value.is_integral() || value.integral() > widest || value.integral() < -widest)
                throw Failure("'*' in a format needs an integer of at most 1000000");
            return value.integral();
        }
        return read_number(bytes, at_);
    }

    void conversion(const std::string& bytes) {
        std::optional<Value> named;
        if (at_ < bytes.size() && bytes[at_] == '(') {
            const std::size_t close = bytes.find(')', at_);
            if (close == std::string::npos || !operand_.is_dict())
                throw Failure("'%(name)s' needs a closing bracket and a dict");
            const Value* found = operand_.dict().find(std::string_view(bytes).substr(at_ + 1, close - at_ - 1));
            if (!found) throw Failure(format("the dict has no '{}'", bytes.substr(at_ + 1, close - at_ - 1)));
            named = *found;
            at_ = close + 1;
            ++used_;
        }
        Style style;
        bool left = false;
        bool zero = false;
        for (; at_ < bytes.size(); ++at_) {
            const char c = bytes[at_];
            if (c == '-')
                left = true;
            else if (c == '0')
                zero = true;
            else if (c == '+' || (c == ' ' && style.sign != '+'))
                style.sign = c;
            else if (c == '#')
                style.alternate = true;
            else if (c != ' ')
                break;
        }
        style.width = count(bytes);
        left |= style.width < 0;
        style.width = std::abs(style.width);
        if (at_ < bytes.size() && bytes[at_] == '.') {
            ++at_;
            style.precision = std::max<std::int64_t>(0, count(bytes));
        }
        while (at_ < bytes.size() && std::string_view("hlL").find(bytes[at_]) != std::string_view::npos) ++at_;
        if (at_ >= bytes.size()) throw Failure("the format of '%' ends too early");
        style.type = bytes[at_++];
        style.align = left ? '<' : '>';
        if (style.type == '%') {
            out_.add("%");
            return;
        }
        write(named ? *named : next(), style, zero && !left);
    }

    void write(const Value& value, Style style, bool zero) {
        const Tag tag{value.message, 0};
        auto numeric = [&] {
            if (value.is_undefined()) throw Failure(value.undefined_message());
            if (!value.is_numeric())
                throw Failure(format("'%{}' needs a number, found {}", style.type, value.type_name()));
            if (zero) {
                style.fill = "0";
                style.align = '=';
            }
        };
        switch (style.type) {
            case 's':
            case 'r':
            case 'a': {
                if (style.type == 's') {
                    add_string(out_, to_text(budget_, value), style);
                } else {
                    Builder text(budget_);
                    write_repr(text, value);
                    add_string(out_, text.finish(), style);
                }
                break;
            }
            case 'd':
            case 'i':
            case 'u':
                numeric();
                if (!value.is_integral() && !(std::fabs(value.numeric()) < 9.2e18))
                    throw Failure("an integer does not fit in 64 bits");
                add_integer(out_, value.is_integral() ? value.integral() : static_cast<std::int64_t>(value.numeric()),
                            style, tag);
                break;
            case 'x':
            case 'X':
            case 'o':
                numeric();
                if (!value.is_integral()) throw Failure(format("'%{}' needs an integer, found float", style.type));
                add_integer(out_, value.integral(), style, tag);
                break;
            case 'e':
            case 'E':
            case 'f':
            case 'F':
            case 'g':
            case 'G':
                numeric();
                if (!std::isfinite(value.numeric())) style.fill = " ";
                add_number(out_, sign_of(std::signbit(value.numeric()) && !std::isnan(value.numeric()), style), "",
                           float_digits(value.numeric(), style), style, tag);
                break;
            case 'c': {
                style.precision = -1;
                if (!value.is_string() || value.text().length != 1) throw Failure("'%c' needs one character");
                add_string(out_, value, style);
                break;
            }
            default:
                throw Failure(format("'%{}' is no conversion", style.type));
        }
    }

    Budget& budget_;
    Builder out_;
    const Value& pattern_;
    const Value& operand_;
    bool tuple_;
    bool mapping_;
    std::size_t at_ = 0;
    std::size_t used_ = 0;
};

Style read_style(const std::string& text) {
    Style style;
    std::size_t at = 0;
    auto is_align = [&](std::size_t i) {
        return i < text.size() && std::string_view("<>^=").find(text[i]) != std::string_view::npos;
    };
    const std::size_t first = text.empty() ? 0 : character_size(text, 0);
    if (first > 0 && is_align(first)) {
        style.fill = text.substr(0, first);
        style.align = text[first];
        at = first + 1;
    } else if (is_align(0)) {
        style.align = text[at++];
    }
    auto skip = [&](char c) { return at < text.size() && text[at] == c && ++at; };
    if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) style.sign = text[at++];
    style.alternate = skip('#');
    if (skip('0') && !style.align) {
        style.fill = "0";
        style.align = '=';
    }
    style.width = read_number(text, at);
    if (skip(',') || skip('_')) {
        style.grouped = true;
        style.group = text[at - 1];
    }
    if (skip('.')) {
        if (at >= text.size() || text[at] < '0' || text[at] > '9') throw Failure("a format misses its precision");
        style.precision = read_number(text, at);
    }
    if (at < text.size()) style.type = text[at++];
    if (at < text.size()) throw Failure(format("'{}' is no format", text));
    return style;
}

void add_formatted(Budget& budget, Builder& out, const Value& value, const std::string& specification) {
    if (specification.empty()) {
        write_text(out, value);
        return;
    }
    const Style style = read_style(specification);
    const Tag tag{value.message, 0};
    const bool as_float =
        value.kind == Value::Kind::number ||
        (value.is_integral() && std::string_view("eEfFgG%").find(style.type) != std::string_view::npos && style.type);
    if (value.is_string() && (style.type == 0 || style.type == 's') && style.align != '=' && !style.grouped &&
        style.sign == '-' && !style.alternate) {
        add_string(out, value, style);
    } else if (as_float &&
               (style.type == 0 || std::string_view("eEfFgGn%").find(style.type) != std::string_view::npos)) {
        add_number(out, sign_of(std::signbit(value.numeric()) && !std::isnan(value.numeric()), style), "",
                   float_digits(value.numeric(), style), style, tag);
    } else if (value.is_integral() && style.precision < 0 &&
               (style.type == 0 || std::string_view("dxXobn").find(style.type) != std::string_view::npos)) {
        if (value.is_bool() && style.type == 0)
            add_string(out, to_text(budget, value), style);
        else
            add_integer(out, value.integral(), style, tag);
    } else {
        throw Failure(format("the format '{}' cannot be used on {}", specification, value.type_name()));
    }
}

// One replacement field of str.format.
class Braces {
public:
    Braces(Evaluator& evaluator, const Value& pattern, const Arguments& arguments)
        : evaluator_(evaluator), out_(evaluator.budget), pattern_(pattern), arguments_(arguments) {}

    Value run() {
        const std::string& bytes = pattern_.bytes();
        std::size_t at = 0;
        while (at < bytes.size()) {
            const std::size_t mark = std::min(bytes.find_first_of("{}", at), bytes.size());
            out_.add(pattern_.text(), at, mark);
            if (mark == bytes.size()) break;
            if (mark + 1 < bytes.size() && bytes[mark + 1] == bytes[mark]) {
                out_.add(pattern_.text(), mark, mark + 1);
                at = mark + 2;
                continue;
            }
            if (bytes[mark] == '}') throw Failure("found a single '}' in a format");
            int open = 1;
            std::size_t end = mark + 1;
            for (; end < bytes.size() && open > 0; ++end) open += bytes[end] == '{' ? 1 : bytes[end] == '}' ? -1 : 0;
            if (open > 0) throw Failure("found a '{' that is not closed in a format");
            field(bytes.substr(mark + 1, end - mark - 2));
            at = end;
        }
        return out_.finish();
    }

private:
    void field(const std::string& text) {
        const std::size_t name_end = std::min(text.find_first_of("!:"), text.size());
        Value value = lookup(text.substr(0, name_end));
        std::size_t at = name_end;
        if (at < text.size() && text[at] == '!') {
            const char conversion = at + 1 < text.size() ? text[at + 1] : '\0';
            if ((conversion != 's' && conversion != 'r') || (at + 2 < text.size() && text[at + 2] != ':'))
                throw Failure("the conversions of a format are !s and !r");
            if (conversion == 's') {
                value = to_text(evaluator_.budget, value);
            } else {
                Builder repr(evaluator_.budget);
                write_repr(repr, value);
                value = repr.finish();
            }
            at += 2;
        }
        std::string specification = at < text.size() ? text.substr(at + 1) : "";
        if (specification.find('{') != std::string::npos) throw Failure("formats inside of formats are not supported");
        add_formatted(evaluator_.budget, out_, value, specification);
    }

    // "0.name[key]"
    Value lookup(const std::string& path) {
        std::size_t at = std::min(path.find_first_of(".["), path.size());
        Value value = root(path.substr(0, at));
        while (at < path.size()) {
            const bool bracket = path[at] == '[';
            const std::size_t end =
                bracket ? path.find(']', at) : std::min(path.find_first_of(".[", at + 1), path.size());
            if (end == std::string::npos || end == at + 1) throw Failure("a format names no field");
            const std::string key = path.substr(at + 1, end - at - 1);
            const bool number = key.size() < 18 && key.find_first_not_of("0123456789") == std::string::npos;
            if (!bracket)
                value = evaluator_.attribute(value, key);
            else
                value = evaluator_.item(value, number ? Value(static_cast<std::int64_t>(std::stoll(key)))
                                                      : make_text(evaluator_.budget, key));
            at = bracket ? end + 1 : end;
        }
        return value;
    }

    Value root(const std::string& name) {
        const bool number = name.find_first_not_of("0123456789") == std::string::npos;
        if (number) {
            if (name.size() > 9) throw Failure("a format has no such value");
            if (name.empty() ? named_ : counted_) throw Failure("a format either numbers its fields or does not");
            (name.empty() ? counted_ : named_) = true;
            const std::size_t at = name.empty() ? next_++ : static_cast<std::size_t>(std::stoll(name));
            if (at >= arguments_.positional.size()) throw Failure(format("the format has no value number {}", at));
            return arguments_.positional[at];
        }
        for (const auto& [given, value] : arguments_.named)
            if (given == name) return value;
        throw Failure(format("the format has no value named '{}'", name));
    }

    Evaluator& evaluator_;
    Builder out_;
    const Value& pattern_;
    const Arguments& arguments_;
    std::size_t next_ = 0;
    bool counted_ = false;   // fields without number were used
    bool named_ = false;     // fields with number were used
};

}   // namespace

Value format_percent(Evaluator& evaluator, const Value& pattern, const Value& operand) {
    return Percent(evaluator, pattern, operand).run();
}

Value format_braces(Evaluator& evaluator, const Value& pattern, const Arguments& arguments) {
    return Braces(evaluator, pattern, arguments).run();
}

}   // namespace trainer::jinja
