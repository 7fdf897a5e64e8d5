// Filters over lists, dicts and generators.
#include <algorithm>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_loop.h"
#include "data/jinja_operators.h"

namespace trainer::jinja {

namespace {

// A generator from a function that gives the next value, or nothing at the end.
struct Made : Iterator {
    using Next = std::function<std::optional<Value>()>;
    explicit Made(Next next) : make(std::move(next)) {}
    bool next(Value& value) override {
        std::optional<Value> made = make();
        if (made) value = std::move(*made);
        return made.has_value();
    }
    Next make;
};

Value generate(const Value& input, Made::Next next) {
    return make_generator(std::make_unique<Made>(std::move(next)), input.depth());
}

// "a.b.0": the attribute of the attribute of the element. Also takes an integer.
struct Path {
    std::vector<Value> steps;

    Path(Evaluator& evaluator, const Value* path) {
        if (!path || path->is_none()) return;
        if (!path->is_string()) {
            steps.push_back(*path);
            return;
        }
        static const std::string dot = ".";
        for (const Value& step : split(evaluator.budget, *path, &dot, -1)) {
            const std::string& name = step.bytes();
            const bool number =
                !name.empty() && name.size() < 18 && name.find_first_not_of("0123456789") == std::string::npos;
            steps.push_back(number ? Value(static_cast<std::int64_t>(std::stoll(name))) : step);
        }
    }

    Value of(Evaluator& evaluator, Value value) const {
        for (const Value& step : steps) value = evaluator.item(value, step);
        return value;
    }
};

Value lowered(Evaluator& evaluator, const Value& value, bool case_sensitive) {
    return value.is_string() && !case_sensitive ? change_case(evaluator.budget, value, Case::lower) : value;
}

Value first(Evaluator& evaluator, const Value& input, Bound&) {
    Value value;
    return iterate(input, evaluator.budget)->next(value) ? value : Value::undefined("the sequence has no first item");
}

Value last(Evaluator& evaluator, const Value& input, Bound&) {
    if (input.is_object()) throw Failure(format("'{}' object cannot be reversed", input.type_name()));
    if (input.is_string()) return evaluator.item(input, Value(std::int64_t{-1}));
    const std::vector<Value> items = collect(input, evaluator.budget);
    return items.empty() ? Value::undefined("the sequence has no last item") : items.back();
}

Value length(Evaluator& evaluator, const Value& input, Bound&) {
    auto size = length_of(evaluator, input);
    if (!size) throw Failure(format("'{}' object has no length", input.type_name()));
    return Value(static_cast<std::int64_t>(*size));
}

Value reverse(Evaluator& evaluator, const Value& input, Bound&) {
    if (input.is_string()) return reversed(evaluator.budget, input);
    std::vector<Value> items = collect(input, evaluator.budget);
    std::reverse(items.begin(), items.end());
    if (input.is_object() || input.is_undefined())   // Python makes a list of what it can only read forwards
        return make_list(evaluator.budget, std::move(items));
    Value list = make_list(evaluator.budget, std::move(items));
    std::shared_ptr<Iterator> source = iterate(list, evaluator.budget);
    return generate(input, [source]() -> std::optional<Value> {
        Value value;
        return source->next(value) ? std::optional(value) : std::nullopt;
    });
}

Value otherwise(Evaluator& evaluator, const Value& input, Bound& arguments) {
    if (!input.is_undefined() && !(arguments.flag(1) && !input.truth())) return input;
    return arguments.optional(0) ? arguments.at(0) : make_text(evaluator.budget, "");
}

Value joined(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Budget& budget = evaluator.budget;
    const Value separator = arguments.optional(0) ? to_text(budget, arguments.at(0)) : make_text(budget, "");
    const Path path(evaluator, arguments.optional(1));
    auto source = iterate(input, budget);
    Builder out(budget);
    bool begun = false;
    for (Value item; source->next(item);) {
        if (std::exchange(begun, true)) out.add(separator.text());
        write_text(out, path.of(evaluator, item));
    }
    return out.finish();
}

Value items(Evaluator& evaluator, const Value& input, Bound&) {
    auto at = std::make_shared<std::size_t>(0);
    return generate(input, [&evaluator, input, at]() -> std::optional<Value> {
        if (input.is_undefined()) return std::nullopt;
        if (!input.is_dict()) throw Failure(format("the filter 'items' needs a dict, found {}", input.type_name()));
        const auto& entries = input.dict().entries;
        if (*at == entries.size()) return std::nullopt;
        const auto& [key, value] = entries[(*at)++];
        return make_list(evaluator.budget, {key, value}, Sequence::Kind::tuple);
    });
}

// Stable; `key` once for each item.
std::vector<Value> sorted(Evaluator& evaluator, std::vector<Value> all, bool descending,
                          const std::function<Value(const Value&)>& key) {
    std::vector<std::pair<Value, std::size_t>> keys;
    for (std::size_t i = 0; i < all.size(); ++i) keys.emplace_back(key(all[i]), i);
    if (keys.size() == 1) return all;
    std::stable_sort(keys.begin(), keys.end(), [&](const auto& a, const auto& b) {
        return descending ? order(evaluator.budget, b.first, a.first) < 0
                          : order(evaluator.budget, a.first, b.first) < 0;
    });
    std::vector<Value> result;
    for (const auto& entry : keys) result.push_back(all[entry.second]);
    return result;
}

Value dict_sorted(Evaluator& evaluator, const Value& input, Bound& arguments) {
    const std::string by = arguments.optional(1) ? arguments.string(1).bytes() : "key";
    if (by != "key" && by != "value") throw Failure("dictsort() sorts by 'key' or 'value'");
    require_defined(input);
    if (!input.is_dict()) throw Failure(format("the filter 'dictsort' needs a dict, found {}", input.type_name()));
    std::vector<Value> pairs;
    for (const auto& [key, value] : input.dict().entries)
        pairs.push_back(make_list(evaluator.budget, {key, value}, Sequence::Kind::tuple));
    const std::size_t part = by == "key" ? 0 : 1;
    return make_list(evaluator.budget, sorted(evaluator, std::move(pairs), arguments.flag(2), [&](const Value& pair) {
                         return lowered(evaluator, pair.sequence().items[part], arguments.flag(0));
                     }));
}

Value sort(Evaluator& evaluator, const Value& input, Bound& arguments) {
    std::vector<Path> paths;   // "a,b": by a, then by b
    const Value* attribute = arguments.optional(2);
    if (attribute && attribute->is_string()) {
        static const std::string comma = ",";
        for (const Value& one : split(evaluator.budget, *attribute, &comma, -1)) paths.emplace_back(evaluator, &one);
    } else {
        paths.emplace_back(evaluator, attribute);
    }
    return make_list(evaluator.budget,
                     sorted(evaluator, collect(input, evaluator.budget), arguments.flag(0), [&](const Value& item) {
                         std::vector<Value> keys;
                         for (const Path& path : paths)
                             keys.push_back(lowered(evaluator, path.of(evaluator, item), arguments.flag(1)));
                         return make_list(evaluator.budget, std::move(keys));
                     }));
}

template <bool largest>
Value extreme(Evaluator& evaluator, const Value& input, Bound& arguments) {
    const Path path(evaluator, arguments.optional(1));
    auto source = iterate(input, evaluator.budget);
    auto key = [&](const Value& item) { return lowered(evaluator, path.of(evaluator, item), arguments.flag(0)); };
    Value best;
    if (!source->next(best)) return Value::undefined("the sequence has no items to compare");
    Value best_key = key(best);
    for (Value item; source->next(item);) {
        Value other = key(item);
        if (largest ? order(evaluator.budget, other, best_key, ">") > 0
                    : order(evaluator.budget, other, best_key) < 0) {
            best = item;
            best_key = std::move(other);
        }
    }
    return best;
}

Value unique(Evaluator& evaluator, const Value& input, Bound& arguments) {
    auto path = std::make_shared<Path>(evaluator, arguments.optional(1));
    std::shared_ptr<Iterator> source = iterate(input, evaluator.budget);
    auto seen = std::make_shared<std::vector<Value>>();
    return generate(input, [&evaluator, path, source, seen, sensitive = arguments.flag(0)]() -> std::optional<Value> {
        for (Value item; source->next(item);) {
            Value key = lowered(evaluator, path->of(evaluator, item), sensitive);
            require_hashable(evaluator.budget, key);
            if (std::none_of(seen->begin(), seen->end(),
                             [&](const Value& v) { return equal(evaluator.budget, v, key); })) {
                seen->push_back(std::move(key));
                return item;
            }
        }
        return std::nullopt;
    });
}

Value sum(Evaluator& evaluator, const Value& input, Bound& arguments) {
    const Path path(evaluator, arguments.optional(0));
    Value total = arguments.optional(1) ? arguments.at(1) : Value(std::int64_t{0});
    if (total.is_string()) throw Failure("sum() adds numbers; use the filter 'join' for strings");
    auto source = iterate(input, evaluator.budget);
    for (Value item; source->next(item);) total = operate(evaluator, Operator::add, total, path.of(evaluator, item));
    return total;
}

Value batch(Evaluator& evaluator, const Value& input, Bound& arguments) {
    const std::int64_t size = arguments.integer(0);
    const Value* fill = arguments.optional(1);
    if (fill && !fill->is_none() && size > 0) evaluator.budget.step(static_cast<std::size_t>(size));
    std::vector<Value> rows;
    std::vector<Value> row;
    for (Value& item : collect(input, evaluator.budget)) {
        if (static_cast<std::int64_t>(row.size()) == size)
            rows.push_back(make_list(evaluator.budget, std::exchange(row, {})));
        row.push_back(std::move(item));
    }
    if (!row.empty()) {
        while (fill && !fill->is_none() && static_cast<std::int64_t>(row.size()) < size) row.push_back(*fill);
        rows.push_back(make_list(evaluator.budget, std::move(row)));
    }
    Value all = make_list(evaluator.budget, std::move(rows));
    return make_generator(iterate(all, evaluator.budget), all.depth());
}

// A test (or, for "map", a filter) by name with its other arguments.
struct Named {
    std::string name;
    Arguments arguments;

    static std::shared_ptr<Named> take(Arguments from, std::size_t skip) {
        auto named = std::make_shared<Named>();
        if (from.positional.size() > skip) {
            const Value& name = from.positional[skip];
            if (!name.is_string())
                throw Failure(format("expected the name of a filter or test, found {}", name.type_name()));
            named->name = name.bytes();
            from.positional.erase(from.positional.begin(),
                                  from.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1);
            named->arguments = std::move(from);
        }
        return named;
    }
};

Value map(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Arguments& rest = arguments.rest();
    if (!input.truth()) return generate(input, [] { return std::optional<Value>(); });
    std::function<Value(const Value&)> change;
    if (rest.positional.empty() && !rest.named.empty()) {
        Bound bound("map", "attribute default?", std::move(rest));
        auto path = std::make_shared<Path>(evaluator, bound.optional(0));
        std::optional<Value> standard =
            bound.optional(1) && !bound.at(1).is_none() ? std::optional(bound.at(1)) : std::nullopt;
        change = [&evaluator, path, standard](const Value& item) {
            Value found = path->of(evaluator, item);
            return found.is_undefined() && standard ? *standard : found;
        };
    } else if (rest.positional.empty()) {
        change = [](const Value&) -> Value { throw Failure("the filter 'map' needs the name of a filter"); };
    } else {
        auto named = Named::take(std::move(rest), 0);
        change = [&evaluator, named](const Value& item) {
            return apply_filter(evaluator, named->name, item, named->arguments);
        };
    }
    auto source = std::make_shared<std::unique_ptr<Iterator>>();
    return generate(input, [&evaluator, input, source, change]() -> std::optional<Value> {
        if (!*source) *source = iterate(input, evaluator.budget);
        Value item;
        return (*source)->next(item) ? std::optional(change(item)) : std::nullopt;
    });
}

template <bool keep, bool by_attribute>
Value choose(Evaluator& evaluator, const Value& input, Bound& arguments) {
    Arguments& rest = arguments.rest();
    if (!input.truth()) return generate(input, [] { return std::optional<Value>(); });
    std::shared_ptr<Path> path;
    if (by_attribute) {
        if (rest.positional.empty()) throw Failure("the filter needs the name of an attribute");
        path = std::make_shared<Path>(evaluator, &rest.positional[0]);
    }
    auto test = Named::take(std::move(rest), by_attribute ? 1 : 0);
    auto source = std::make_shared<std::unique_ptr<Iterator>>();
    return generate(input, [&evaluator, input, source, path, test]() -> std::optional<Value> {
        if (!*source) *source = iterate(input, evaluator.budget);
        for (Value item; (*source)->next(item);) {
            const Value judged = path ? path->of(evaluator, item) : item;
            const bool good =
                test->name.empty() ? judged.truth() : apply_test(evaluator, test->name, judged, test->arguments);
            if (good == keep) return item;
        }
        return std::nullopt;
    });
}

Value attribute(Evaluator& evaluator, const Value& input, Bound& arguments) {
    const std::string& name = arguments.string(0).bytes();
    require_defined(input);
    if (!name.starts_with("__"))
        if (auto found = method_of(evaluator, input, name)) return *found;
    return evaluator.undefined_attribute(input, name);
}

}   // namespace

const std::vector<Filter>& sequence_filters() {
    static const std::vector<Filter> filters = {
        {"attr", "name", attribute},
        {"batch", "linecount fill_with?", batch},
        {"count", "", length},
        {"d", "default_value? boolean?", otherwise},
        {"default", "default_value? boolean?", otherwise},
        {"dictsort", "case_sensitive? by? reverse?", dict_sorted},
        {"first", "", first},
        {"items", "", items},
        {"join", "d? attribute?", joined},
        {"last", "", last},
        {"length", "", length},
        {"list", "", [](auto& e, auto& input, auto&) { return make_list(e.budget, collect(input, e.budget)); }},
        {"map", "*", map},
        {"max", "case_sensitive? attribute?", extreme<true>},
        {"min", "case_sensitive? attribute?", extreme<false>},
        {"reject", "*", choose<false, false>},
        {"rejectattr", "*", choose<false, true>},
        {"reverse", "", reverse},
        {"select", "*", choose<true, false>},
        {"selectattr", "*", choose<true, true>},
        {"sort", "reverse? case_sensitive? attribute?", sort},
        {"sum", "attribute? start?", sum},
        {"unique", "case_sensitive? attribute?", unique},
    };
    return filters;
}

}   // namespace trainer::jinja
