#include "data/jinja_loop.h"

#include <algorithm>

#include "configs/error.h"
#include "data/jinja_filters.h"

namespace trainer::jinja {

bool Loop::advance(Value& item) {
    std::optional<Value> next = std::exchange(peek(), std::nullopt);
    if (!next) return false;
    ++index0;
    before = std::move(current);
    current = *next;
    item = std::move(*next);
    return true;
}

std::optional<Value>& Loop::peek() {
    if (after) return after;
    if (!ahead.empty()) {
        after = std::move(ahead.back());
        ahead.pop_back();
    } else if (!exhausted) {
        Value value;
        if (source->next(value))
            after = std::move(value);
        else
            exhausted = true;
    }
    return after;
}

std::size_t Loop::total() {
    if (!known_length) {
        std::size_t seen = static_cast<std::size_t>(index0 + 1) + (after ? 1 : 0);
        for (Value value; source->next(value);) ahead.push_back(std::move(value));
        exhausted = true;
        known_length = seen + ahead.size();
        std::reverse(ahead.begin(), ahead.end());
    }
    return *known_length;
}

std::string Loop::repr() { return format("<LoopContext {}/{}>", index0 + 1, total()); }

std::optional<Value> Loop::attribute(Evaluator&, std::string_view name) {
    auto number = [](std::int64_t value) { return Value(value); };
    if (name == "index") return number(index0 + 1);
    if (name == "index0") return number(index0);
    if (name == "first") return Value(index0 == 0);
    if (name == "last") return Value(!peek());
    if (name == "length") return number(static_cast<std::int64_t>(total()));
    if (name == "revindex") return number(static_cast<std::int64_t>(total()) - index0);
    if (name == "revindex0") return number(static_cast<std::int64_t>(total()) - index0 - 1);
    if (name == "depth") return number(depth0 + 1);
    if (name == "depth0") return number(depth0);
    if (name == "previtem") return before ? *before : Value::undefined("there is no previous item");
    if (name == "nextitem") return peek() ? *peek() : Value::undefined("there is no next item");
    if (name == "cycle")
        return make_function("cycle", 0, [at = index0](Evaluator&, Arguments arguments) {
            if (arguments.positional.empty() || !arguments.named.empty())
                throw Failure("loop.cycle() needs the values to cycle through");
            return arguments.positional[static_cast<std::size_t>(at) % arguments.positional.size()];
        });
    if (name == "changed")
        return make_function("changed", 0, [loop = shared_from_this()](Evaluator& from, Arguments arguments) {
            Value values = make_list(from.budget, std::move(arguments.positional), Sequence::Kind::tuple);
            if (loop->changed && equal(from.budget, *loop->changed, values)) return Value(false);
            loop->changed = std::move(values);
            return Value(true);
        });
    return std::nullopt;
}

Value Loop::call(Evaluator& evaluator, Arguments arguments) {
    if (!statement.recursive) throw Failure("'loop' can be called only in a loop marked 'recursive'");
    Bound bound("loop", "iterable", std::move(arguments));
    return evaluator.render_loop(statement, scope, bound.at(0), depth0 + 1);
}

std::optional<std::size_t> length_of(Evaluator& evaluator, const Value& value) {
    switch (value.kind) {
        case Value::Kind::undefined:
            return 0;
        case Value::Kind::string:
            return value.text().length;
        case Value::Kind::sequence:
            return value.sequence().items.size();
        case Value::Kind::dict:
            return value.dict().entries.size();
        case Value::Kind::object:
            return value.object().length(evaluator);
        default:
            return std::nullopt;
    }
}

}   // namespace trainer::jinja
