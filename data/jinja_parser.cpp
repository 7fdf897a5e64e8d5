#include "data/jinja_parser.h"

#include <algorithm>

namespace trainer::jinja {

namespace {

using Names = std::vector<std::string_view>;

class Parser : ExpressionParser {
public:
    Parser(std::string_view source, const std::string& name) : ExpressionParser(tokenize(source, name), name) {}

    Syntax run() {
        syntax_.loop_symbol = symbol("loop");
        syntax_.caller_symbol = symbol("caller");
        syntax_.varargs_symbol = symbol("varargs");
        syntax_.kwargs_symbol = symbol("kwargs");
        syntax_.body = statements({}, 0);
        complain_about_unknown();
        return std::move(syntax_);
    }

private:
    using Kind = Statement::Kind;
    using Item = std::unique_ptr<Statement>;

    static Item make(Kind kind, int line) {
        auto statement = std::make_unique<Statement>();
        statement->kind = kind;
        statement->line = line;
        return statement;
    }

    void end_of_tag() {
        if (current().kind != Token::Kind::block_end) complain(current().line, "expected '%}', found {}", found());
        take();
    }

    // Up to a tag that starts with one of `ends`; stands on that name then. With no ends: to the end of the template.
    Block statements(const Names& ends, int opened) {
        Block block;
        for (;;) {
            switch (current().kind) {
                case Token::Kind::end:
                    if (!ends.empty())
                        complain(current().line, "the template ends, but the tag opened in line {} needs '{}'", opened,
                                 ends.back());
                    return block;
                case Token::Kind::data: {
                    Token token = take();
                    block.push_back(make(Kind::data, token.line));
                    block.back()->text =
                        Value(std::make_shared<const Text>(nullptr, std::move(token.text), std::vector<Run>{}));
                    break;
                }
                case Token::Kind::variable_begin: {
                    int line = take().line;
                    Item output = make(Kind::output, line);
                    output->value = tuple();
                    if (current().kind != Token::Kind::variable_end)
                        complain(current().line, "expected '}}', found {}", found());
                    take();
                    block.push_back(std::move(output));
                    break;
                }
                default:   // a block begins
                    take();
                    if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return at_name(end); })) return block;
                    block.push_back(statement());
                    end_of_tag();
            }
        }
    }

    Block body(const Names& ends, int opened) {
        skip_symbol(":");
        end_of_tag();
        return statements(ends, opened);
    }

    Block body_until(std::string_view end, int opened) {
        Block block = body({end}, opened);
        take();
        return block;
    }

    Item statement() {
        Nested nested(*this);
        const int line = current().line;
        const std::string tag = any_name("the name of a tag");
        if (tag == "if") return condition(line);
        if (tag == "for") return loop(line);
        if (tag == "set") return assignment(line);
        if (tag == "macro") return macro(line);
        if (tag == "call") return call_block(line);
        if (tag == "with") return with(line);
        if (tag == "print") return print(line);
        if (tag == "break" || tag == "continue") {
            if (loops_ == 0) complain(line, "'{}' outside of a loop", tag);
            return make(tag == "break" ? Kind::loop_break : Kind::loop_continue, line);
        }
        if (tag == "filter") {
            Item block = make(Kind::filter_block, line);
            block->filter = filters(nullptr, true);
            block->body = isolated("endfilter", line);
            return block;
        }
        if (tag == "generation") {
            Item block = make(Kind::generation, line);
            block->body = isolated("endgeneration", line);
            return block;
        }
        if (tag == "block") {
            Item block = make(Kind::scope, line);
            block->name = any_name("the name of the block");
            skip_name("scoped");
            block->body = isolated("endblock", line);
            skip_name(block->name);
            return block;
        }
        static const std::vector<std::string> tags = {"if",    "for",        "set",   "macro",  "call",
                                                      "with",  "print",      "break", "filter", "continue",
                                                      "block", "generation", "raw"};
        std::string hint = nearest(tag, tags);
        complain(line, "found the tag '{}'{}; supported are {}", tag,
                 hint.empty() ? "" : ", did you mean '" + hint + "'", trainer::join(tags));
    }

    // A body that a loop outside of it cannot be left from.
    Block isolated(std::string_view end, int line) {
        int loops = std::exchange(loops_, 0);
        Block block = body_until(end, line);
        loops_ = loops;
        return block;
    }

    Item condition(int line) {
        Item statement = make(Kind::condition, line);
        std::size_t unknown = unknown_count();
        ExpressionPointer test = tuple(false);
        for (;;) {
            Block block = body({"elif", "else", "endif"}, line);
            statement->branches.emplace_back(std::move(test), std::move(block));
            if (skip_name("elif")) {
                test = tuple(false);
                continue;
            }
            if (skip_name("else"))
                statement->otherwise = body_until("endif", line);
            else
                take();
            break;
        }
        forget_unknown(unknown);
        return statement;
    }

    Item loop(int line) {
        Item statement = make(Kind::loop, line);
        statement->target = target("in", false);
        expect_name("in");
        statement->value = tuple(false, "recursive");
        if (skip_name("if")) statement->filter = expression();
        statement->recursive = skip_name("recursive");
        ++loops_;
        statement->body = body({"else", "endfor"}, line);
        --loops_;
        if (take().text == "else") statement->otherwise = body_until("endfor", line);
        return statement;
    }

    Item assignment(int line) {
        Item statement = make(Kind::assign, line);
        statement->target = target({}, true);
        if (skip_symbol("=")) {
            statement->value = tuple();
            return statement;
        }
        statement->kind = Kind::assign_block;
        if (at_symbol("|")) statement->filter = filters(nullptr, false);
        statement->body = isolated("endset", line);
        return statement;
    }

    std::vector<Parameter> signature() {
        std::vector<Parameter> parameters;
        expect_symbol("(");
        while (!at_symbol(")")) {
            if (!parameters.empty()) expect_symbol(",");
            const int line = current().line;
            std::string name = any_name("the name of a parameter");
            int number = symbol(name);
            ExpressionPointer standard;
            if (skip_symbol("="))
                standard = expression();
            else if (!parameters.empty() && parameters.back().standard)
                complain(line, "the parameter {} without a default follows one with a default", name);
            parameters.push_back({std::move(name), number, std::move(standard)});
        }
        expect_symbol(")");
        return parameters;
    }

    void macro_body(Statement& statement, std::string_view end, int line) {
        mentions_.emplace_back();
        statement.body = isolated(end, line);
        statement.takes_caller = mentions_.back().caller;
        statement.takes_varargs = mentions_.back().varargs;
        statement.takes_kwargs = mentions_.back().kwargs;
        mentions_.pop_back();
    }

    Item macro(int line) {
        Item statement = make(Kind::macro, line);
        statement->name = any_name("the name of the macro");
        statement->symbol = symbol(statement->name);
        statement->parameters = signature();
        macro_body(*statement, "endmacro", line);
        return statement;
    }

    Item call_block(int line) {
        Item statement = make(Kind::call_block, line);
        statement->name = "caller";
        if (at_symbol("(")) statement->parameters = signature();
        statement->value = expression();
        if (statement->value->kind != Expression::Kind::call)
            complain(line, "expected the call of a macro after 'call'");
        macro_body(*statement, "endcall", line);
        return statement;
    }

    Item with(int line) {
        Item statement = make(Kind::with, line);
        while (current().kind != Token::Kind::block_end) {
            if (!statement->assignments.empty()) expect_symbol(",");
            ExpressionPointer place = target({}, false);
            expect_symbol("=");
            statement->assignments.emplace_back(std::move(place), expression());
        }
        statement->body = body_until("endwith", line);
        return statement;
    }

    Item print(int line) {
        Item statement = make(Kind::output, line);
        statement->value = expression();
        return statement;
    }

    int loops_ = 0;   // loops that break can leave from here
};

}   // namespace

Syntax parse(std::string_view source, const std::string& name) { return Parser(source, name).run(); }

}   // namespace trainer::jinja
