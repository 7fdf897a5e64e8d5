#include <algorithm>
#include <charconv>

#include "data/jinja_filters.h"
#include "data/jinja_parser.h"

namespace trainer::jinja {

namespace {

constexpr int deepest_expression = 500;   // a chain of operators counts one for each

Value constant_text(std::string bytes) {
    return Value(std::make_shared<const Text>(nullptr, std::move(bytes), std::vector<Run>{}));
}

}   // namespace

Token ExpressionParser::take() {
    Token token = current();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
}

bool ExpressionParser::skip_symbol(std::string_view symbol) {
    bool here = at_symbol(symbol);
    if (here) take();
    return here;
}

bool ExpressionParser::skip_name(std::string_view name) {
    bool here = at_name(name);
    if (here) take();
    return here;
}

void ExpressionParser::expect_symbol(std::string_view symbol) {
    if (!skip_symbol(symbol)) complain(current().line, "expected '{}', found {}", symbol, found());
}

void ExpressionParser::expect_name(std::string_view name) {
    if (!skip_name(name)) complain(current().line, "expected '{}', found {}", name, found());
}

std::string ExpressionParser::any_name(std::string_view what) {
    if (current().kind != Token::Kind::name) complain(current().line, "expected {}, found {}", what, found());
    return take().text;
}

std::string ExpressionParser::found() const {
    switch (current().kind) {
        case Token::Kind::data:
            return "text";
        case Token::Kind::variable_begin:
            return "'{{'";
        case Token::Kind::variable_end:
            return "'}}'";
        case Token::Kind::block_begin:
            return "'{%'";
        case Token::Kind::block_end:
            return "'%}'";
        case Token::Kind::string:
            return "a string";
        case Token::Kind::end:
            return "the end of the template";
        default:
            return "'" + current().text + "'";
    }
}

int ExpressionParser::symbol(const std::string& name) {
    auto [place, fresh] = symbols_.emplace(name, static_cast<int>(syntax_.symbols.size()));
    if (fresh) syntax_.symbols.push_back(name);
    return place->second;
}

ExpressionParser::Nested::Nested(ExpressionParser& owner) : parser(owner) {
    if (++parser.nesting_ > Budget::max_depth)
        parser.complain(parser.current().line, "the template is nested deeper than {}", Budget::max_depth);
}

void ExpressionParser::complain_about_unknown() const {
    if (!unknown_.empty()) complain(unknown_.front().first, "{}", unknown_.front().second);
}

ExpressionPointer ExpressionParser::make(Kind kind, int line, std::vector<ExpressionPointer> children) {
    auto node = std::make_unique<Expression>();
    node->kind = kind;
    node->line = line;
    for (const auto& child : children) node->depth = std::max(node->depth, child ? child->depth + 1 : 1);
    if (node->depth > deepest_expression) complain(line, "the expression is nested deeper than {}", deepest_expression);
    node->children = std::move(children);
    return node;
}

template <typename... Children>
ExpressionPointer ExpressionParser::join(Kind kind, int line, Children... children) {
    std::vector<ExpressionPointer> all;
    (all.push_back(std::move(children)), ...);
    return make(kind, line, std::move(all));
}

ExpressionPointer ExpressionParser::expression(bool with_conditional) {
    Nested nested(*this);
    return with_conditional ? conditional() : logical_or();
}

ExpressionPointer ExpressionParser::tuple(bool with_conditional, std::string_view end_name, bool parenthesized) {
    int line = current().line;
    std::vector<ExpressionPointer> items;
    bool comma = false;
    for (;;) {
        bool end = current().kind == Token::Kind::variable_end || current().kind == Token::Kind::block_end ||
                   at_symbol(")") || (!end_name.empty() && at_name(end_name));
        if (end) break;
        items.push_back(expression(with_conditional));
        if (!skip_symbol(",")) break;
        comma = true;
    }
    if (!comma && !items.empty()) return std::move(items.front());
    if (!comma && !parenthesized) complain(line, "expected an expression, found {}", found());
    return make(Kind::tuple, line, std::move(items));
}

ExpressionPointer ExpressionParser::target(std::string_view end_name, bool with_namespace) {
    int line = current().line;
    std::vector<ExpressionPointer> items;
    bool comma = false;
    while (current().kind != Token::Kind::block_end && !at_symbol("=") && !(!end_name.empty() && at_name(end_name))) {
        items.push_back(primary(with_namespace));
        comma = skip_symbol(",");
        if (!comma) break;
        line = current().line;
    }
    if (items.empty()) complain(line, "expected a name to assign to, found {}", found());
    auto assignable = [](const auto& self, const Expression& e) -> bool {
        if (e.kind == Kind::tuple)
            return std::all_of(e.children.begin(), e.children.end(),
                               [&](const auto& child) { return self(self, *child); });
        return e.kind == Kind::name || e.kind == Kind::namespace_attribute;
    };
    for (const auto& item : items)
        if (!assignable(assignable, *item))
            complain(item->line, "only names, tuples of names and attributes of a namespace can be assigned to");
    if (items.size() == 1 && !comma) return std::move(items.front());
    return make(Kind::tuple, line, std::move(items));
}

ExpressionPointer ExpressionParser::conditional() {
    int line = current().line;
    std::size_t unknown = unknown_count();
    ExpressionPointer value = logical_or();
    while (skip_name("if")) {
        ExpressionPointer condition = logical_or();
        ExpressionPointer other;
        if (skip_name("else")) {
            Nested nested(*this);
            other = conditional();
        }
        value = join(Kind::conditional, line, std::move(condition), std::move(value), std::move(other));
        forget_unknown(unknown);
    }
    return value;
}

ExpressionPointer ExpressionParser::logical_or() {
    ExpressionPointer left = logical_and();
    while (at_name("or")) {
        int line = take().line;
        left = join(Kind::logical_or, line, std::move(left), logical_and());
    }
    return left;
}

ExpressionPointer ExpressionParser::logical_and() {
    ExpressionPointer left = logical_not();
    while (at_name("and")) {
        int line = take().line;
        left = join(Kind::logical_and, line, std::move(left), logical_not());
    }
    return left;
}

ExpressionPointer ExpressionParser::logical_not() {
    if (!at_name("not")) return comparison();
    Nested nested(*this);
    int line = take().line;
    return join(Kind::logical_not, line, logical_not());
}

ExpressionPointer ExpressionParser::comparison() {
    static constexpr std::pair<std::string_view, Comparison> symbols[] = {
        {"==", Comparison::equal},      {"!=", Comparison::not_equal}, {"<", Comparison::less},
        {"<=", Comparison::less_equal}, {">", Comparison::greater},    {">=", Comparison::greater_equal}};
    int line = current().line;
    std::vector<ExpressionPointer> operands;
    operands.push_back(sum());
    std::vector<Comparison> comparisons;
    for (;;) {
        auto found = std::find_if(std::begin(symbols), std::end(symbols), [&](auto& s) { return at_symbol(s.first); });
        if (found != std::end(symbols)) {
            take();
            comparisons.push_back(found->second);
        } else if (skip_name("in")) {
            comparisons.push_back(Comparison::in);
        } else if (at_name("not") && ahead().kind == Token::Kind::name && ahead().text == "in") {
            take();
            take();
            comparisons.push_back(Comparison::not_in);
        } else {
            break;
        }
        operands.push_back(sum());
    }
    if (comparisons.empty()) return std::move(operands.front());
    ExpressionPointer node = make(Kind::comparison, line, std::move(operands));
    node->comparisons = std::move(comparisons);
    return node;
}

ExpressionPointer ExpressionParser::binary(Operator operation, int line, ExpressionPointer left,
                                           ExpressionPointer right) {
    ExpressionPointer node = join(Kind::binary, line, std::move(left), std::move(right));
    node->operation = operation;
    return node;
}

ExpressionPointer ExpressionParser::sum() {
    ExpressionPointer left = concatenation();
    while (at_symbol("+") || at_symbol("-")) {
        Token token = take();
        left = binary(token.text == "+" ? Operator::add : Operator::subtract, token.line, std::move(left),
                      concatenation());
    }
    return left;
}

ExpressionPointer ExpressionParser::concatenation() {
    int line = current().line;
    std::vector<ExpressionPointer> parts;
    parts.push_back(product());
    while (skip_symbol("~")) parts.push_back(product());
    return parts.size() == 1 ? std::move(parts.front()) : make(Kind::concatenate, line, std::move(parts));
}

ExpressionPointer ExpressionParser::product() {
    static constexpr std::pair<std::string_view, Operator> symbols[] = {
        {"*", Operator::multiply}, {"/", Operator::divide}, {"//", Operator::floor_divide}, {"%", Operator::modulo}};
    ExpressionPointer left = power();
    for (;;) {
        auto found = std::find_if(std::begin(symbols), std::end(symbols), [&](auto& s) { return at_symbol(s.first); });
        if (found == std::end(symbols)) return left;
        int line = take().line;
        left = binary(found->second, line, std::move(left), power());
    }
}

ExpressionPointer ExpressionParser::power() {
    ExpressionPointer left = unary();
    while (at_symbol("**")) {
        int line = take().line;
        left = binary(Operator::power, line, std::move(left), unary());
    }
    return left;
}

ExpressionPointer ExpressionParser::unary(bool with_filters) {
    Nested nested(*this);
    ExpressionPointer value;
    if (at_symbol("-") || at_symbol("+")) {
        Token token = take();
        value = join(token.text == "-" ? Kind::negate : Kind::plus, token.line, unary(false));
    } else {
        value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPointer ExpressionParser::primary(bool with_namespace) {
    const int line = current().line;
    switch (current().kind) {
        case Token::Kind::name: {
            std::string name = take().text;
            ExpressionPointer node = make(Kind::constant, line);
            if (name == "true" || name == "True" || name == "false" || name == "False") {
                node->constant = Value(name[0] == 't' || name[0] == 'T');
            } else if (name == "none" || name == "None") {
                node->constant = Value(nullptr);
            } else {
                node->kind = Kind::name;
                node->symbol = symbol(name);
                for (Mentions& mentions : mentions_) {
                    mentions.caller |= name == "caller";
                    mentions.varargs |= name == "varargs";
                    mentions.kwargs |= name == "kwargs";
                }
                if (with_namespace && skip_symbol(".")) {
                    node->kind = Kind::namespace_attribute;
                    node->name = any_name("the name of a namespace attribute");
                } else {
                    node->name = std::move(name);
                }
            }
            return node;
        }
        case Token::Kind::string: {
            std::string text = take().text;
            while (current().kind == Token::Kind::string) text += take().text;
            ExpressionPointer node = make(Kind::constant, line);
            node->constant = constant_text(std::move(text));
            return node;
        }
        case Token::Kind::integer:
        case Token::Kind::number:
            return number();
        case Token::Kind::symbol:
            if (skip_symbol("(")) {
                Nested nested(*this);
                ExpressionPointer value = tuple(true, {}, true);
                expect_symbol(")");
                return value;
            }
            if (at_symbol("[")) return list();
            if (at_symbol("{")) return dict();
            break;
        default:
            break;
    }
    complain(line, "expected an expression, found {}", found());
}

ExpressionPointer ExpressionParser::number() {
    Token token = take();
    ExpressionPointer node = make(Kind::constant, token.line);
    std::string_view digits = token.text;
    if (token.kind == Token::Kind::number) {
        node->constant = Value(std::strtod(token.text.c_str(), nullptr));
        return node;
    }
    int base = 10;
    if (digits.size() > 2 && digits[0] == '0' && digits[1] > '9') {
        char letter = static_cast<char>(digits[1] | 32);
        base = letter == 'b' ? 2 : letter == 'o' ? 8 : 16;
        digits.remove_prefix(2);
    }
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc()) complain(token.line, "the integer {} does not fit in 64 bits", token.text);
    node->constant = Value(value);
    return node;
}

}   // namespace trainer::jinja
