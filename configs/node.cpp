#include "configs/node.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "configs/error.h"

namespace trainer {

std::string Mark::text() const {
    if (!file) return "";
    if (line == 0) return *file;
    return format("{}:{}:{}", *file, line, column);
}

Node::Node(List value) : value_(std::move(value)) {}
Node::Node(Map value) : value_(std::move(value)) {}
Node Node::map() { return Node(Map{}); }

void Node::mismatch(std::string_view expected) const {
    const std::string where = mark_.text();
    fail(Exit::bad_data, "{}expected {}, found {}", where.empty() ? "" : where + ": ", expected, describe());
}

bool Node::as_bool() const {
    if (const auto* value = std::get_if<bool>(&value_)) return *value;
    mismatch("true or false");
}

std::int64_t Node::as_integer() const {
    if (const auto* value = std::get_if<std::int64_t>(&value_)) return *value;
    if (const auto* value = std::get_if<double>(&value_))
        if (*value == std::floor(*value) && std::abs(*value) < 9007199254740992.0)
            return static_cast<std::int64_t>(*value);
    mismatch("an integer");
}

double Node::as_number() const {
    if (const auto* value = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*value);
    if (const auto* value = std::get_if<double>(&value_)) return *value;
    mismatch("a number");
}

const std::string& Node::as_string() const {
    if (const auto* value = std::get_if<std::string>(&value_)) return *value;
    mismatch("a string");
}

const Node::List& Node::as_list() const {
    if (const auto* value = std::get_if<List>(&value_)) return *value;
    mismatch("a list");
}

const Node::Map& Node::as_map() const {
    if (const auto* value = std::get_if<Map>(&value_)) return *value;
    mismatch("a map");
}

Node::List& Node::as_list() { return const_cast<List&>(std::as_const(*this).as_list()); }
Node::Map& Node::as_map() { return const_cast<Map&>(std::as_const(*this).as_map()); }

const Node* Node::find(std::string_view key) const {
    const auto* entries = std::get_if<Map>(&value_);
    if (!entries) return nullptr;
    for (const Entry& entry : *entries)
        if (entry.key == key) return &entry.value;
    return nullptr;
}

const Node* Node::find_value(std::string_view key) const {
    const Node* value = find(key);
    return value && !value->is_null() ? value : nullptr;
}

Node* Node::find(std::string_view key) { return const_cast<Node*>(std::as_const(*this).find(key)); }

const Node& Node::at(std::string_view key) const {
    if (const Node* value = find(key)) return *value;
    const std::string where = mark_.text();
    if (!is_map()) mismatch("a map");
    fail(Exit::bad_data, "{}key \"{}\" is missing", where.empty() ? "" : where + ": ", key);
}

Node& Node::set(std::string_view key, Node value) {
    if (is_null()) value_ = Map{};
    if (Node* present = find(key)) return *present = std::move(value);
    Map& entries = as_map();
    Mark mark = value.mark_;
    entries.push_back({std::string(key), std::move(value), std::move(mark)});
    return entries.back().value;
}

void Node::erase(std::string_view key) {
    Map& entries = as_map();
    for (std::size_t i = 0; i < entries.size(); ++i)
        if (entries[i].key == key) {
            entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(i));
            return;
        }
}

void Node::push_back(Node value) {
    if (is_null()) value_ = List{};
    as_list().push_back(std::move(value));
}

std::size_t Node::size() const {
    if (const auto* items = std::get_if<List>(&value_)) return items->size();
    if (const auto* entries = std::get_if<Map>(&value_)) return entries->size();
    return 0;
}

std::string_view Node::kind_name(Kind kind) {
    switch (kind) {
        case Kind::null:
            return "nothing (null)";
        case Kind::boolean:
            return "true or false";
        case Kind::integer:
            return "an integer";
        case Kind::number:
            return "a number";
        case Kind::string:
            return "a string";
        case Kind::list:
            return "a list";
        case Kind::map:
            return "a map";
    }
    return "";
}

std::string Node::describe() const {
    switch (kind()) {
        case Kind::boolean:
            return as_bool() ? "true" : "false";
        case Kind::integer:
            return format("the integer {}", as_integer());
        case Kind::number:
            return format("the number {}", as_number());
        case Kind::string: {
            const std::string& text = as_string();
            if (text.size() <= 60) return format("the string \"{}\"", text);
            std::size_t cut = 57;   // never inside a code point
            while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
            return format("the string \"{}...\"", text.substr(0, cut));
        }
        default:
            return std::string(kind_name(kind()));
    }
}

bool operator==(const Node& a, const Node& b) {
    if (a.kind() != b.kind()) return false;
    if (!a.is_map()) {
        if (a.is_list()) return a.as_list() == b.as_list();
        return a.value_ == b.value_;
    }
    if (a.size() != b.size()) return false;
    for (const Node::Entry& entry : a.as_map()) {
        const Node* other = b.find(entry.key);
        if (!other || !(entry.value == *other)) return false;
    }
    return true;
}

std::optional<std::pair<std::size_t, std::size_t>> duplicate_key(const Node::Map& entries) {
    std::vector<std::pair<std::size_t, std::size_t>> hashes;   // hash, index
    hashes.reserve(entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) hashes.emplace_back(std::hash<std::string>()(entries[i].key), i);
    std::sort(hashes.begin(), hashes.end());
    for (std::size_t i = 0; i < hashes.size(); ++i)
        for (std::size_t j = i + 1; j < hashes.size() && hashes[j].first == hashes[i].first; ++j)
            if (entries[hashes[i].second].key == entries[hashes[j].second].key)
                return std::pair(hashes[i].second, hashes[j].second);
    return std::nullopt;
}

}   // namespace trainer
