#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace trainer {

// A place in a document. Lines and columns count from 1; 0 means unknown. `file` is shared by all nodes of a document.
struct Mark {
    std::shared_ptr<const std::string> file;
    int line = 0;
    int column = 0;

    // "recipe.yaml:3:7", "recipe.yaml", or "" when nothing is known.
    std::string text() const;
};

// One value of a document (YAML, JSON, GGUF metadata, a command line override): null, boolean, integer, number,
// string, list or map. Maps keep the order of the document and hold each key once. Values are plain data: copying
// copies.
class Node {
public:
    enum class Kind { null, boolean, integer, number, string, list, map };
    using List = std::vector<Node>;
    struct Entry;   // one key of a map
    using Map = std::vector<Entry>;

    Node() = default;
    Node(std::nullptr_t) {}
    Node(bool value) : value_(value) {}
    Node(int value) : value_(static_cast<std::int64_t>(value)) {}
    Node(std::int64_t value) : value_(value) {}
    Node(double value) : value_(value) {}
    Node(std::string value) : value_(std::move(value)) {}
    Node(std::string_view value) : value_(std::string(value)) {}
    Node(const char* value) : value_(std::string(value)) {}
    Node(List value);
    Node(Map value);
    static Node list() { return Node(List{}); }
    static Node map();

    Kind kind() const { return static_cast<Kind>(value_.index()); }
    bool is_null() const { return kind() == Kind::null; }
    bool is_bool() const { return kind() == Kind::boolean; }
    bool is_integer() const { return kind() == Kind::integer; }
    bool is_number() const { return kind() == Kind::number || kind() == Kind::integer; }   // integers are numbers too
    bool is_string() const { return kind() == Kind::string; }
    bool is_list() const { return kind() == Kind::list; }
    bool is_map() const { return kind() == Kind::map; }

    // The value, or an Error (code, default bad_data) naming the place, what was expected and what was found.
    bool as_bool() const;
    std::int64_t as_integer() const;   // a number without fraction counts
    double as_number() const;
    const std::string& as_string() const;
    const List& as_list() const;
    const Map& as_map() const;
    List& as_list();
    Map& as_map();

    // Map access. find: null pointer when the key is absent or this is no map. at: an Error when absent.
    const Node* find(std::string_view key) const;
    Node* find(std::string_view key);
    const Node* find_value(std::string_view key) const;   // as find; a null pointer for null too
    const Node& at(std::string_view key) const;
    bool contains(std::string_view key) const { return find(key) != nullptr; }
    // Sets or replaces a key of a map (null becomes a map), keeping the position of an existing key.
    Node& set(std::string_view key, Node value);
    void erase(std::string_view key);
    void push_back(Node value);   // null becomes a list
    std::size_t size() const;     // of a list or map, else 0

    // "a map", "the string \"abc\"", "the number 3", … for messages
    std::string describe() const;
    static std::string_view kind_name(Kind kind);   // "a map", "a string", …

    const Mark& mark() const { return mark_; }
    Node& with_mark(Mark mark) {
        mark_ = std::move(mark);
        return *this;
    }

    // Same kind and value; marks do not count, order of map keys does not count.
    friend bool operator==(const Node& a, const Node& b);

private:
    [[noreturn]] void mismatch(std::string_view expected) const;

    std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Map> value_;
    Mark mark_;
};

struct Node::Entry {
    std::string key;
    Node value;
    Mark mark;   // where the key stands

    friend bool operator==(const Entry& a, const Entry& b) { return a.key == b.key && a.value == b.value; }
};

// Two entries with the same key as indices (first, second), or nothing. For readers, which build maps entry by entry.
std::optional<std::pair<std::size_t, std::size_t>> duplicate_key(const Node::Map& entries);

}   // namespace trainer
