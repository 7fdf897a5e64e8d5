// The reader is our own, not nlohmann's: that one tells no place for values (only for errors), keeps the last of two
// equal keys, and words its messages for programmers. This one marks every value and key and is several times faster.
#include "configs/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/utf8.h"

namespace trainer {

namespace {

constexpr int deepest = 256;

class JsonReader {
public:
    JsonReader(std::string_view text, const std::string& name, int first_line)
        : text_(text), file_(std::make_shared<const std::string>(name)), lines_(text, first_line) {}

    Node document() {
        const std::size_t invalid = first_invalid_utf8(text_);
        if (invalid != text_.size()) {
            at_ = invalid;
            complain("the text is not valid UTF-8 here");
        }
        if (text_.substr(0, 3) == "\xEF\xBB\xBF")
            complain("found a byte order mark; save the text as UTF-8 without one");
        skip_space();
        Node root = value(0);
        skip_space();
        if (at_ != text_.size()) expected("the end of the document");
        return root;
    }

private:
    Mark mark() {
        lines_.advance(at_);
        return {file_, lines_.line(), lines_.column()};
    }

    [[noreturn]] void complain(std::string_view sentence) { fail(Exit::bad_data, "{}: {}", mark().text(), sentence); }

    [[noreturn]] void expected(std::string_view what) { complain(format("expected {}, found {}", what, found())); }

    // What stands here, for messages: a word, one character, or the end.
    std::string found() const {
        if (at_ >= text_.size()) return "the end of the text";
        std::size_t end = at_;
        const auto is_word = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                   c == '+' || c == '.';
        };
        while (end < text_.size() && end - at_ < 30 && is_word(text_[end])) ++end;
        if (end > at_) return format("{}", text_.substr(at_, end - at_));
        const auto first = static_cast<unsigned char>(text_[at_]);
        if (first == '\n') return "the end of the line";
        if (first < 0x20 || first == 0x7F) return format("the control character {}", static_cast<int>(first));
        end = at_ + 1;
        while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xC0) == 0x80) ++end;
        return format("'{}'", text_.substr(at_, end - at_));
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_space() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return;
            ++at_;
        }
    }

    Node value(int depth) {
        Mark start = mark();
        Node node;
        switch (peek()) {
            case '{':
                node = map(depth + 1);
                break;
            case '[':
                node = list(depth + 1);
                break;
            case '"':
                node = Node(string());
                break;
            case 't':
                word("true"), node = Node(true);
                break;
            case 'f':
                word("false"), node = Node(false);
                break;
            case 'n':
                word("null");
                break;
            default:
                node = number();
                break;
        }
        node.with_mark(std::move(start));
        return node;
    }

    void word(std::string_view spelling) {
        if (text_.substr(at_, spelling.size()) != spelling) expected("a value");
        at_ += spelling.size();
    }

    void enter(int depth) {
        if (depth > deepest) complain(format("lists and maps are nested more than {} deep", deepest));
        ++at_;
        skip_space();
    }

    Node list(int depth) {
        enter(depth);
        Node::List items;
        if (peek() == ']') {
            ++at_;
            return Node(std::move(items));
        }
        for (;;) {
            items.push_back(value(depth));
            skip_space();
            const char next = peek();
            if (next != ',' && next != ']') expected("',' or ']'");
            ++at_;
            if (next == ']') return Node(std::move(items));
            skip_space();
        }
    }

    Node map(int depth) {
        enter(depth);
        Node::Map entries;
        if (peek() == '}') {
            ++at_;
            return Node(std::move(entries));
        }
        for (;;) {
            if (peek() != '"') expected("a key in double quotes");
            Mark key_mark = mark();
            std::string key = string();
            skip_space();
            if (peek() != ':') expected("':'");
            ++at_;
            skip_space();
            Node item = value(depth);
            entries.push_back({std::move(key), std::move(item), std::move(key_mark)});
            skip_space();
            const char next = peek();
            if (next != ',' && next != '}') expected("',' or '}'");
            ++at_;
            if (next == '}') break;
            skip_space();
        }
        if (const auto twice = duplicate_key(entries)) {
            const Node::Entry& first = entries[twice->first];
            const Node::Entry& second = entries[twice->second];
            fail(Exit::bad_data, "{}: key \"{}\" stands twice, first on line {}", second.mark.text(), second.key,
                 first.mark.line);
        }
        return Node(std::move(entries));
    }

    std::string string() {
        ++at_;
        std::string out;
        for (;;) {
            const std::size_t begin = at_;
            while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
                   static_cast<unsigned char>(text_[at_]) >= 0x20)
                ++at_;
            out.append(text_, begin, at_ - begin);
            if (at_ >= text_.size()) expected("'\"'");
            if (text_[at_] == '"') {
                ++at_;
                return out;
            }
            if (text_[at_] != '\\')
                complain(format("expected '\"', found {}; inside a string it must be escaped", found()));
            escape(out);
        }
    }

    void escape(std::string& out) {
        const std::size_t start = at_;
        ++at_;
        const char c = peek();
        ++at_;
        switch (c) {
            case '"':
                out += '"';
                return;
            case '\\':
                out += '\\';
                return;
            case '/':
                out += '/';
                return;
            case 'b':
                out += '\b';
                return;
            case 'f':
                out += '\f';
                return;
            case 'n':
                out += '\n';
                return;
            case 'r':
                out += '\r';
                return;
            case 't':
                out += '\t';
                return;
            case 'u':
                break;
            default:
                at_ = start;
                complain("expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u, found another escape");
        }
        unsigned code = hex4(start);
        if (code >= 0xD800 && code <= 0xDBFF && text_.substr(at_, 2) == "\\u") {
            const std::size_t second_start = at_;
            at_ += 2;
            const unsigned second = hex4(second_start);
            if (second >= 0xDC00 && second <= 0xDFFF)
                code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
            else
                at_ = second_start;
        }
        if (code >= 0xD800 && code <= 0xDFFF) {
            at_ = start;
            complain("expected a pair of surrogate escapes, found half of one");
        }
        append_utf8(out, code);
    }

    unsigned hex4(std::size_t start) {
        unsigned code = 0;
        const char* begin = text_.data() + at_;
        const char* end = begin + std::min<std::size_t>(4, text_.size() - std::min(at_, text_.size()));
        const auto read = std::from_chars(begin, end, code, 16);
        if (read.ptr != begin + 4) {
            at_ = start;
            complain("expected four hexadecimal digits after \\u");
        }
        at_ += 4;
        return code;
    }

    std::size_t digits() {
        const std::size_t begin = at_;
        while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
        return at_ - begin;
    }

    Node number() {
        const std::size_t start = at_;
        const auto malformed = [&](std::string_view what) {
            at_ = start;
            expected(what);
        };
        bool whole = true;
        if (peek() == '-') ++at_;
        const bool leading_zero = peek() == '0';
        const std::size_t count = digits();
        if (count == 0) malformed("a value");
        if (leading_zero && count > 1) malformed("a number without leading zeros");
        if (peek() == '.') {
            whole = false;
            ++at_;
            if (digits() == 0) malformed("digits after the decimal point");
        }
        if (peek() == 'e' || peek() == 'E') {
            whole = false;
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            if (digits() == 0) malformed("digits in the exponent");
        }
        const char* begin = text_.data() + start;
        const char* end = text_.data() + at_;
        if (whole) {
            std::int64_t integer = 0;
            if (std::from_chars(begin, end, integer).ec == std::errc()) return Node(integer);
        }
        double real = 0;
        if (std::from_chars(begin, end, real).ec != std::errc()) {
            real = std::strtod(std::string(begin, end).c_str(), nullptr);   // too small: 0 or a subnormal
            if (std::isinf(real)) malformed("a number that fits in 64 bits");
        }
        return Node(real);
    }

    std::string_view text_;
    std::shared_ptr<const std::string> file_;
    LineCounter lines_;
    std::size_t at_ = 0;
};

}   // namespace

Node parse_json(std::string_view text, const std::string& name, int first_line) {
    return JsonReader(text, name, first_line).document();
}

Node read_json(const std::filesystem::path& path) { return parse_json(read_text_file(path), path.string()); }

}   // namespace trainer
