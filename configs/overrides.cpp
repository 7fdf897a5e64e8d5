#include "configs/overrides.h"

#include <charconv>

#include "configs/yaml.h"

namespace trainer {

namespace {

void mark_all(Node& node, const Mark& mark) {
    node.with_mark(mark);
    if (node.is_list())
        for (Node& item : node.as_list()) mark_all(item, mark);
    if (node.is_map())
        for (Node::Entry& entry : node.as_map()) {
            entry.mark = mark;
            mark_all(entry.value, mark);
        }
}

std::vector<std::string> split_path(std::string_view path, const std::string& place) {
    std::vector<std::string> keys;
    while (true) {
        const std::size_t dot = path.find('.');
        const std::string_view key = path.substr(0, dot);
        require(!key.empty(), Exit::usage, "{}: expected keys joined by dots in front of '='", place);
        keys.emplace_back(key);
        if (dot == std::string_view::npos) return keys;
        path.remove_prefix(dot + 1);
    }
}

// The child of `parent` that `key` names, made when it is missing.
Node& child(Node& parent, const std::string& key, const std::string& parent_path, const Mark& mark) {
    if (parent.is_list()) {
        std::size_t index = 0;
        const char* end = key.data() + key.size();
        const auto read = std::from_chars(key.data(), end, index);
        const std::size_t size = parent.size();
        require(read.ec == std::errc() && read.ptr == end && index <= size, Exit::usage,
                "{}: {} is a list of {}; expected an index from 0 to {}, found {}", mark.text(), parent_path, size,
                size, key);
        if (index == size) parent.push_back(std::move(Node().with_mark(mark)));
        return parent.as_list()[index];
    }
    if (parent.is_null()) parent = std::move(Node::map().with_mark(mark));
    require(parent.is_map(), Exit::usage, "{}: {} is {}, it has no key {}", mark.text(),
            parent_path.empty() ? "the document" : parent_path, parent.describe(), key);
    if (Node* present = parent.find(key)) return *present;
    return parent.set(key, std::move(Node().with_mark(mark)));
}

Node value_of(std::string_view text, const Mark& mark) {
    try {
        Node value = parse_yaml(text, mark.text());
        mark_all(value, mark);
        return value;
    } catch (const Error& error) {
        throw Error(Exit::usage, error.what());
    }
}

void apply(Node& document, const std::string& word) {
    const Mark mark{std::make_shared<const std::string>("command line: " + word), 0, 0};
    const std::size_t equals = word.find('=');
    require(equals != std::string::npos, Exit::usage, "{}: expected key=value", mark.text());
    const std::vector<std::string> keys = split_path(std::string_view(word).substr(0, equals), mark.text());
    Node value = value_of(std::string_view(word).substr(equals + 1), mark);
    Node* node = &document;
    std::string path;
    for (const std::string& key : keys) {
        node = &child(*node, key, path, mark);
        path += (path.empty() ? "" : ".") + key;
    }
    *node = std::move(value);
}

}   // namespace

std::vector<Error> apply_overrides(Node& document, const std::vector<std::string>& words) {
    std::vector<Error> errors;
    for (const std::string& word : words) {
        Node changed = document;   // a word that fails half-way leaves nothing behind
        try {
            apply(changed, word);
            document = std::move(changed);
        } catch (const Error& error) {
            errors.push_back(error);
        }
    }
    return errors;
}

}   // namespace trainer
