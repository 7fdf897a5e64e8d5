#include "data/jinja_evaluator.h"

#include "configs/error.h"
#include "data/jinja_filters.h"
#include "data/jinja_operators.h"

namespace trainer::jinja {

void Scope::set(int symbol, Value value) {
    for (auto& [name, old] : values)
        if (name == symbol) {
            old = std::move(value);
            return;
        }
    values.emplace_back(symbol, std::move(value));
}

Evaluator::~Evaluator() {
    for (const ScopePointer& scope : kept_scopes_) scope->values.clear();
    for (const auto& kept : namespaces_) kept->attributes.clear();
}

Evaluator::Deeper::Deeper(Evaluator& owner, int line) : evaluator(owner) {
    evaluator.line_ = line;
    evaluator.budget.step();
    if (evaluator.depth_ >= Budget::max_evaluations) throw Failure("the template is nested too deeply while it runs");
    ++evaluator.depth_;
}

Value Evaluator::run(std::vector<std::pair<std::string, Value>> variables) {
    auto context = std::make_shared<Scope>(nullptr);
    for (std::size_t symbol = 0; symbol < syntax_.symbols.size(); ++symbol)
        for (auto& [name, value] : variables)
            if (name == syntax_.symbols[symbol]) context->set(static_cast<int>(symbol), value);
    kept_scopes_.push_back(context);
    auto scope = std::make_shared<Scope>(context);
    kept_scopes_.push_back(scope);
    return captured(syntax_.body, scope);
}

Value Evaluator::lookup(int symbol, const ScopePointer& scope) {
    for (const Scope* at = scope.get(); at; at = at->parent.get())
        for (const auto& [name, value] : at->values)
            if (name == symbol) return value;
    return global_value(*this, syntax_.symbols[static_cast<std::size_t>(symbol)]);
}

Value Evaluator::evaluate(const Expression& expression, const ScopePointer& scope) {
    using Kind = Expression::Kind;
    Deeper deeper(*this, expression.line);
    const auto& children = expression.children;
    switch (expression.kind) {
        case Kind::constant:
            return expression.constant;
        case Kind::name:
            return lookup(expression.symbol, scope);
        case Kind::list:
            return make_list(budget, evaluate_all(children, scope));
        case Kind::tuple:
            return make_list(budget, evaluate_all(children, scope), Sequence::Kind::tuple);
        case Kind::dict: {
            std::vector<Dict::Entry> entries;
            for (std::size_t i = 0; i < children.size(); i += 2) {
                Value key = evaluate(*children[i], scope);
                entries.emplace_back(std::move(key), evaluate(*children[i + 1], scope));
            }
            return make_dict(budget, std::move(entries));
        }
        case Kind::attribute:
            return attribute(evaluate(*children[0], scope), expression.name);
        case Kind::item:
            return item_expression(expression, scope);
        case Kind::call: {
            Value callee = evaluate(*children[0], scope);
            Arguments arguments = evaluate_arguments(expression.arguments, scope);
            line_ = expression.line;
            return call(callee, std::move(arguments));
        }
        case Kind::filter:
            return filter(expression, scope, nullptr);
        case Kind::test: {
            Value value = evaluate(*children[0], scope);
            Arguments arguments = evaluate_arguments(expression.arguments, scope);
            line_ = expression.line;
            return Value(apply_test(*this, expression.name, value, std::move(arguments)));
        }
        case Kind::negate:
            return negate(evaluate(*children[0], scope));
        case Kind::plus:
            return negate(negate(evaluate(*children[0], scope)));
        case Kind::logical_not:
            return Value(!evaluate(*children[0], scope).truth());
        case Kind::logical_and: {
            Value left = evaluate(*children[0], scope);
            return left.truth() ? evaluate(*children[1], scope) : left;
        }
        case Kind::logical_or: {
            Value left = evaluate(*children[0], scope);
            return left.truth() ? left : evaluate(*children[1], scope);
        }
        case Kind::binary: {
            Value left = evaluate(*children[0], scope);
            Value right = evaluate(*children[1], scope);
            line_ = expression.line;
            return operate(*this, expression.operation, left, right);
        }
        case Kind::comparison:
            return comparison(expression, scope);
        case Kind::concatenate:
            return concatenation(expression, scope);
        case Kind::conditional:
            return conditional(expression, scope);
        case Kind::slice:
            throw Failure("a slice can only stand alone between brackets");
        case Kind::namespace_attribute:
            break;
    }
    throw Failure("the attribute of a namespace can only be assigned to here");
}

Value Evaluator::conditional(const Expression& expression, const ScopePointer& scope) {
    const auto& children = expression.children;
    if (evaluate(*children[0], scope).truth()) return evaluate(*children[1], scope);
    if (children[2]) return evaluate(*children[2], scope);
    return Value::undefined("the inline if was false and has no else");
}

Value Evaluator::comparison(const Expression& expression, const ScopePointer& scope) {
    Value left = evaluate(*expression.children[0], scope);
    for (std::size_t i = 0; i < expression.comparisons.size(); ++i) {
        Value right = evaluate(*expression.children[i + 1], scope);
        line_ = expression.line;
        if (!compare(budget, expression.comparisons[i], left, right)) return Value(false);
        left = std::move(right);
    }
    return Value(true);
}

Value Evaluator::item_expression(const Expression& expression, const ScopePointer& scope) {
    Value owner = evaluate(*expression.children[0], scope);
    const Expression& key = *expression.children[1];
    if (key.kind != Expression::Kind::slice) return item(owner, evaluate(key, scope));
    Value bounds[3];
    const Value* given[3] = {};
    for (std::size_t i = 0; i < 3; ++i)
        if (key.children[i]) {
            bounds[i] = evaluate(*key.children[i], scope);
            given[i] = &bounds[i];
        }
    line_ = expression.line;
    return slice(budget, owner, given[0], given[1], given[2]);
}

Value Evaluator::concatenation(const Expression& expression, const ScopePointer& scope) {
    Builder out(budget);
    for (const auto& child : expression.children) write_text(out, evaluate(*child, scope));
    return out.finish();
}

std::vector<Value> Evaluator::evaluate_all(const std::vector<ExpressionPointer>& all, const ScopePointer& scope) {
    std::vector<Value> values;
    values.reserve(all.size());
    for (const auto& expression : all) values.push_back(evaluate(*expression, scope));
    return values;
}

Arguments Evaluator::evaluate_arguments(const CallArguments& from, const ScopePointer& scope) {
    Arguments arguments{evaluate_all(from.positional, scope), {}};
    for (const auto& [name, value] : from.named) arguments.named.emplace_back(name, evaluate(*value, scope));
    if (from.unpacked_list)
        for (Value& value : collect(evaluate(*from.unpacked_list, scope), budget))
            arguments.positional.push_back(std::move(value));
    if (from.unpacked_dict) {
        Value all = evaluate(*from.unpacked_dict, scope);
        if (!all.is_dict()) throw Failure(format("'**' needs a dict, found {}", all.type_name()));
        for (const auto& [name, value] : all.dict().entries) {
            if (!name.is_string()) throw Failure("the names given by '**' must be strings");
            for (const auto& given : arguments.named)
                if (given.first == name.bytes()) throw Failure(format("the argument {} is given twice", given.first));
            arguments.named.emplace_back(name.bytes(), value);
        }
    }
    return arguments;
}

Value Evaluator::filter(const Expression& expression, const ScopePointer& scope, const Value* input) {
    const ExpressionPointer& inner = expression.children[0];
    Value value =
        inner ? (inner->kind == Expression::Kind::filter ? filter(*inner, scope, input) : evaluate(*inner, scope))
              : *input;
    Arguments arguments = evaluate_arguments(expression.arguments, scope);
    line_ = expression.line;
    return apply_filter(*this, expression.name, value, std::move(arguments));
}

Value Evaluator::call(const Value& callee, Arguments arguments) {
    require_defined(callee);
    if (!callee.is_object() || !callee.object().callable())
        throw Failure(format("'{}' object is not callable", callee.type_name()));
    return callee.object().call(*this, std::move(arguments));
}

Value Evaluator::undefined_attribute(const Value& owner, std::string_view name) {
    return Value::undefined(format("'{} object' has no attribute '{}'", owner.type_name(), name));
}

Value Evaluator::attribute(const Value& owner, const std::string& name) {
    require_defined(owner);
    if (name.starts_with("__")) return Value::undefined(format("access to the attribute '{}' is refused", name));
    if (auto method = method_of(*this, owner, name)) return *method;
    if (owner.is_dict())
        if (const Value* found = owner.dict().find(name)) {
            budget.step(1 + owner.dict().entries.size() / 16);
            return *found;
        }
    return undefined_attribute(owner, name);
}

Value Evaluator::item(const Value& owner, const Value& key) {
    require_defined(owner);
    if (owner.is_dict()) {
        budget.step(1 + owner.dict().entries.size() / 16);
        if (const Value* found = hashable(budget, key) ? owner.dict().find(key) : nullptr) return *found;
    } else if (key.is_integral()) {
        const std::int64_t at = key.integral();
        if (owner.is_string()) {
            const Text& text = owner.text();
            const auto length = static_cast<std::int64_t>(text.length);
            if (at >= length || at < -length) return Value::undefined(format("the string has no character {}", at));
            if (!text.ascii()) budget.copy(text.bytes.size());
            const std::size_t begin = offset_of(text, static_cast<std::size_t>(at < 0 ? at + length : at));
            return part(budget, owner, begin, begin + character_size(text.bytes, begin));
        }
        if (owner.is_sequence() && owner.sequence().subscriptable()) {
            const auto& items = owner.sequence().items;
            const auto length = static_cast<std::int64_t>(items.size());
            if (at >= length || at < -length)
                return Value::undefined(format("the {} has no element {}", owner.type_name(), at));
            return items[static_cast<std::size_t>(at < 0 ? at + length : at)];
        }
    }
    if (key.is_string()) {
        if (key.bytes().starts_with("__"))
            return Value::undefined(format("access to the attribute '{}' is refused", key.bytes()));
        if (auto method = method_of(*this, owner, key.bytes())) return *method;
        return undefined_attribute(owner, key.bytes());
    }
    return Value::undefined(format("'{} object' has no such element", owner.type_name()));
}

}   // namespace trainer::jinja
