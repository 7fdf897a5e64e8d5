// The functions every template has.
#include <cmath>
#include <ctime>

#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"

namespace trainer::jinja {

namespace {

Value range(Evaluator& evaluator, Arguments arguments) {
    Bound bound("range", "/start /stop? /step?", std::move(arguments));
    const bool single = !bound.optional(1);
    const std::int64_t start = single ? 0 : bound.integer(0);
    const std::int64_t stop = single ? bound.integer(0) : bound.integer(1);
    const std::int64_t step = bound.integer(2, 1);
    if (step == 0) throw Failure("the step of range() cannot be zero");
    std::vector<Value> items;
    for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
        if (items.size() == Budget::max_range)
            throw Failure(format("range() gives at most {} numbers", Budget::max_range));
        items.emplace_back(i);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    auto made = std::make_shared<Sequence>(evaluator.budget, Sequence::Kind::range, std::move(items));
    made->start = start;
    made->stop = stop;
    made->stride = step;
    return Value(std::shared_ptr<const Sequence>(std::move(made)));
}

Value dict(Evaluator& evaluator, Arguments arguments) {
    Budget& budget = evaluator.budget;
    if (arguments.positional.size() > 1) throw Failure("dict() takes at most one value beside the named ones");
    std::vector<Dict::Entry> entries;
    if (!arguments.positional.empty()) {
        const Value& from = arguments.positional[0];
        if (from.is_dict()) {
            entries = from.dict().entries;
        } else {
            for (const Value& pair : collect(from, budget)) {
                std::vector<Value> both = collect(pair, budget);
                if (both.size() != 2) throw Failure("dict() makes entries of pairs only");
                entries.emplace_back(std::move(both[0]), std::move(both[1]));
            }
        }
    }
    for (auto& [name, value] : arguments.named) entries.emplace_back(make_text(budget, name), std::move(value));
    return make_dict(budget, std::move(entries));
}

Value raise_exception(Evaluator& evaluator, Arguments arguments) {
    Bound bound("raise_exception", "message", std::move(arguments));
    throw Failure(to_text(evaluator.budget, bound.at(0)).bytes());
}

Value strftime_now(Evaluator& evaluator, Arguments arguments) {
    Bound bound("strftime_now", "format", std::move(arguments));
    const std::string pattern = bound.string(0).bytes();
    if (pattern.empty()) return make_text(evaluator.budget, "");
    if (pattern.size() > 1000) throw Failure("the format of strftime_now() is longer than 1000 bytes");
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::string text(pattern.size() * 64 + 64, '\0');
    text.resize(std::strftime(text.data(), text.size(), pattern.c_str(), &local));
    return make_text(evaluator.budget, text);
}

// cycler(a, b, …): next() gives them in turn, without end.
struct Cycler : Object, std::enable_shared_from_this<Cycler> {
    std::string type_name() const override { return "Cycler"; }
    std::optional<Value> attribute(Evaluator&, std::string_view name) override {
        if (name == "current") return items[at];
        if (name == "next")
            return make_function("next", depth, [self = shared_from_this()](Evaluator&, Arguments arguments) {
                Bound("next", "", std::move(arguments));
                Value value = self->items[self->at];
                self->at = (self->at + 1) % self->items.size();
                return value;
            });
        if (name == "reset")
            return make_function("reset", depth, [self = shared_from_this()](Evaluator&, Arguments arguments) {
                Bound("reset", "", std::move(arguments));
                self->at = 0;
                return Value(nullptr);
            });
        return std::nullopt;
    }
    std::vector<Value> items;
    std::size_t at = 0;
};

Value cycler(Evaluator&, Arguments arguments) {
    if (arguments.positional.empty() || !arguments.named.empty())
        throw Failure("cycler() needs the values to cycle through");
    auto made = std::make_shared<Cycler>();
    for (const Value& item : arguments.positional) made->depth = std::max(made->depth, item.depth());
    made->items = std::move(arguments.positional);
    return Value(std::shared_ptr<Object>(std::move(made)));
}

// joiner(separator): nothing at its first call, then the separator.
struct Joiner : Object {
    explicit Joiner(Value text) : separator(std::move(text)) {}
    std::string type_name() const override { return "Joiner"; }
    bool callable() const override { return true; }
    Value call(Evaluator& evaluator, Arguments arguments) override {
        Bound("joiner", "", std::move(arguments));
        return std::exchange(used, true) ? separator : make_text(evaluator.budget, "");
    }
    Value separator;
    bool used = false;
};

Value joiner(Evaluator& evaluator, Arguments arguments) {
    Bound bound("joiner", "sep?", std::move(arguments));
    auto made = std::make_shared<Joiner>(bound.optional(0) ? bound.at(0) : make_text(evaluator.budget, ", "));
    made->depth = made->separator.depth();
    return Value(std::shared_ptr<Object>(std::move(made)));
}

struct Global {
    std::string_view name;
    Value (*call)(Evaluator& evaluator, Arguments arguments);
};

constexpr Global globals[] = {
    {"range", range},
    {"dict", dict},
    {"namespace",
     [](Evaluator& evaluator, Arguments arguments) { return evaluator.make_namespace(std::move(arguments)); }},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
    {"cycler", cycler},
    {"joiner", joiner},
};

}   // namespace

Value global_value(Evaluator&, const std::string& name) {
    for (const Global& global : globals)
        if (global.name == name) return make_function(name, 0, global.call);
    return Value::undefined(format("'{}' is undefined", name));
}

}   // namespace trainer::jinja
