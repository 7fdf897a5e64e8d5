#include "data/jinja_lexer.h"

#include <algorithm>
#include <cstdio>

#include "configs/error.h"
#include "configs/utf8.h"
#include "data/jinja_text.h"
#include "data/jinja_unicode.h"

namespace trainer::jinja {

namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

bool word(char c) {
    return digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           static_cast<unsigned char>(c) >= 0x80;
}

// \r\n and \r become \n; one newline at the end goes.
std::string normalize(std::string_view source) {
    std::string text;
    text.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r') {
            text += '\n';
            if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
        } else {
            text += source[i];
        }
    }
    if (text.ends_with('\n')) text.pop_back();
    return text;
}

class Lexer {
public:
    Lexer(std::string_view source, const std::string& name) : name_(name), source_(normalize(source)) {
        std::size_t bad = first_invalid_utf8(source_);
        advance_line(0, bad);
        require(bad == source_.size(), Exit::bad_data, "{}:{}: the template is not valid UTF-8", name_, line_);
        line_ = 1;
    }

    std::vector<Token> run() {
        while (at_ < source_.size()) text_until_tag();
        push(Token::Kind::end, "");
        return std::move(tokens_);
    }

private:
    template <typename... Arguments>
    [[noreturn]] void complain(std::string_view pattern, const Arguments&... arguments) const {
        fail(Exit::bad_data, "{}:{}: {}", name_, line_, format(pattern, arguments...));
    }

    bool follows(std::string_view text) const { return std::string_view(source_).substr(at_).starts_with(text); }
    char peek(std::size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }
    void push(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

    void advance_line(std::size_t begin, std::size_t end) {
        line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(begin),
                                             source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    }

    void move_to(std::size_t to) {
        advance_line(at_, to);
        line_starting_ = to > at_ ? source_[to - 1] == '\n' : line_starting_;
        at_ = to;
    }

    std::size_t after_space(std::size_t from) const {
        while (from < source_.size() && is_space(character_at(source_, from))) from += character_size(source_, from);
        return from;
    }

    // The text [begin, end) before a tag that opens with `sign`, with white space stripped as the sign and
    // lstrip_blocks ask.
    std::string_view stripped(std::size_t begin, std::size_t end, char sign, bool block) const {
        std::string_view text = std::string_view(source_).substr(begin, end - begin);
        std::size_t keep = text.size();
        while (keep > 0) {
            std::size_t last = keep - 1;
            while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
            if (!is_space(character_at(text, last))) break;
            keep = last;
        }
        if (sign == '-') return text.substr(0, keep);
        if (sign != '+' && block) {
            std::size_t line = text.rfind('\n') + 1;   // 0 when there is none
            if ((line > 0 || line_starting_) && keep <= line) return text.substr(0, line);
        }
        return text;
    }

    void text_until_tag() {
        std::size_t begin = at_;
        std::size_t tag = begin;
        while ((tag = source_.find('{', tag)) != std::string::npos) {
            char next = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
            if (next == '{' || next == '%' || next == '#') break;
            ++tag;
        }
        if (tag == std::string::npos) {
            push(Token::Kind::data, source_.substr(begin));
            move_to(source_.size());
            return;
        }
        char what = source_[tag + 1];
        char sign =
            tag + 2 < source_.size() && (source_[tag + 2] == '-' || source_[tag + 2] == '+') ? source_[tag + 2] : 0;
        std::string_view text = stripped(begin, tag, sign, what != '{');
        if (!text.empty()) push(Token::Kind::data, std::string(text));
        move_to(tag + 2 + (sign ? 1 : 0));
        if (what == '#')
            comment();
        else if (what == '{')
            tokens_of_tag(Token::Kind::variable_begin, Token::Kind::variable_end);
        else if (std::size_t body = raw_begin())
            raw(body);
        else
            tokens_of_tag(Token::Kind::block_begin, Token::Kind::block_end);
    }

    void comment() {
        std::size_t close = source_.find("#}", at_);
        if (close == std::string::npos) complain("the comment {# is not closed by #}");
        char sign = close > at_ ? source_[close - 1] : 0;
        std::size_t end = close + 2;
        if (sign == '-')
            end = after_space(end);
        else if (sign != '+' && end < source_.size() && source_[end] == '\n')
            ++end;
        move_to(end);
    }

    // Where the body of a raw block begins, when `raw %}` follows; else 0.
    std::size_t raw_begin() const {
        std::size_t at = after_space(at_);
        if (source_.compare(at, 3, "raw") != 0) return 0;
        at = after_space(at + 3);
        if (source_.compare(at, 3, "-%}") == 0) return after_space(at + 3);
        return source_.compare(at, 2, "%}") == 0 ? at + 2 : 0;
    }

    void raw(std::size_t body) {
        move_to(body);
        for (std::size_t tag = body; (tag = source_.find("{%", tag)) != std::string::npos; ++tag) {
            std::size_t at = tag + 2;
            char sign = at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : 0;
            at = after_space(at + (sign ? 1 : 0));
            if (source_.compare(at, 6, "endraw") != 0) continue;
            at = after_space(at + 6);
            std::size_t end = block_end(at);
            if (end == 0) continue;
            std::string_view text = stripped(body, tag, sign, true);
            if (!text.empty()) push(Token::Kind::data, std::string(text));
            move_to(end);
            return;
        }
        complain("the block {% raw %} is not closed by {% endraw %}");
    }

    // Past the end of a block tag that stands at `at`, with the white space it swallows; else 0.
    std::size_t block_end(std::size_t at) const {
        if (source_.compare(at, 3, "+%}") == 0) return at + 3;
        if (source_.compare(at, 3, "-%}") == 0) return after_space(at + 3);
        if (source_.compare(at, 2, "%}") != 0) return 0;
        return at + 2 < source_.size() && source_[at + 2] == '\n' ? at + 3 : at + 2;
    }

    std::size_t variable_end(std::size_t at) const {
        if (source_.compare(at, 3, "-}}") == 0) return after_space(at + 3);
        return source_.compare(at, 2, "}}") == 0 ? at + 2 : 0;
    }

    void tokens_of_tag(Token::Kind begin, Token::Kind end) {
        push(begin, "");
        std::string open;   // brackets not closed yet
        for (;;) {
            if (at_ >= source_.size()) complain("the template ends inside a tag");
            if (open.empty()) {
                std::size_t past = end == Token::Kind::block_end ? block_end(at_) : variable_end(at_);
                if (past) {
                    push(end, "");
                    move_to(past);
                    return;
                }
            }
            std::size_t past = after_space(at_);
            if (past > at_)
                move_to(past);
            else if (digit(peek()))
                number();
            else if (word(peek()))
                name();
            else if (peek() == '\'' || peek() == '"')
                string();
            else
                symbol(open);
        }
    }

    // Digits with single underscores between them, from `at`.
    std::size_t digits(std::size_t at) const {
        while (at < source_.size() &&
               (digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && digit(source_[at + 1]))))
            ++at;
        return at;
    }

    void number() {
        std::size_t end = 0;
        Token::Kind kind = Token::Kind::integer;
        if (at_ == 0 || source_[at_ - 1] != '.') {
            std::size_t whole = digits(at_);
            std::size_t fraction = whole;
            if (fraction + 1 < source_.size() && source_[fraction] == '.' && digit(source_[fraction + 1]))
                fraction = digits(fraction + 1);
            std::size_t exponent = fraction;
            if (exponent < source_.size() && (source_[exponent] | 32) == 'e') {
                std::size_t at = exponent + 1;
                if (at < source_.size() && (source_[at] == '+' || source_[at] == '-')) ++at;
                if (at < source_.size() && digit(source_[at])) exponent = digits(at);
            }
            if (exponent > whole) {
                kind = Token::Kind::number;
                end = exponent;
            }
        }
        if (end == 0) end = integer_end();
        std::string text = source_.substr(at_, end - at_);
        std::erase(text, '_');
        push(kind, std::move(text));
        move_to(end);
    }

    std::size_t integer_end() const {
        auto run = [&](std::size_t at, auto accept) {
            while (at < source_.size() &&
                   (accept(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && accept(source_[at + 1]))))
                ++at;
            return at;
        };
        if (peek() != '0') return digits(at_);
        std::size_t body = at_ + 2;
        std::size_t end = body;
        char base = static_cast<char>(peek(1) | 32);
        if (base == 'b')
            end = run(body, [](char c) { return c == '0' || c == '1'; });
        else if (base == 'o')
            end = run(body, [](char c) { return c >= '0' && c <= '7'; });
        else if (base == 'x')
            end = run(body, [](char c) { return digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); });
        return end > body ? end : run(at_, [](char c) { return c == '0'; });
    }

    void name() {
        std::size_t end = at_;
        while (end < source_.size() && word(source_[end]) && !is_space(character_at(source_, end)))
            end += character_size(source_, end);
        push(Token::Kind::name, source_.substr(at_, end - at_));
        move_to(end);
    }

    void string() {
        const char quote = peek();
        std::size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
        if (end >= source_.size()) complain("a string opened by {} is not closed", quote);
        push(Token::Kind::string, unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
        move_to(end + 1);
    }

    std::string unescape(std::string_view raw) const {
        std::string text;
        for (std::size_t i = 0; i < raw.size(); ++i) {
            if (raw[i] != '\\') {
                text += raw[i];
                continue;
            }
            static constexpr std::string_view letters = "abfnrtv\\'\"";
            static constexpr std::string_view meaning = "\a\b\f\n\r\t\v\\'\"";
            const char c = raw[++i];
            if (std::size_t found = letters.find(c); found != std::string_view::npos) {
                text += meaning[found];
            } else if (c == '\n') {
                continue;
            } else if (c >= '0' && c <= '7') {
                unsigned value = 0;
                std::size_t last = std::min(i + 3, raw.size());
                for (; i < last && raw[i] >= '0' && raw[i] <= '7'; ++i)
                    value = value * 8 + static_cast<unsigned>(raw[i] - '0');
                --i;
                append_utf8(text, value);
            } else if (c == 'x' || c == 'u' || c == 'U') {
                std::size_t size = c == 'x' ? 2 : c == 'u' ? 4 : 8;
                append_utf8(text, hexadecimal(raw.substr(i + 1), size));
                i += size;
            } else if (c == 'N') {
                complain("escapes of the form \\N{{name}} are not supported in strings; write the character itself");
            } else if (static_cast<unsigned char>(c) >= 0x80) {   // Python spells the character out here
                const auto code = static_cast<unsigned>(character_at(raw, i));
                char spelled[12];
                std::snprintf(spelled, sizeof spelled,
                              code < 0x100     ? "\\x%02x"
                              : code < 0x10000 ? "\\u%04x"
                                               : "\\U%08x",
                              code);
                text += spelled;
                i += character_size(raw, i) - 1;
            } else {
                text += '\\';
                text += c;
            }
        }
        return text;
    }

    unsigned hexadecimal(std::string_view raw, std::size_t size) const {
        unsigned long value = 0;
        for (std::size_t i = 0; i < size; ++i) {
            char c = i < raw.size() ? raw[i] : ' ';
            char low = static_cast<char>(c | 32);
            if (!digit(c) && !(low >= 'a' && low <= 'f')) complain("a string escape needs {} hexadecimal digits", size);
            value = value * 16 + static_cast<unsigned long>(digit(c) ? c - '0' : low - 'a' + 10);
        }
        if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
            complain("a string escape names no Unicode character");
        return static_cast<unsigned>(value);
    }

    void symbol(std::string& open) {
        static constexpr std::string_view symbols[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                       "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                       ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
        for (std::string_view symbol : symbols) {
            if (!follows(symbol)) continue;
            const char c = symbol[0];
            if (c == '(' || c == '[' || c == '{') {
                open += c == '(' ? ')' : c == '[' ? ']' : '}';
            } else if (c == ')' || c == ']' || c == '}') {
                if (open.empty()) complain("found '{}' without its opening bracket", c);
                if (open.back() != c) complain("found '{}', expected '{}'", c, open.back());
                open.pop_back();
            }
            push(Token::Kind::symbol, std::string(symbol));
            move_to(at_ + symbol.size());
            return;
        }
        complain("found the unexpected character '{}'", source_.substr(at_, character_size(source_, at_)));
    }

    const std::string& name_;
    std::string source_;
    std::size_t at_ = 0;
    int line_ = 1;
    bool line_starting_ = true;   // the text before at_ ends with a newline
    std::vector<Token> tokens_;
};

}   // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& name) { return Lexer(source, name).run(); }

}   // namespace trainer::jinja
