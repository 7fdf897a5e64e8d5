#include "configs/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/utf8.h"
#include "configs/yaml_scalar.h"

namespace trainer {

namespace {

constexpr std::size_t largest = 1 << 20;
constexpr std::size_t deepest = 64;

// Builds the node from yaml-cpp's events; what is not plain data stops it at once, so no alias is ever expanded.
class Builder : public YAML::EventHandler {
public:
    Builder(std::string_view text, const std::string& name)
        : text_(text), file_(std::make_shared<const std::string>(name)) {
        root_.with_mark({file_, 0, 0});
        int characters = 0;
        line_starts_.push_back(0);
        characters_before_.reserve(text.size() + 1);
        for (std::size_t i = 0; i < text.size(); ++i) {
            characters_before_.push_back(characters);
            characters += (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
            if (text[i] == '\n') line_starts_.push_back(i + 1);
        }
        characters_before_.push_back(characters);
    }

    // yaml-cpp counts lines and columns from 0, columns in bytes.
    std::size_t offset(const YAML::Mark& mark) const {
        const std::size_t start = line_starts_[std::min(static_cast<std::size_t>(mark.line), line_starts_.size() - 1)];
        return std::min(start + static_cast<std::size_t>(mark.column), text_.size());
    }

    Mark place(const YAML::Mark& mark) const {
        if (mark.line < 0) return {file_, 0, 0};
        const std::size_t at = offset(mark);
        const std::size_t start = line_starts_[std::min(static_cast<std::size_t>(mark.line), line_starts_.size() - 1)];
        return {file_, mark.line + 1, characters_before_[at] - characters_before_[start] + 1};
    }

    // Does the line begin with white space that holds a tab?
    bool indented_with_tab(const YAML::Mark& mark) const {
        if (mark.line < 0 || static_cast<std::size_t>(mark.line) >= line_starts_.size()) return false;
        const std::string_view line = text_.substr(line_starts_[static_cast<std::size_t>(mark.line)]);
        return line.substr(0, line.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
    }

    [[noreturn]] void complain(const YAML::Mark& mark, std::string_view sentence) const {
        fail(Exit::bad_recipe, "{}: {}", place(mark).text(), sentence);
    }

    Node take() { return std::move(root_); }

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (++documents_ == 1) return;
        if (text_.substr(offset(mark), 3) == "---")
            complain(mark, "expected one document, found the start of a second");
        complain(mark, "expected the end of the document, found more of it; is the indentation right?");
    }
    void OnDocumentEnd() override {}

    void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
        complain(mark, format("anchors and aliases are not supported, found &{}; write the value out", name));
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
        complain(mark, "anchors and aliases are not supported; write the value out");
    }

    void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
        if (expects_key()) complain(mark, "expected a key, found nothing (null)");
        const char c = at(mark);
        if (c == ',' || (c == ']' && !stack_.empty() && stack_.back().node.is_list()))
            complain(mark, format("expected a value, found '{}'", c));
        add(Node(), place(mark), true);
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
        const bool plain = tag == "?";
        if (!plain) refuse_tag(mark, tag);
        check_closed(mark);
        if (expects_key()) {
            if (plain && value == "<<") complain(mark, "merge keys (<<) are not supported; write the keys out");
            stack_.back().key = value;
            stack_.back().key_mark = place(mark);
            stack_.back().has_key = true;
            return;
        }
        add(plain ? yaml_scalar(value) : Node(value), place(mark));
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                         YAML::EmitterStyle::value style) override {
        open(mark, tag, Node::list(), style == YAML::EmitterStyle::Block);
    }
    void OnSequenceEnd() override { close(); }

    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                    YAML::EmitterStyle::value style) override {
        open(mark, tag, Node::map(), style == YAML::EmitterStyle::Block);
    }

    void OnMapEnd() override {
        const Node::Map& entries = stack_.back().node.as_map();
        if (const auto twice = duplicate_key(entries)) {
            const Node::Entry& first = entries[twice->first];
            const Node::Entry& second = entries[twice->second];
            fail(Exit::bad_recipe, "{}: key \"{}\" stands twice, first at {}:{}", second.mark.text(), second.key,
                 first.mark.line, first.mark.column);
        }
        close();
    }

private:
    struct Open {
        Node node;
        Mark mark;
        bool block = false;   // on lines of its own, below its key
        std::string key;
        Mark key_mark;
        bool has_key = false;
    };

    bool expects_key() const { return !stack_.empty() && stack_.back().node.is_map() && !stack_.back().has_key; }

    char at(const YAML::Mark& mark) const {
        const std::size_t start = offset(mark);
        return start < text_.size() ? text_[start] : '\0';
    }

    // At the end of the text yaml-cpp takes an open bracket for the start of a key. Brackets in quotes are counted too:
    // this only chooses between two sentences.
    bool is_closed(const YAML::Mark& mark) const {
        int depth = 0;
        for (std::size_t i = offset(mark); i < text_.size(); ++i) {
            depth += text_[i] == '[' || text_[i] == '{';
            depth -= text_[i] == ']' || text_[i] == '}';
            if (depth == 0) return true;
        }
        return false;
    }

    // yaml-cpp lets the end of the text close a quote.
    void check_closed(const YAML::Mark& mark) const {
        const char quote = at(mark);
        if (quote == '!') complain(mark, "tags are not supported, found !; write the plain value");
        if (quote != '"' && quote != '\'') return;
        std::size_t i = offset(mark) + 1;
        while (i < text_.size() && text_[i] != quote) i += quote == '"' && text_[i] == '\\' ? 2 : 1;
        // In single quotes a doubled one stands for itself: the rest then reads like another quoted text.
        while (quote == '\'' && i + 1 < text_.size() && text_[i + 1] == quote) {
            i += 2;
            while (i < text_.size() && text_[i] != quote) ++i;
        }
        if (i >= text_.size()) complain(mark, "this quote is never closed");
    }

    void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
        if (tag != "?" && tag != "!" && !tag.empty())
            complain(mark, format("tags are not supported, found {}; write the plain value", tag));
    }

    void open(const YAML::Mark& mark, const std::string& tag, Node empty, bool block) {
        refuse_tag(mark, tag);
        if (expects_key() && !block && !is_closed(mark)) complain(mark, "this bracket is never closed");
        if (expects_key()) complain(mark, format("expected a key, found {}", empty.describe()));
        if (stack_.size() >= deepest) complain(mark, format("lists and maps are nested more than {} deep", deepest));
        stack_.push_back({std::move(empty), place(mark), block, {}, {}, false});
    }

    void close() {
        Open done = std::move(stack_.back());
        stack_.pop_back();
        add(std::move(done.node), std::move(done.mark), done.block);
    }

    // The place of a value that is left out or starts on a later line is its key's.
    void add(Node node, Mark mark, bool at_key = false) {
        if (stack_.empty()) {
            root_ = std::move(node.with_mark(std::move(mark)));
            return;
        }
        Open& parent = stack_.back();
        if (parent.node.is_list()) {
            parent.node.as_list().push_back(std::move(node.with_mark(std::move(mark))));
            return;
        }
        node.with_mark(at_key ? parent.key_mark : std::move(mark));
        parent.node.as_map().push_back({std::move(parent.key), std::move(node), std::move(parent.key_mark)});
        parent.has_key = false;
    }

    std::string_view text_;
    std::shared_ptr<const std::string> file_;
    std::vector<std::size_t> line_starts_;
    std::vector<int> characters_before_;   // of each byte
    std::vector<Open> stack_;
    Node root_;
    int documents_ = 0;
};

// yaml-cpp's sentences in ours; unknown ones stay as they are.
std::string reworded(const std::string& message) {
    const auto has = [&](std::string_view part) { return message.find(part) != std::string::npos; };
    if (has("anchor")) return "anchors and aliases are not supported; write the value out";
    if (has("illegal map value")) return "a value may not stand here; is a ':' too many, or are quotes missing?";
    if (has("end of map flow not found")) return "expected '}' or another key of the map";
    if (has("end of sequence flow not found")) return "expected ']' or another item of the list";
    if (has("end of map not found") || has("end of sequence not found"))
        return "this belongs to nothing above it; check indentation, quotes and ':'";
    if (has("EOF in scalar")) return "a quote is never closed";
    if (has("illegal block entry")) return "a list item may not start here; put it on a line of its own";
    if (has("illegal flow end")) return "found a closing bracket that was never opened";
    if (has("unknown token")) return "a value may not start with this character; put it in quotes";
    return "malformed YAML: " + message;
}

void check_characters(std::string_view text, const std::string& name) {
    require(text.size() <= largest, Exit::bad_recipe, "{}: the document is larger than {} bytes", name, largest);
    const auto refuse = [&](std::size_t offset, std::string_view sentence) {
        LineCounter counter(text);
        counter.advance(offset);
        fail(Exit::bad_recipe, "{}:{}:{}: {}", name, counter.line(), counter.column(), sentence);
    };
    if (const std::size_t invalid = first_invalid_utf8(text); invalid != text.size())
        refuse(invalid, "the text is not valid UTF-8 here");
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F)
            refuse(i, format("control character {} is not allowed", static_cast<int>(c)));
    }
}

}   // namespace

Node parse_yaml(std::string_view text, const std::string& name) {
    if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
    Builder builder(text, name);
    check_characters(text, name);
    try {
        std::istringstream stream{std::string(text)};
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
    } catch (const YAML::Exception& error) {
        builder.complain(error.mark, builder.indented_with_tab(error.mark)
                                         ? "tabs are not allowed as indentation; use spaces"
                                         : reworded(error.msg));
    }
    return builder.take();
}

Node read_yaml(const std::filesystem::path& path) {
    return parse_yaml(read_text_file(path, 2 * largest), path.string());
}

}   // namespace trainer
