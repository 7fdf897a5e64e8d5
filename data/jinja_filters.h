#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/jinja_value.h"

namespace trainer::jinja {

// The values of a call by parameter: null where an optional one is not given.
class Bound {
public:
    // `signature`: parameter names split by spaces; '?' after a name makes it optional, '/' before it positional only.
    // "*" alone takes everything unnamed (rest). Failure "owner() …" for what does not fit.
    Bound(std::string_view owner, std::string_view signature, Arguments arguments);

    const Value& at(std::size_t i) const { return *values_[i]; }
    const Value* optional(std::size_t i) const { return values_[i] ? &*values_[i] : nullptr; }
    Arguments& rest() { return rest_; }
    // A parameter that must be an integer, a string, …; Failure names it.
    std::int64_t integer(std::size_t i, std::int64_t otherwise) const;
    std::int64_t integer(std::size_t i) const;
    bool flag(std::size_t i, bool otherwise = false) const { return values_[i] ? values_[i]->truth() : otherwise; }
    const Value& string(std::size_t i) const;
    const Value* optional_string(std::size_t i) const;   // none counts as not given

private:
    std::vector<std::optional<Value>> values_;
    Arguments rest_;
};

bool filter_exists(std::string_view name);
bool test_exists(std::string_view name);
std::string unknown_filter(std::string_view name);   // the message, with the nearest name and all names
std::string unknown_test(std::string_view name);
// The same for a `kind` of thing whose names are `names`, in order.
std::string unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string>& names);

Value apply_filter(Evaluator& evaluator, std::string_view name, const Value& input, Arguments arguments);
bool apply_test(Evaluator& evaluator, std::string_view name, const Value& input, Arguments arguments);

// A bound method of a string, list, dict or number; nothing when there is none of that name. Methods that would
// change the value are an undefined value that says so.
std::optional<Value> method_of(Evaluator& evaluator, const Value& owner, std::string_view name);

// str.format and the % operator.
Value format_braces(Evaluator& evaluator, const Value& pattern, const Arguments& arguments);
Value format_percent(Evaluator& evaluator, const Value& pattern, const Value& operand);

// One row of a filter table.
struct Filter {
    std::string_view name;
    std::string_view signature;
    Value (*apply)(Evaluator& evaluator, const Value& input, Bound& arguments);
};
const std::vector<Filter>& string_filters();
const std::vector<Filter>& sequence_filters();

}   // namespace trainer::jinja
