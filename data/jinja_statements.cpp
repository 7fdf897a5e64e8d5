#include "configs/error.h"
#include "data/jinja_evaluator.h"
#include "data/jinja_filters.h"
#include "data/jinja_loop.h"
#include "data/jinja_operators.h"

namespace trainer::jinja {

// The items of a {% for … if … %}: its filter runs as the loop asks for them.
struct FilteredItems : Iterator {
    FilteredItems(Evaluator& owner, const Statement& loop, const ScopePointer& outer, std::unique_ptr<Iterator> from)
        : evaluator(owner), statement(loop), scope(outer), source(std::move(from)) {}
    bool next(Value& value) override {
        while (source->next(value)) {
            auto inner = std::make_shared<Scope>(scope);
            evaluator.assign(*statement.target, value, inner);
            if (evaluator.evaluate(*statement.filter, inner).truth()) return true;
        }
        return false;
    }
    Evaluator& evaluator;
    const Statement& statement;
    ScopePointer scope;
    std::unique_ptr<Iterator> source;
};

namespace {

struct Macro : Object {
    Macro(const Statement& statement, ScopePointer scope) : statement(statement), scope(std::move(scope)) {}
    std::string type_name() const override { return "Macro"; }
    std::string repr() override {
        return statement.name == "caller" ? "<Macro anonymous>" : "<Macro '" + statement.name + "'>";
    }
    bool callable() const override { return true; }
    Value call(Evaluator& evaluator, Arguments arguments) override {
        return evaluator.call_macro(statement, scope, std::move(arguments));
    }
    std::optional<Value> attribute(Evaluator& evaluator, std::string_view name) override {
        if (name == "name") return make_text(evaluator.budget, statement.name);
        return std::nullopt;
    }
    const Statement& statement;
    ScopePointer scope;
};

}   // namespace

Evaluator::Flow Evaluator::execute(const Block& block, const ScopePointer& scope) {
    for (const auto& statement : block) {
        const Flow flow = execute(*statement, scope);
        if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
}

Evaluator::Flow Evaluator::execute(const Statement& statement, const ScopePointer& scope) {
    using Kind = Statement::Kind;
    Deeper deeper(*this, statement.line);
    switch (statement.kind) {
        case Kind::data:
            write(statement.text);
            break;
        case Kind::output:
            write(evaluate(*statement.value, scope));
            break;
        case Kind::condition:
            return condition(statement, scope);
        case Kind::loop:
            loop(statement, scope, evaluate(*statement.value, scope), 0);
            break;
        case Kind::assign:
            assign(*statement.target, evaluate(*statement.value, scope), scope);
            break;
        case Kind::assign_block: {
            Value text = captured(statement.body, std::make_shared<Scope>(scope));
            if (statement.filter) text = filter(*statement.filter, scope, &text);
            assign(*statement.target, std::move(text), scope);
            break;
        }
        case Kind::macro:
            scope->set(statement.symbol, make_macro(statement, scope));
            break;
        case Kind::call_block:
            call_block(statement, scope);
            break;
        case Kind::filter_block: {
            Value text = captured(statement.body, std::make_shared<Scope>(scope));
            write(filter(*statement.filter, scope, &text));
            break;
        }
        case Kind::with:
            with(statement, scope);
            break;
        case Kind::scope:
            execute(statement.body, std::make_shared<Scope>(scope));
            break;
        case Kind::generation: {
            const std::size_t begin = out_->size();
            const int number = ++generations_;
            execute(statement.body, std::make_shared<Scope>(scope));
            out_->mark_generation(begin, number);
            break;
        }
        case Kind::loop_break:
            return Flow::left;
        case Kind::loop_continue:
            return Flow::next;
    }
    return Flow::normal;
}

Evaluator::Flow Evaluator::condition(const Statement& statement, const ScopePointer& scope) {
    for (const auto& [test, body] : statement.branches)
        if (evaluate(*test, scope).truth()) return execute(body, scope);
    return execute(statement.otherwise, scope);
}

void Evaluator::loop(const Statement& statement, const ScopePointer& scope, const Value& values, int depth) {
    std::unique_ptr<Iterator> source = iterate(values, budget);
    if (statement.filter) source = std::make_unique<FilteredItems>(*this, statement, scope, std::move(source));
    auto state = std::make_shared<Loop>(statement, scope, std::move(source), depth);
    state->depth = values.depth();
    if (!statement.filter) state->known_length = length_of(*this, values);
    auto inner = std::make_shared<Scope>(scope);
    for (Value item; state->advance(item);) {
        if (inner.use_count() == 1)
            inner->values.clear();
        else
            inner = std::make_shared<Scope>(scope);
        inner->set(syntax_.loop_symbol, Value(std::shared_ptr<Object>(state)));
        assign(*statement.target, std::move(item), inner);
        if (execute(statement.body, inner) == Flow::left) break;
        line_ = statement.line;
    }
    if (state->index0 < 0) execute(statement.otherwise, std::make_shared<Scope>(scope));
}

Value Evaluator::render_loop(const Statement& statement, const ScopePointer& scope, const Value& values, int depth) {
    Deeper deeper(*this, statement.line);
    if (depth > Budget::max_depth) throw Failure(format("a loop calls itself deeper than {}", Budget::max_depth));
    Builder text(budget);
    Builder* outer = std::exchange(out_, &text);
    loop(statement, scope, values, depth);
    out_ = outer;
    return text.finish();
}

void Evaluator::assign(const Expression& target, Value value, const ScopePointer& scope) {
    if (target.kind == Expression::Kind::name) {
        scope->set(target.symbol, std::move(value));
    } else if (target.kind == Expression::Kind::namespace_attribute) {
        Value owner = lookup(target.symbol, scope);
        auto* place = owner.object_of<Namespace>();
        if (!place) throw Failure("only attributes of a namespace can be assigned to: make one with namespace()");
        place->set(target.name, std::move(value));
    } else {
        std::vector<Value> items = collect(value, budget);
        if (items.size() != target.children.size())
            throw Failure(format("{} values cannot be assigned to {} names", items.size(), target.children.size()));
        for (std::size_t i = 0; i < items.size(); ++i) assign(*target.children[i], std::move(items[i]), scope);
    }
}

Value Evaluator::make_macro(const Statement& statement, const ScopePointer& scope) {
    budget.take(sizeof(Scope));   // kept until the end of the render
    kept_scopes_.push_back(scope);
    return Value(std::shared_ptr<Object>(std::make_shared<Macro>(statement, scope)));
}

Value Evaluator::call_macro(const Statement& macro, const ScopePointer& defined_in, Arguments arguments) {
    Deeper deeper(*this, macro.line);
    if (macro_depth_ >= Budget::max_depth)
        throw Failure(format("macros call each other deeper than {}", Budget::max_depth));
    ++macro_depth_;
    auto scope = std::make_shared<Scope>(defined_in);
    const std::size_t count = macro.parameters.size();
    auto take_named = [&](int symbol, const std::string& name) {
        for (auto given = arguments.named.begin(); given != arguments.named.end(); ++given)
            if (given->first == name) {
                scope->set(symbol, std::move(given->second));
                arguments.named.erase(given);
                return true;
            }
        return false;
    };
    bool own_caller = false;
    std::vector<const Parameter*> missing;
    for (std::size_t i = 0; i < count; ++i) {
        const Parameter& parameter = macro.parameters[i];
        own_caller |= parameter.name == "caller";
        if (i < arguments.positional.size())
            scope->set(parameter.symbol, arguments.positional[i]);
        else if (!take_named(parameter.symbol, parameter.name))
            missing.push_back(&parameter);
    }
    if (macro.takes_caller && !own_caller && !take_named(syntax_.caller_symbol, "caller"))
        scope->set(syntax_.caller_symbol, Value::undefined("the macro was not used by a 'call' block"));
    if (macro.takes_kwargs) {
        std::vector<Dict::Entry> entries;
        for (auto& [name, value] : arguments.named) entries.emplace_back(make_text(budget, name), std::move(value));
        scope->set(syntax_.kwargs_symbol, make_dict(budget, std::move(entries)));
    } else if (!arguments.named.empty()) {
        throw Failure(format("the macro '{}' has no parameter '{}'", macro.name, arguments.named.front().first));
    }
    if (macro.takes_varargs) {
        std::vector<Value> extra;
        for (std::size_t i = count; i < arguments.positional.size(); ++i)
            extra.push_back(std::move(arguments.positional[i]));
        scope->set(syntax_.varargs_symbol, make_list(budget, std::move(extra), Sequence::Kind::tuple));
    } else if (arguments.positional.size() > count) {
        throw Failure(
            format("the macro '{}' takes {} values, found {}", macro.name, count, arguments.positional.size()));
    }
    for (const Parameter* parameter : missing)   // defaults see the parameters before them
        scope->set(parameter->symbol,
                   parameter->standard ? evaluate(*parameter->standard, scope)
                                       : Value::undefined(format("parameter '{}' was not provided", parameter->name)));
    Value text = captured(macro.body, scope);
    --macro_depth_;
    return text;
}

void Evaluator::call_block(const Statement& statement, const ScopePointer& scope) {
    const Expression& call_expression = *statement.value;
    Value callee = evaluate(*call_expression.children[0], scope);
    Arguments arguments = evaluate_arguments(call_expression.arguments, scope);
    arguments.named.emplace_back("caller", make_macro(statement, scope));
    line_ = call_expression.line;
    write(call(callee, std::move(arguments)));
}

void Evaluator::with(const Statement& statement, const ScopePointer& scope) {
    auto inner = std::make_shared<Scope>(scope);
    std::vector<Value> values;
    for (const auto& [target, value] : statement.assignments) values.push_back(evaluate(*value, scope));
    for (std::size_t i = 0; i < values.size(); ++i)
        assign(*statement.assignments[i].first, std::move(values[i]), inner);
    execute(statement.body, inner);
}

Value Evaluator::captured(const Block& block, const ScopePointer& scope) {
    Builder text(budget);
    Builder* outer = std::exchange(out_, &text);
    execute(block, scope);
    out_ = outer;
    return text.finish();
}

void Evaluator::write(const Value& value) {
    write_text(*out_, value);
    if (out_->size() > Budget::max_output)
        throw Failure(format("the template writes more than {} MiB", Budget::max_output >> 20));
}

Value Evaluator::make_namespace(Arguments arguments) {
    auto made = std::make_shared<Namespace>();
    budget.take(256);   // kept until the end of the render
    Value all = call(global_value(*this, "dict"), std::move(arguments));
    for (const auto& [key, value] : all.dict().entries) {
        if (!key.is_string()) throw Failure("the names of a namespace must be strings");
        made->set(key.bytes(), value);
    }
    namespaces_.push_back(made);
    return Value(std::shared_ptr<Object>(std::move(made)));
}

}   // namespace trainer::jinja
