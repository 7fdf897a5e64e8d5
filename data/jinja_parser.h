#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "configs/error.h"
#include "data/jinja_lexer.h"
#include "data/jinja_syntax.h"

namespace trainer::jinja {

// Reads the whole template. Error(bad_data) "name:line: …"; filters and tests that do not exist are errors here,
// unless a condition may keep them from being reached.
Syntax parse(std::string_view source, const std::string& name);

// The expression half of the parser (precedence as Jinja's own, which is Python's but for unary minus and **).
class ExpressionParser {
public:
    ExpressionParser(std::vector<Token> tokens, const std::string& name) : name_(name), tokens_(std::move(tokens)) {}

protected:
    template <typename... Arguments>
    [[noreturn]] void complain(int line, std::string_view pattern, const Arguments&... arguments) const {
        fail(Exit::bad_data, "{}:{}: {}", name_, line, format(pattern, arguments...));
    }

    const Token& current() const { return tokens_[at_]; }
    const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
    Token take();
    bool at_symbol(std::string_view symbol) const {
        return current().kind == Token::Kind::symbol && current().text == symbol;
    }
    bool at_name(std::string_view name) const { return current().kind == Token::Kind::name && current().text == name; }
    bool skip_symbol(std::string_view symbol);
    bool skip_name(std::string_view name);
    void expect_symbol(std::string_view symbol);
    void expect_name(std::string_view name);
    std::string any_name(std::string_view what);
    std::string found() const;   // the current token, for messages

    int symbol(const std::string& name);

    ExpressionPointer expression(bool conditional = true);
    // Comma-separated expressions as a tuple, or the one expression; ends also before `end_name`.
    ExpressionPointer tuple(bool conditional = true, std::string_view end_name = {}, bool parenthesized = false);
    ExpressionPointer target(std::string_view end_name, bool with_namespace);
    ExpressionPointer filters(ExpressionPointer input, bool first_without_pipe);

    struct Nested {
        explicit Nested(ExpressionParser& parser);
        ~Nested() { --parser.nesting_; }
        ExpressionParser& parser;
    };

    // Forgets unknown filters and tests noted since `count`: a condition guards them.
    std::size_t unknown_count() const { return unknown_.size(); }
    void forget_unknown(std::size_t count) { unknown_.resize(count); }
    void complain_about_unknown() const;

    const std::string& name_;
    Syntax syntax_;
    // What the bodies of the macros being read mention, innermost last.
    struct Mentions {
        bool caller = false, varargs = false, kwargs = false;
    };
    std::vector<Mentions> mentions_;

private:
    using Kind = Expression::Kind;
    ExpressionPointer make(Kind kind, int line, std::vector<ExpressionPointer> children = {});
    template <typename... Children>
    ExpressionPointer join(Kind kind, int line, Children... children);

    ExpressionPointer conditional();
    ExpressionPointer logical_or();
    ExpressionPointer logical_and();
    ExpressionPointer logical_not();
    ExpressionPointer comparison();
    ExpressionPointer sum();
    ExpressionPointer concatenation();
    ExpressionPointer product();
    ExpressionPointer power();
    ExpressionPointer unary(bool with_filters = true);
    ExpressionPointer primary(bool with_namespace = false);
    ExpressionPointer number();
    ExpressionPointer list();
    ExpressionPointer dict();
    ExpressionPointer postfix(ExpressionPointer value);
    ExpressionPointer filters_and_tests(ExpressionPointer value);
    ExpressionPointer subscript(ExpressionPointer value);
    ExpressionPointer subscribed();
    ExpressionPointer call(ExpressionPointer value);
    ExpressionPointer test(ExpressionPointer value);
    void call_arguments(Expression& owner);
    ExpressionPointer binary(Operator operation, int line, ExpressionPointer left, ExpressionPointer right);

    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    int nesting_ = 0;
    std::unordered_map<std::string, int> symbols_;
    std::vector<std::pair<int, std::string>> unknown_;   // line, message
};

}   // namespace trainer::jinja
