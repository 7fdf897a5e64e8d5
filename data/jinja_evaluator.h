#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja_syntax.h"
#include "data/jinja_text.h"
#include "data/jinja_value.h"

namespace trainer::jinja {

// The variables of one block; names not found here are looked up in the parent.
struct Scope {
    explicit Scope(std::shared_ptr<Scope> outer) : parent(std::move(outer)) {}
    std::shared_ptr<Scope> parent;
    std::vector<std::pair<int, Value>> values;
    void set(int symbol, Value value);
};
using ScopePointer = std::shared_ptr<Scope>;

// Runs one template once.
class Evaluator {
public:
    Evaluator(const Syntax& syntax, Budget& budget) : budget(budget), syntax_(syntax) {}
    ~Evaluator();   // breaks the cycles a template may have made
    Evaluator(const Evaluator&) = delete;
    Evaluator& operator=(const Evaluator&) = delete;

    // The rendered text. Failure for what goes wrong; `line()` tells where.
    Value run(std::vector<std::pair<std::string, Value>> variables);
    int line() const { return line_; }

    Value call(const Value& callee, Arguments arguments);
    Value attribute(const Value& owner, const std::string& name);   // owner.name
    Value item(const Value& owner, const Value& key);               // owner[key]
    Value undefined_attribute(const Value& owner, std::string_view name);

    Value call_macro(const Statement& macro, const ScopePointer& scope, Arguments arguments);
    // {% for %} over `values`, in scope; the text it writes.
    Value render_loop(const Statement& loop, const ScopePointer& scope, const Value& values, int depth);
    Value make_namespace(Arguments arguments);

    Budget& budget;

private:
    friend struct FilteredItems;
    enum class Flow { normal, left, next };

    // Counts what is evaluated inside of what, and where.
    struct Deeper {
        Deeper(Evaluator& evaluator, int line);
        ~Deeper() { --evaluator.depth_; }
        Evaluator& evaluator;
    };

    Value evaluate(const Expression& expression, const ScopePointer& scope);
    Value lookup(int symbol, const ScopePointer& scope);
    Value conditional(const Expression& expression, const ScopePointer& scope);
    Value comparison(const Expression& expression, const ScopePointer& scope);
    Value item_expression(const Expression& expression, const ScopePointer& scope);
    Value concatenation(const Expression& expression, const ScopePointer& scope);
    std::vector<Value> evaluate_all(const std::vector<ExpressionPointer>& all, const ScopePointer& scope);
    Arguments evaluate_arguments(const CallArguments& arguments, const ScopePointer& scope);
    Value filter(const Expression& expression, const ScopePointer& scope, const Value* input);

    Flow execute(const Block& block, const ScopePointer& scope);
    Flow execute(const Statement& statement, const ScopePointer& scope);
    Flow condition(const Statement& statement, const ScopePointer& scope);
    void loop(const Statement& statement, const ScopePointer& scope, const Value& values, int depth);
    void assign(const Expression& target, Value value, const ScopePointer& scope);
    void call_block(const Statement& statement, const ScopePointer& scope);
    void with(const Statement& statement, const ScopePointer& scope);
    Value captured(const Block& block, const ScopePointer& scope);   // the text it writes
    Value make_macro(const Statement& statement, const ScopePointer& scope);
    void write(const Value& value);

    const Syntax& syntax_;
    Builder* out_ = nullptr;
    int line_ = 1;
    int depth_ = 0;
    int macro_depth_ = 0;
    int generations_ = 0;
    std::vector<ScopePointer> kept_scopes_;
    std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// A function or constant every template has: range, namespace, raise_exception, …; undefined when there is none.
Value global_value(Evaluator& evaluator, const std::string& name);

// str(), repr() and json.dumps of a value, with its provenance.
Value to_text(Budget& budget, const Value& value);
void write_text(Builder& out, const Value& value);
void write_repr(Builder& out, const Value& value);
struct JsonLayout {
    bool ensure_ascii = false;
    bool sort_keys = false;
    std::optional<std::string> indent;
    std::string item_separator = ", ";
    std::string key_separator = ": ";
};
void write_json(Budget& budget, Builder& out, const Value& value, const JsonLayout& layout, int level = 0);

}   // namespace trainer::jinja
