#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/jinja_evaluator.h"

namespace trainer::jinja {

// The variable `loop` inside of a {% for %}.
struct Loop : Object, std::enable_shared_from_this<Loop> {
    Loop(const Statement& statement, ScopePointer scope, std::unique_ptr<Iterator> source, int depth0)
        : statement(statement), scope(std::move(scope)), source(std::move(source)), depth0(depth0) {}

    bool advance(Value& item);
    std::optional<Value>& peek();
    std::size_t total();

    std::string type_name() const override { return "LoopContext"; }
    std::string repr() override;
    std::optional<Value> attribute(Evaluator& evaluator, std::string_view name) override;
    bool callable() const override { return true; }
    Value call(Evaluator& evaluator, Arguments arguments) override;
    std::optional<std::size_t> length(Evaluator&) override { return total(); }

    const Statement& statement;
    ScopePointer scope;
    std::unique_ptr<Iterator> source;
    std::vector<Value> ahead;   // read before their turn, the next one last
    std::optional<std::size_t> known_length;
    std::optional<Value> after, before, current;
    bool exhausted = false;
    std::optional<Value> changed;
    std::int64_t index0 = -1;
    int depth0;
};

// len(value); nothing for what has none.
std::optional<std::size_t> length_of(Evaluator& evaluator, const Value& value);

}   // namespace trainer::jinja
