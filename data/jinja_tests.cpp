// What can stand after "is".
#include <algorithm>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_operators.h"
#include "data/jinja_unicode.h"

namespace trainer::jinja {

namespace {

struct Test {
    std::string_view name;
    std::string_view signature;
    bool (*holds)(Evaluator& evaluator, const Value& value, Bound& arguments);
};

template <Comparison comparison>
bool compared(Evaluator& evaluator, const Value& value, Bound& arguments) {
    return compare(evaluator.budget, comparison, value, arguments.at(0));
}

bool divisible(Evaluator& evaluator, const Value& value, const Value& by, std::int64_t rest) {
    return equal(evaluator.budget, operate(evaluator, Operator::modulo, value, by), Value(rest));
}

// Whether a string has letters with case, all of this one.
template <bool (*wanted)(char32_t), bool (*refused)(char32_t)>
bool all_cased(Evaluator& evaluator, const Value& value, Bound&) {
    const Value text = to_text(evaluator.budget, value);
    const std::string& bytes = text.bytes();
    evaluator.budget.copy(bytes.size());
    bool found = false;
    for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
        const char32_t c = character_at(bytes, at);
        if (refused(c)) return false;
        found |= wanted(c);
    }
    return found;
}

bool same(Evaluator& evaluator, const Value& value, Bound& arguments) {
    const Value& other = arguments.at(0);
    if (value.kind != other.kind) return false;
    switch (value.kind) {
        case Value::Kind::none:
            return true;
        case Value::Kind::boolean:
        case Value::Kind::integer:
            return value.integral() == other.integral();
        case Value::Kind::sequence:
            return &value.sequence() == &other.sequence();
        case Value::Kind::dict:
            return &value.dict() == &other.dict();
        case Value::Kind::object:
            return &value.object() == &other.object();
        case Value::Kind::string:
            return equal(evaluator.budget, value, other);
        default:
            return false;
    }
}

bool named(Evaluator& evaluator, const Value& value, bool (*exists)(std::string_view)) {
    require_hashable(evaluator.budget, value);
    return value.is_string() && exists(value.bytes());
}

constexpr Test tests[] = {
    {"!=", "other", compared<Comparison::not_equal>},
    {"<", "other", compared<Comparison::less>},
    {"<=", "other", compared<Comparison::less_equal>},
    {"==", "other", compared<Comparison::equal>},
    {">", "other", compared<Comparison::greater>},
    {">=", "other", compared<Comparison::greater_equal>},
    {"boolean", "", [](auto&, auto& v, auto&) { return v.is_bool(); }},
    {"callable", "",
     [](auto&, auto& v, auto&) { return v.is_undefined() || (v.is_object() && v.object().callable()); }},
    {"defined", "", [](auto&, auto& v, auto&) { return !v.is_undefined(); }},
    {"divisibleby", "num", [](auto& e, auto& v, auto& a) { return divisible(e, v, a.at(0), 0); }},
    {"eq", "other", compared<Comparison::equal>},
    {"equalto", "other", compared<Comparison::equal>},
    {"escaped", "", [](auto&, auto&, auto&) { return false; }},
    {"even", "", [](auto& e, auto& v, auto&) { return divisible(e, v, Value(std::int64_t{2}), 0); }},
    {"false", "", [](auto&, auto& v, auto&) { return v.is_bool() && !v.truth(); }},
    {"filter", "", [](auto& e, auto& v, auto&) { return named(e, v, filter_exists); }},
    {"float", "", [](auto&, auto& v, auto&) { return v.kind == Value::Kind::number; }},
    {"ge", "other", compared<Comparison::greater_equal>},
    {"greaterthan", "other", compared<Comparison::greater>},
    {"gt", "other", compared<Comparison::greater>},
    {"in", "seq", compared<Comparison::in>},
    {"integer", "", [](auto&, auto& v, auto&) { return v.kind == Value::Kind::integer; }},
    {"iterable", "", [](auto&, auto& v, auto&) { return iterable(v); }},
    {"le", "other", compared<Comparison::less_equal>},
    {"lessthan", "other", compared<Comparison::less>},
    {"lower", "", all_cased<is_lower, is_upper>},
    {"lt", "other", compared<Comparison::less>},
    {"mapping", "", [](auto&, auto& v, auto&) { return v.is_dict(); }},
    {"ne", "other", compared<Comparison::not_equal>},
    {"none", "", [](auto&, auto& v, auto&) { return v.is_none(); }},
    {"number", "", [](auto&, auto& v, auto&) { return v.is_numeric(); }},
    {"odd", "", [](auto& e, auto& v, auto&) { return divisible(e, v, Value(std::int64_t{2}), 1); }},
    {"sameas", "other", same},
    {"sequence", "",
     [](auto&, auto& v, auto&) {
         return v.is_string() || v.is_dict() || (v.is_sequence() && v.sequence().subscriptable()) || v.is_undefined();
     }},
    {"string", "", [](auto&, auto& v, auto&) { return v.is_string(); }},
    {"test", "", [](auto& e, auto& v, auto&) { return named(e, v, test_exists); }},
    {"true", "", [](auto&, auto& v, auto&) { return v.is_bool() && v.truth(); }},
    {"undefined", "", [](auto&, auto& v, auto&) { return v.is_undefined(); }},
    {"upper", "", all_cased<is_upper, is_lower>},
};

const Test* find_test(std::string_view name) {
    for (const Test& test : tests)
        if (test.name == name) return &test;
    return nullptr;
}

}   // namespace

bool test_exists(std::string_view name) { return find_test(name) != nullptr; }

std::string unknown_test(std::string_view name) {
    std::vector<std::string> names;
    for (const Test& test : tests) names.emplace_back(test.name);
    return unknown_name("test", name, names);
}

bool apply_test(Evaluator& evaluator, std::string_view name, const Value& input, Arguments arguments) {
    const Test* test = find_test(name);
    if (!test) throw Failure(unknown_test(name));
    Bound bound(name, test->signature, std::move(arguments));
    return test->holds(evaluator, input, bound);
}

}   // namespace trainer::jinja
