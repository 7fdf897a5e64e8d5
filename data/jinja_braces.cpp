// The method format of strings.
#include <algorithm>
#include <cmath>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_format.h"

namespace trainer::jinja {

namespace {

// The style keeps a view of the text.
FormatStyle read_style(const std::string& text) {
    FormatStyle style;
    std::size_t at = 0;
    auto is_align = [&](std::size_t i) {
        return i < text.size() && std::string_view("<>^=").find(text[i]) != std::string_view::npos;
    };
    const std::size_t first = text.empty() ? 0 : character_size(text, 0);
    if (first > 0 && is_align(first)) {
        style.fill = std::string_view(text).substr(0, first);
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
    const FormatStyle style = read_style(specification);
    const Tag tag{value.message, 0};
    const bool as_float =
        value.kind == Value::Kind::number ||
        (value.is_integral() && std::string_view("eEfFgG%").find(style.type) != std::string_view::npos && style.type);
    if (value.is_string() && (style.type == 0 || style.type == 's') && style.align != '=' && !style.grouped &&
        style.sign == '-' && !style.alternate) {
        add_string(out, value, style);
    } else if (as_float &&
               (style.type == 0 || std::string_view("eEfFgGn%").find(style.type) != std::string_view::npos)) {
        add_float(out, value.numeric(), style, tag);
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

Value format_braces(Evaluator& evaluator, const Value& pattern, const Arguments& arguments) {
    return Braces(evaluator, pattern, arguments).run();
}

}   // namespace trainer::jinja
