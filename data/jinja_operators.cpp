#include "data/jinja_operators.h"

#include <algorithm>
#include <cmath>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_text.h"

namespace trainer::jinja {

namespace {

constexpr std::string_view symbol_of(Operator operation) {
    constexpr std::string_view symbols[] = {"+", "-", "*", "/", "//", "%", "**"};
    return symbols[static_cast<int>(operation)];
}

[[noreturn]] void unsupported(std::string_view symbol, const Value& a, const Value& b) {
    throw Failure(format("'{}' cannot be used on {} and {}", symbol, a.type_name(), b.type_name()));
}

[[noreturn]] void too_large() { throw Failure("an integer does not fit in 64 bits"); }

std::int64_t floor_quotient(std::int64_t a, std::int64_t b) {
    if (b == -1 && a == INT64_MIN) too_large();
    std::int64_t quotient = a / b;
    return a % b != 0 && (a % b < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
    std::int64_t result = 1;
    while (exponent > 0) {
        if (exponent & 1) {
            if (__builtin_mul_overflow(result, base, &result)) too_large();
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) too_large();
    }
    return result;
}

Value integers(Operator operation, std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    switch (operation) {
        case Operator::add:
            if (__builtin_add_overflow(a, b, &result)) too_large();
            return Value(result);
        case Operator::subtract:
            if (__builtin_sub_overflow(a, b, &result)) too_large();
            return Value(result);
        case Operator::multiply:
            if (__builtin_mul_overflow(a, b, &result)) too_large();
            return Value(result);
        case Operator::power:
            if (b >= 0) return Value(integer_power(a, b));
            if (a == 0) throw Failure("0 cannot be raised to a negative power");
            return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
        default:
            break;
    }
    if (b == 0) throw Failure("division by zero");
    if (operation == Operator::divide)
        return Value(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    const std::int64_t quotient = floor_quotient(a, b);
    return Value(operation == Operator::floor_divide ? quotient : a - quotient * b);
}

double floor_modulo(double a, double b) {
    double rest = std::fmod(a, b);
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
    return rest == 0 ? std::copysign(0.0, b) : rest;
}

double floor_divide(double a, double b) {
    const double quotient = (a - floor_modulo(a, b)) / b;
    if (quotient == 0) return std::copysign(0.0, a / b);
    const double floored = std::floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value numbers(Operator operation, double a, double b) {
    switch (operation) {
        case Operator::add:
            return Value(a + b);
        case Operator::subtract:
            return Value(a - b);
        case Operator::multiply:
            return Value(a * b);
        case Operator::power: {
            if (a == 0 && b < 0) throw Failure("0 cannot be raised to a negative power");
            if (a < 0 && std::isfinite(b) && b != std::floor(b))
                throw Failure("a negative number raised to a fraction is no real number");
            const double result = std::pow(a, b);
            if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
                throw Failure("the result of '**' is too large");
            return Value(result);
        }
        default:
            break;
    }
    if (b == 0) throw Failure("division by zero");
    if (operation == Operator::divide) return Value(a / b);
    return Value(operation == Operator::floor_divide ? floor_divide(a, b) : floor_modulo(a, b));
}

Value repeat_sequence(Budget& budget, const Value& value, std::int64_t count) {
    const Sequence& sequence = value.sequence();
    std::vector<Value> items;
    if (count > 0 && !sequence.items.empty()) {
        if (count > Budget::max_bytes) budget.take(Budget::max_bytes + 1);
        const std::size_t total = sequence.items.size() * static_cast<std::size_t>(count);
        budget.take(total * sizeof(Value));   // before it is made
        budget.give(total * sizeof(Value));
        budget.step(total / 8);
        for (std::int64_t i = 0; i < count; ++i)
            items.insert(items.end(), sequence.items.begin(), sequence.items.end());
    }
    return make_list(budget, std::move(items), sequence.kind);
}

bool list_or_tuple(const Value& value) { return value.is_sequence() && value.sequence().kind <= Sequence::Kind::tuple; }

}   // namespace

void require_defined(const Value& value) {
    if (value.is_undefined()) throw Failure(value.undefined_message());
}

Value operate(Evaluator& evaluator, Operator operation, const Value& a, const Value& b) {
    Budget& budget = evaluator.budget;
    if (operation == Operator::modulo && a.is_string()) return format_percent(evaluator, a, b);
    require_defined(a);
    require_defined(b);
    if (a.is_integral() && b.is_integral()) return integers(operation, a.integral(), b.integral());
    if (a.is_numeric() && b.is_numeric()) return numbers(operation, a.numeric(), b.numeric());
    if (operation == Operator::add) {
        if (a.is_string() && b.is_string()) return concatenate(budget, a, b);
        if (list_or_tuple(a) && list_or_tuple(b) && a.sequence().kind == b.sequence().kind) {
            std::vector<Value> items = a.sequence().items;
            items.insert(items.end(), b.sequence().items.begin(), b.sequence().items.end());
            return make_list(budget, std::move(items), a.sequence().kind);
        }
        if (a.is_string() || b.is_string())
            throw Failure(
                format("'+' cannot join {} and {}; use '~' or the filter 'string'", a.type_name(), b.type_name()));
    }
    if (operation == Operator::multiply) {
        const Value& count = a.is_integral() ? a : b;
        const Value& thing = a.is_integral() ? b : a;
        if (count.is_integral() && thing.is_string()) return repeat(budget, thing, count.integral());
        if (count.is_integral() && list_or_tuple(thing)) return repeat_sequence(budget, thing, count.integral());
    }
    unsupported(symbol_of(operation), a, b);
}

Value negate(const Value& value) {
    require_defined(value);
    if (value.kind == Value::Kind::number) return Value(-value.numeric());
    if (!value.is_integral()) throw Failure(format("'-' cannot be used on {}", value.type_name()));
    return integers(Operator::subtract, 0, value.integral());
}

bool equal(Budget& budget, const Value& a, const Value& b) {
    budget.step();
    if (a.is_numeric() && b.is_numeric()) {
        if (a.is_integral() && b.is_integral()) return a.integral() == b.integral();
        return (a.is_integral() ? static_cast<long double>(a.integral()) : a.numeric()) ==
               (b.is_integral() ? static_cast<long double>(b.integral()) : b.numeric());
    }
    if (a.kind != b.kind) return false;
    switch (a.kind) {
        case Value::Kind::undefined:
        case Value::Kind::none:
            return true;
        case Value::Kind::string:
            budget.copy(std::min(a.bytes().size(), b.bytes().size()));
            return a.bytes() == b.bytes();
        case Value::Kind::sequence: {
            const Sequence& x = a.sequence();
            const Sequence& y = b.sequence();
            if (&x == &y) return true;
            if (x.kind != y.kind || x.items.size() != y.items.size()) return false;
            for (std::size_t i = 0; i < x.items.size(); ++i)
                if (!equal(budget, x.items[i], y.items[i])) return false;
            return true;
        }
        case Value::Kind::dict: {
            const Dict& x = a.dict();
            const Dict& y = b.dict();
            if (&x == &y) return true;
            if (x.entries.size() != y.entries.size()) return false;
            for (const auto& [key, value] : x.entries) {
                budget.step(1 + y.entries.size() / 16);
                const Value* other = y.find(key);
                if (!other || !equal(budget, value, *other)) return false;
            }
            return true;
        }
        default:
            return &a.object() == &b.object();
    }
}

std::partial_ordering order(Budget& budget, const Value& a, const Value& b, std::string_view symbol) {
    budget.step();
    require_defined(a);
    require_defined(b);
    if (a.is_integral() && b.is_integral()) return a.integral() <=> b.integral();
    if (a.is_numeric() && b.is_numeric())
        return (a.is_integral() ? static_cast<long double>(a.integral()) : static_cast<long double>(a.numeric())) <=>
               (b.is_integral() ? static_cast<long double>(b.integral()) : static_cast<long double>(b.numeric()));
    if (a.is_string() && b.is_string()) {
        budget.copy(std::min(a.bytes().size(), b.bytes().size()));
        return a.bytes() <=> b.bytes();
    }
    if (list_or_tuple(a) && list_or_tuple(b) && a.sequence().kind == b.sequence().kind) {
        const auto& x = a.sequence().items;
        const auto& y = b.sequence().items;
        for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i)
            if (!equal(budget, x[i], y[i])) return order(budget, x[i], y[i], symbol);
        return x.size() <=> y.size();
    }
    throw Failure(format("'{}' cannot compare {} with {}", symbol, a.type_name(), b.type_name()));
}

bool hashable(Budget& budget, const Value& value) {
    budget.step();
    if (!value.is_sequence()) return !value.is_dict();
    using Kind = Sequence::Kind;
    const Sequence& sequence = value.sequence();
    if (sequence.kind != Kind::tuple) return sequence.kind == Kind::range || sequence.kind == Kind::values;
    return std::all_of(sequence.items.begin(), sequence.items.end(),
                       [&](const Value& item) { return hashable(budget, item); });
}

void require_hashable(Budget& budget, const Value& value) {
    if (!hashable(budget, value)) throw Failure(format("a {} cannot be a key", value.type_name()));
}

bool contains(Budget& budget, const Value& container, const Value& value) {
    if (container.is_string()) {
        if (!value.is_string())
            throw Failure(format("'in' looks for a string in a string, found {}", value.type_name()));
        budget.copy(container.bytes().size());
        return container.bytes().find(value.bytes()) != std::string::npos;
    }
    if (container.is_dict()) {
        budget.step(1 + container.dict().entries.size() / 16);
        return container.dict().find(value) != nullptr;
    }
    auto source = iterate(container, budget);
    for (Value item; source->next(item);)
        if (equal(budget, item, value)) return true;
    return false;
}

bool compare(Budget& budget, Comparison comparison, const Value& a, const Value& b) {
    switch (comparison) {
        case Comparison::equal:
            return equal(budget, a, b);
        case Comparison::not_equal:
            return !equal(budget, a, b);
        case Comparison::in:
            return contains(budget, b, a);
        case Comparison::not_in:
            return !contains(budget, b, a);
        case Comparison::less:
            return order(budget, a, b, "<") < 0;
        case Comparison::less_equal:
            return order(budget, a, b, "<=") <= 0;
        case Comparison::greater:
            return order(budget, a, b, ">") > 0;
        case Comparison::greater_equal:
            return order(budget, a, b, ">=") >= 0;
    }
    return false;
}

Value slice(Budget& budget, const Value& value, const Value* begin, const Value* end, const Value* step) {
    require_defined(value);
    const bool sequence = value.is_sequence() && value.sequence().subscriptable();
    if (!value.is_string() && !sequence) throw Failure(format("'{}' object cannot be sliced", value.type_name()));
    auto bound = [](const Value* v) -> std::optional<std::int64_t> {
        if (!v || v->is_none()) return std::nullopt;
        if (!v->is_integral()) throw Failure(format("slice bounds are integers or none, found {}", v->type_name()));
        return v->integral();
    };
    const std::int64_t stride = bound(step).value_or(1);
    if (stride == 0) throw Failure("the step of a slice cannot be zero");
    const auto length = static_cast<std::int64_t>(sequence ? value.sequence().items.size() : value.text().length);
    auto clamp = [&](std::optional<std::int64_t> at, std::int64_t otherwise) {
        if (!at) return otherwise;
        const std::int64_t lowest = stride < 0 ? -1 : 0;
        const std::int64_t from_start = *at < 0 ? *at + length : *at;
        return std::clamp(from_start, lowest, stride < 0 ? length - 1 : length);
    };
    const std::int64_t first = clamp(bound(begin), stride < 0 ? length - 1 : 0);
    const std::int64_t last = clamp(bound(end), stride < 0 ? -1 : length);
    if (value.is_string()) {
        const Text& text = value.text();
        budget.copy(text.bytes.size());
        if (stride == 1)
            return part(budget, value, offset_of(text, static_cast<std::size_t>(first)),
                        offset_of(text, static_cast<std::size_t>(std::max(first, last))));
        if (stride == -1 && first == length - 1 && last == -1) return reversed(budget, value);
    }
    std::vector<std::size_t> offsets;   // of all characters, for a strided string
    if (value.is_string()) {
        const std::string& bytes = value.bytes();
        budget.step(bytes.size() / 8);
        for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) offsets.push_back(at);
        offsets.push_back(bytes.size());
    }
    std::vector<Value> items;
    Builder out(budget);
    for (std::int64_t i = first; stride > 0 ? i < last : i > last;) {
        const auto at = static_cast<std::size_t>(i);
        if (sequence)
            items.push_back(value.sequence().items[at]);
        else
            out.add(value.text(), offsets[at], offsets[at + 1]);
        if (__builtin_add_overflow(i, stride, &i)) break;
    }
    if (!sequence) return out.finish();
    auto result = std::make_shared<Sequence>(budget, value.sequence().kind, std::move(items));
    const Sequence& from = value.sequence();
    result->start = from.start + first * from.stride;
    result->stop = from.start + last * from.stride;
    result->stride = from.stride * stride;
    return Value(std::shared_ptr<const Sequence>(std::move(result)));
}

}   // namespace trainer::jinja
