// Filters that make or read strings and numbers.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "configs/error.h"
#include "configs/json.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_loop.h"
#include "data/jinja_unicode.h"

namespace trainer::jinja {

namespace {

template <Case to>
Value cased(Evaluator& evaluator, const Value& input, Bound&) {
    return change_case(evaluator.budget, to_text(evaluator.budget, input), to);
}

void require_string(const Value& value, std::string_view filter) {
    if (!value.is_string())
        throw Failure(format("the filter '{}' needs a string, found {}", filter, value.type_name()));
}

Value trim(Evaluator& evaluator, const Value& input, Bound& arguments) {
    return strip(evaluator.budget, to_text(evaluator.budget, input), arguments.optional_string(0), true, true);
}

Value replaced(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Budget& budget = evaluator.budget;
    const Value old = to_text(budget, arguments.at(0));
    const std::int64_t count = arguments.optional(2) && arguments.at(2).is_none() ? -1 : arguments.integer(2, -1);
    return replace(budget, to_text(budget, input), old.bytes(), to_text(budget, arguments.at(1)), count);
}

Value indent(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Budget& budget = evaluator.budget;
    require_string(input, "indent");
    Value indention;
    if (arguments.optional(0) && arguments.at(0).is_string())
        indention = arguments.at(0);
    else
        indention = repeat(budget, make_text(budget, " "), arguments.integer(0, 4));
    const bool first = arguments.flag(1);
    const bool blank = arguments.flag(2);
    const std::vector<Value> lines = split_lines(budget, concatenate(budget, input, make_text(budget, "\n")), false);
    Builder out(budget);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (i > 0) out.add("\n");
        if (i == 0 ? first : blank || !lines[i].bytes().empty()) out.add(indention.text());
        out.add(lines[i].text());
    }
    return out.finish();
}

Value truncate(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Budget& budget = evaluator.budget;
    const std::int64_t length = arguments.integer(0, 255);
    const Value end = arguments.optional(2) ? arguments.string(2) : make_text(budget, "...");
    const std::int64_t leeway = arguments.optional(3) && !arguments.at(3).is_none() ? arguments.integer(3) : 5;
    const std::int64_t keep = length - static_cast<std::int64_t>(end.text().length);
    if (keep < 0 || leeway < 0)
        throw Failure("truncate() needs a length no shorter than its end, and a leeway of at least 0");
    const auto size = length_of(evaluator, input);   // what is short enough need not be a string
    if (size && static_cast<std::int64_t>(*size) <= length + leeway) return input;
    require_string(input, "truncate");
    std::size_t cut = offset_of(input.text(), static_cast<std::size_t>(keep));
    if (!arguments.flag(1)) {
        const std::size_t space = cut == 0 ? std::string::npos : input.bytes().rfind(' ', cut - 1);
        if (space != std::string::npos) cut = space;
    }
    return concatenate(budget, part(budget, input, 0, cut), end);
}

Value word_count(Evaluator& evaluator, const Value& input, Bound&) {
    const Value text = to_text(evaluator.budget, input);
    const std::string& bytes = text.bytes();
    evaluator.budget.copy(bytes.size());
    std::int64_t words = 0;
    bool inside = false;
    for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
        const char32_t c = character_at(bytes, at);
        const bool word = c == '_' || is_alphabetic(c) || is_digit(c);
        words += word && !inside;
        inside = word;
    }
    return Value(words);
}

void add_escaped(Builder& out, const Text& text) {
    std::size_t plain = 0;
    for (std::size_t at = 0; at < text.bytes.size(); ++at) {
        const char c = text.bytes[at];
        const char* entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '"'  ? "&#34;"
                             : c == '\'' ? "&#39;"
                                         : nullptr;
        if (!entity) continue;
        out.add(text, plain, at);
        out.add(entity, text.tag_at(at));
        plain = at + 1;
    }
    out.add(text, plain, text.bytes.size());
}

Value escaped(Evaluator& evaluator, const Value& input, Bound&) {
    Builder out(evaluator.budget);
    const Value text = to_text(evaluator.budget, input);
    add_escaped(out, text.text());
    return out.finish();
}

// The number a string spells as Python's float() reads it.
std::optional<double> parse_float(std::string_view text) {
    while (!text.empty() && is_space(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
        if (text[i] == '_') {
            if (i == 0 || !digit(i - 1) || !digit(i + 1)) return std::nullopt;
        } else {
            plain += static_cast<char>(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 32 : text[i]);
        }
    }
    const std::size_t sign = !plain.empty() && (plain[0] == '-' || plain[0] == '+') ? 1 : 0;
    const std::string_view body = std::string_view(plain).substr(sign);
    const bool named = body == "inf" || body == "infinity" || body == "nan";
    if (body.empty() || (!named && body.find_first_not_of("0123456789.e+-") != std::string_view::npos))
        return std::nullopt;
    char* end = nullptr;
    const double value = std::strtod(plain.c_str(), &end);
    return end == plain.c_str() + plain.size() ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t base) {
    while (!text.empty() && is_space(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
    while (!text.empty() && is_space(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    const char letter = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 32) : '\0';
    const std::int64_t named = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (named && (base == 0 || base == named)) {
        text.remove_prefix(2);
        if (text.starts_with('_')) text.remove_prefix(1);
        base = named;
    } else if (base == 0) {
        if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos)
            return std::nullopt;
        base = 10;
    }
    std::int64_t value = 0;
    bool digit_before = false;
    for (char c : text) {
        if (c == '_' && digit_before) {
            digit_before = false;
            continue;
        }
        const int digit = c >= '0' && c <= '9'                 ? c - '0'
                          : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                               : 99;
        if (digit >= base) return std::nullopt;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
            throw Failure("an integer does not fit in 64 bits");
        digit_before = true;
    }
    if (!digit_before) return std::nullopt;
    return negative ? -value : value;
}

std::optional<std::int64_t> truncated(double value) {
    if (!std::isfinite(value)) return std::nullopt;
    if (std::fabs(value) >= 9.2e18) throw Failure("an integer does not fit in 64 bits");
    return static_cast<std::int64_t>(value);
}

Value to_integer(Evaluator&, const Value& input, Bound& arguments) {
    const Value otherwise = arguments.optional(0) ? arguments.at(0) : Value(std::int64_t{0});
    if (input.is_undefined()) throw Failure(input.undefined_message());
    if (input.is_integral()) return Value(input.integral());
    std::optional<std::int64_t> result;
    if (input.kind == Value::Kind::number) {
        if (std::isinf(input.numeric())) throw Failure("an infinite number has no integer");
        result = truncated(input.numeric());
    } else if (input.is_string()) {
        const std::int64_t base = arguments.integer(1, 10);
        if (base == 0 || (base >= 2 && base <= 36)) result = parse_integer(input.bytes(), base);
        if (!result)
            if (auto number = parse_float(input.bytes())) result = truncated(*number);
    }
    return result ? Value(*result) : otherwise;
}

Value to_float(Evaluator&, const Value& input, Bound& arguments) {
    if (input.is_undefined()) throw Failure(input.undefined_message());
    if (input.is_numeric()) return Value(input.numeric());
    if (input.is_string())
        if (auto number = parse_float(input.bytes())) return Value(*number);
    return arguments.optional(0) ? arguments.at(0) : Value(0.0);
}

double require_number(const Value& value, std::string_view filter) {
    if (!value.is_numeric())
        throw Failure(format("the filter '{}' needs a number, found {}", filter, value.type_name()));
    return value.numeric();
}

Value absolute(Evaluator&, const Value& input, Bound&) {
    require_number(input, "abs");
    if (!input.is_integral()) return Value(std::fabs(input.numeric()));
    if (input.integral() == INT64_MIN) throw Failure("an integer does not fit in 64 bits");
    return Value(std::abs(input.integral()));
}

// Correctly rounded in decimal, ties to even, as Python's round: printf rounds the exact binary value.
double round_decimal(double value, std::int64_t places) {
    if (!std::isfinite(value) || places > 308) return value;
    if (places < 0) {
        const double scale = std::pow(10.0, static_cast<double>(-places));
        return places < -308 ? std::copysign(0.0, value) : std::nearbyint(value / scale) * scale;
    }
    char text[800];
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(places), value);
    return std::strtod(text, nullptr);
}

Value rounded(Evaluator&, const Value& input, Bound& arguments) {
    const double value = require_number(input, "round");
    const std::int64_t places = arguments.integer(0, 0);
    const std::string method = arguments.optional(1) ? arguments.string(1).bytes() : "common";
    if (method == "common") {
        if (!input.is_integral()) return Value(round_decimal(value, places));
        return places >= 0 ? Value(input.integral()) : Value(static_cast<std::int64_t>(round_decimal(value, places)));
    }
    if (method != "ceil" && method != "floor") throw Failure("the method of round() is common, ceil or floor");
    const double scale = std::pow(10.0, static_cast<double>(places));
    const double whole = method == "ceil" ? std::ceil(value * scale) : std::floor(value * scale);
    if (!std::isfinite(whole)) throw Failure("an infinite number cannot be rounded");
    return Value(whole / scale);
}

Value json(Evaluator& evaluator, const Value& input, Bound& arguments) {
    JsonLayout layout;
    layout.ensure_ascii = arguments.flag(0);
    if (const Value* indent = arguments.optional(1); indent && !indent->is_none()) {
        if (!indent->is_string() && arguments.integer(1) > 1000)
            throw Failure("the indent of tojson() is at most 1000");
        layout.indent =
            indent->is_string()
                ? indent->bytes()
                : std::string(static_cast<std::size_t>(std::max<std::int64_t>(0, arguments.integer(1))), ' ');
        layout.item_separator = std::string(1, ',');
    }
    if (const Value* separators = arguments.optional(2); separators && !separators->is_none()) {
        const std::vector<Value> both = collect(*separators, evaluator.budget);
        if (both.size() != 2 || !both[0].is_string() || !both[1].is_string())
            throw Failure("the separators of tojson() are two strings");
        layout.item_separator = both[0].bytes();
        layout.key_separator = both[1].bytes();
    }
    layout.sort_keys = arguments.flag(3);
    Builder out(evaluator.budget);
    write_json(evaluator.budget, out, input, layout);
    return out.finish();
}

Value formatted(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Arguments& rest = arguments.rest();
    if (!rest.positional.empty() && !rest.named.empty())
        throw Failure("the filter 'format' takes either values or named values");
    const Value pattern = to_text(evaluator.budget, input);
    if (rest.named.empty())
        return format_percent(evaluator, pattern,
                              make_list(evaluator.budget, std::move(rest.positional), Sequence::Kind::tuple));
    std::vector<Dict::Entry> entries;
    for (auto& [name, value] : rest.named) entries.emplace_back(make_text(evaluator.budget, name), std::move(value));
    return format_percent(evaluator, pattern, make_dict(evaluator.budget, std::move(entries)));
}

}   // namespace

const std::vector<Filter>& string_filters() {
    static const std::vector<Filter> filters = {
        {"abs", "", absolute},
        {"capitalize", "", cased<Case::capitalize>},
        {"center", "width?",
         [](auto& e, auto& input, auto& a) {
             return justify(e.budget, to_text(e.budget, input), a.integer(0, 80), " ", 0);
         }},
        {"e", "", escaped},
        {"escape", "", escaped},
        {"float", "default?", to_float},
        {"forceescape", "", escaped},
        {"format", "*", formatted},
        {"indent", "width? first? blank?", indent},
        {"int", "default? base?", to_integer},
        {"lower", "", cased<Case::lower>},
        {"replace", "old new count?", replaced},
        {"round", "precision? method?", rounded},
        {"safe", "", [](auto& e, auto& input, auto&) { return to_text(e.budget, input); }},
        {"string", "", [](auto& e, auto& input, auto&) { return to_text(e.budget, input); }},
        {"title", "", cased<Case::filter_title>},
        {"tojson", "ensure_ascii? indent? separators? sort_keys?", json},
        {"trim", "chars?", trim},
        {"truncate", "length? killwords? end? leeway?", truncate},
        {"upper", "", cased<Case::upper>},
        {"wordcount", "", word_count},
    };
    return filters;
}

}   // namespace trainer::jinja
