// What follows a value in an expression: subscripts, calls, filters, tests; and the bracketed literals.
#include <algorithm>

#include "data/jinja_filters.h"
#include "data/jinja_parser.h"

namespace trainer::jinja {

ExpressionPointer ExpressionParser::list() {
    const int line = current().line;
    std::vector<ExpressionPointer> items;
    expect_symbol("[");
    while (!at_symbol("]")) {
        items.push_back(expression());
        if (!at_symbol("]")) expect_symbol(",");
    }
    expect_symbol("]");
    return make(Kind::list, line, std::move(items));
}

ExpressionPointer ExpressionParser::dict() {
    const int line = current().line;
    std::vector<ExpressionPointer> items;
    expect_symbol("{");
    while (!at_symbol("}")) {
        items.push_back(expression());
        expect_symbol(":");
        items.push_back(expression());
        if (!at_symbol("}")) expect_symbol(",");
    }
    expect_symbol("}");
    return make(Kind::dict, line, std::move(items));
}

ExpressionPointer ExpressionParser::postfix(ExpressionPointer value) {
    for (;;) {
        if (at_symbol(".") || at_symbol("["))
            value = subscript(std::move(value));
        else if (at_symbol("("))
            value = call(std::move(value));
        else
            return value;
    }
}

ExpressionPointer ExpressionParser::filters_and_tests(ExpressionPointer value) {
    for (;;) {
        if (at_symbol("|"))
            value = filters(std::move(value), false);
        else if (at_name("is"))
            value = test(std::move(value));
        else if (at_symbol("("))
            value = call(std::move(value));
        else
            return value;
    }
}

ExpressionPointer ExpressionParser::subscript(ExpressionPointer value) {
    Token token = take();
    std::vector<ExpressionPointer> children;
    children.push_back(std::move(value));
    if (token.text == ".") {
        if (current().kind == Token::Kind::integer) {
            children.push_back(number());
            return make(Kind::item, token.line, std::move(children));
        }
        std::string name = any_name("the name of an attribute");
        ExpressionPointer node = make(Kind::attribute, token.line, std::move(children));
        node->name = std::move(name);
        return node;
    }
    std::vector<ExpressionPointer> keys;
    while (!at_symbol("]")) {
        if (!keys.empty()) expect_symbol(",");
        keys.push_back(subscribed());
    }
    expect_symbol("]");
    children.push_back(keys.size() == 1 ? std::move(keys.front()) : make(Kind::tuple, token.line, std::move(keys)));
    return make(Kind::item, token.line, std::move(children));
}

ExpressionPointer ExpressionParser::subscribed() {
    const int line = current().line;
    std::vector<ExpressionPointer> bounds(3);
    if (!at_symbol(":")) {
        bounds[0] = expression();
        if (!at_symbol(":")) return std::move(bounds[0]);
    }
    expect_symbol(":");
    auto present = [&] { return !at_symbol("]") && !at_symbol(",") && !at_symbol(":"); };
    if (present()) bounds[1] = expression();
    if (skip_symbol(":") && present()) bounds[2] = expression();
    return make(Kind::slice, line, std::move(bounds));
}

void ExpressionParser::call_arguments(Expression& owner) {
    CallArguments& arguments = owner.arguments;
    const int line = current().line;
    auto ensure = [&](bool good) {
        if (!good) complain(line, "the arguments of a call come as values, then name=value, then *list, then **dict");
    };
    auto note_depth = [&](const ExpressionPointer& argument) {
        owner.depth = std::max(owner.depth, argument->depth + 1);
    };
    expect_symbol("(");
    while (!at_symbol(")")) {
        if (skip_symbol("*")) {
            ensure(!arguments.unpacked_list && !arguments.unpacked_dict);
            arguments.unpacked_list = expression();
            note_depth(arguments.unpacked_list);
        } else if (skip_symbol("**")) {
            ensure(!arguments.unpacked_dict);
            arguments.unpacked_dict = expression();
            note_depth(arguments.unpacked_dict);
        } else if (current().kind == Token::Kind::name && ahead().kind == Token::Kind::symbol && ahead().text == "=") {
            ensure(!arguments.unpacked_dict);
            std::string name = take().text;
            take();
            for (const auto& [other, value] : arguments.named)
                if (other == name) complain(line, "the argument {} is given twice", name);
            arguments.named.emplace_back(std::move(name), expression());
            note_depth(arguments.named.back().second);
        } else {
            ensure(!arguments.unpacked_list && !arguments.unpacked_dict && arguments.named.empty());
            arguments.positional.push_back(expression());
            note_depth(arguments.positional.back());
        }
        if (!at_symbol(")")) expect_symbol(",");
    }
    expect_symbol(")");
}

ExpressionPointer ExpressionParser::call(ExpressionPointer value) {
    std::vector<ExpressionPointer> children;
    const int line = current().line;
    children.push_back(std::move(value));
    ExpressionPointer node = make(Kind::call, line, std::move(children));
    call_arguments(*node);
    return node;
}

ExpressionPointer ExpressionParser::filters(ExpressionPointer input, bool first_without_pipe) {
    while (first_without_pipe || at_symbol("|")) {
        if (!first_without_pipe) take();
        first_without_pipe = false;
        const int line = current().line;
        std::string name = any_name("the name of a filter");
        while (skip_symbol(".")) name += "." + any_name("the name of a filter");
        if (!filter_exists(name)) unknown_.emplace_back(line, unknown_filter(name));
        std::vector<ExpressionPointer> children;
        children.push_back(std::move(input));
        input = make(Kind::filter, line, std::move(children));
        input->name = std::move(name);
        if (at_symbol("(")) call_arguments(*input);
    }
    return input;
}

ExpressionPointer ExpressionParser::test(ExpressionPointer value) {
    const int line = take().line;
    const bool negated = skip_name("not");
    std::string name = any_name("the name of a test");
    while (skip_symbol(".")) name += "." + any_name("the name of a test");
    if (!test_exists(name)) unknown_.emplace_back(line, unknown_test(name));
    std::vector<ExpressionPointer> children;
    children.push_back(std::move(value));
    ExpressionPointer node = make(Kind::test, line, std::move(children));
    node->name = std::move(name);
    using Token = trainer::jinja::Token;
    const Token::Kind kind = current().kind;
    if (at_symbol("(")) {
        call_arguments(*node);
    } else if ((kind == Token::Kind::name || kind == Token::Kind::string || kind == Token::Kind::integer ||
                kind == Token::Kind::number || at_symbol("[") || at_symbol("{")) &&
               !at_name("else") && !at_name("or") && !at_name("and")) {
        if (at_name("is")) complain(line, "tests with 'is' cannot be chained; join them by 'and'");
        node->arguments.positional.push_back(postfix(primary()));
        node->depth = std::max(node->depth, node->arguments.positional.back()->depth + 1);
    }
    if (!negated) return node;
    std::vector<ExpressionPointer> inner;
    inner.push_back(std::move(node));
    return make(Kind::logical_not, line, std::move(inner));
}

}   // namespace trainer::jinja
