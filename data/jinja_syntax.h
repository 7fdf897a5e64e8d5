#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja_value.h"

namespace trainer::jinja {

struct Expression;
using ExpressionPointer = std::unique_ptr<Expression>;

struct CallArguments {
    std::vector<ExpressionPointer> positional;
    std::vector<std::pair<std::string, ExpressionPointer>> named;
    ExpressionPointer unpacked_list;   // *x
    ExpressionPointer unpacked_dict;   // **x
};

enum class Operator { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct Expression {
    enum class Kind {
        constant,
        name,                  // symbol
        namespace_attribute,   // symbol, name: the target of {% set ns.x = … %}
        list,
        tuple,
        dict,        // children: key, value, key, value, …
        attribute,   // children[0] . name
        item,        // children[0] [children[1]]
        slice,       // children: begin, end, step; each may be null
        call,        // children[0] (arguments)
        filter,      // children[0] | name(arguments); in a filter block children[0] is null
        test,        // children[0] is name(arguments)
        negate,
        plus,
        logical_not,
        logical_and,
        logical_or,
        binary,        // operation
        comparison,    // children[i] comparisons[i] children[i + 1]
        concatenate,   // ~
        conditional,   // children: test, then, else (may be null)
    };

    Kind kind;
    int line;
    int depth = 1;
    int symbol = -1;
    Operator operation = Operator::add;
    std::string name;
    Value constant;
    std::vector<ExpressionPointer> children;
    std::vector<Comparison> comparisons;
    CallArguments arguments;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

struct Parameter {
    std::string name;
    int symbol;
    ExpressionPointer standard;   // the default; may be null
};

struct Statement {
    enum class Kind {
        data,           // text
        output,         // value
        condition,      // branches; `otherwise`
        loop,           // target in value [if filter]; body; otherwise
        assign,         // target = value
        assign_block,   // target = body, through filter
        macro,          // symbol, name, parameters, body
        call_block,     // value: the call; parameters and body of caller
        filter_block,   // filter, body
        with,           // assignments; body
        scope,          // {% block %}: body in a scope of its own
        generation,
        loop_break,
        loop_continue,
    };

    Kind kind;
    int line;
    int symbol = -1;
    bool recursive = false;
    bool takes_caller = false;   // the macro's body mentions it
    bool takes_varargs = false;
    bool takes_kwargs = false;
    std::string name;
    Value text;
    ExpressionPointer target;
    ExpressionPointer value;
    ExpressionPointer filter;
    std::vector<std::pair<ExpressionPointer, Block>> branches;
    std::vector<std::pair<ExpressionPointer, ExpressionPointer>> assignments;
    std::vector<Parameter> parameters;
    Block body;
    Block otherwise;
};

// A parsed template. Symbols are the names used in it, by number.
struct Syntax {
    Block body;
    std::vector<std::string> symbols;
    int loop_symbol = -1;
    int caller_symbol = -1;
    int varargs_symbol = -1;
    int kwargs_symbol = -1;
};

}   // namespace trainer::jinja
