#pragma once

// A struct lists its fields once:
//
//     struct LoraOptions {
//         std::int64_t rank = 16;
//         template <typename Visitor>
//         void fields(Visitor& field) {
//             field("rank", rank, "rows of A, columns of B", at_least(1));
//         }
//     };
//
// Reading a Node strictly, writing the resolved Node, the JSON schema and the explanation all follow from that listing.
// Field types: bool, int, int64_t, double, std::string, enums with an EnumTable, std::optional (null), std::vector,
// std::array, nested structs with fields, Node (raw), and whatever else specialises FieldType.

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "configs/error.h"
#include "configs/node.h"

namespace trainer {

// What a value must satisfy beyond its type. Limits given to one field are combined; those of an optional, list or
// array hold for the value inside.
struct Limits {
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
    bool low_open = false;                           // low itself is not allowed
    bool high_open = false;                          // high itself is not allowed
    bool required = false;                           // the key must be present
    bool not_empty = false;                          // strings and lists
    bool only_map = false;                           // raw nodes
    std::vector<std::string> (*names)() = nullptr;   // strings: the allowed ones
    std::string_view later = {};                     // a word that a later version will know

    Limits operator&(const Limits& other) const;
    bool allows(double value) const;
    // " of at least 1", " above 0 and at most 9", " from 0 to 1", " from 0 to below 1", or "".
    std::string text() const;
    // minimum, exclusiveMinimum, maximum, exclusiveMaximum into a JSON schema.
    void describe(Node& schema) const;
};

Limits at_least(double low);
Limits above(double low);
Limits at_most(double high);
Limits below(double high);
Limits between(double low, double high);   // both allowed
Limits required();
Limits not_empty();
Limits only_map();
Limits one_of(std::vector<std::string> (*names)());
Limits later_word(std::string_view word);

// What is wrong with a document, collected in one pass.
class Complaints {
public:
    // `code` is the exit code of every complaint. Lenient readers ignore unknown keys (config.json).
    explicit Complaints(Exit code = Exit::bad_recipe, bool lenient = false) : code_(code), lenient_(lenient) {}

    void add(const Mark& mark, const std::string& sentence);   // "place: sentence"
    bool lenient() const { return lenient_; }
    std::size_t size() const { return all_.size(); }
    std::vector<Error> in_order() const;   // by place
    void raise() const;                    // throws Errors unless there are none

private:
    struct One {
        Mark mark;
        std::string sentence;
    };
    std::vector<One> all_;
    Exit code_;
    bool lenient_;
};

// Where a value is being read: for messages "recipe.yaml:4:9: peft.rank: expected …, found …".
struct Where {
    Complaints& complaints;
    std::string path;
    Limits limits = {};

    void complain(const Node& node, const std::string& sentence) const;
    void expected(const Node& node, const std::string& what) const;   // "expected {what}, found {node}"
    Where inside(std::string_view key) const;                         // path.key, with the same limits
    Where part(std::string_view key) const;                           // path.key, without limits
};

// How one type is read, written and described. `read` complains and leaves `out` alone when the node does not fit;
// `expects` completes "expected …"; `schema` has neither default nor description.
template <typename T, typename = void>
struct FieldType;

// The names of an enum, specialised next to the enum:
//     static constexpr std::pair<std::string_view, Precision> names[] = {{"f32", Precision::f32}, …};
// and, if there are names that a later version will know:
//     static constexpr std::string_view later[] = {"cuda"};
template <typename E>
struct EnumTable;

namespace fields_detail {

struct AnyVisitor {
    template <typename T, typename... L>
    void operator()(std::string_view, T&, std::string_view, const L&...) {}
    void later(std::string_view, std::string_view) {}
};

}   // namespace fields_detail

template <typename T>
concept HasFields = requires(T& value, fields_detail::AnyVisitor& visitor) {
    value.fields(visitor);
};

// A struct whose keys depend on one of them, "name": `choices()` are the values of that key, `choose` sets it together
// with the defaults that go with it, and `fields` lists "name" and then the keys of the choice.
template <typename T>
concept HasChoices = HasFields<T> && requires(T& value, const std::string& name) {
    { T::choices() } -> std::same_as<std::vector<std::string>>;
    value.choose(name);
};

// One line of `trainer list … --explain`.
struct FieldNote {
    std::string key;        // dotted
    std::string type;       // "an integer of at least 1"
    std::string standard;   // the default as YAML, "" when the key is required
    std::string help;
};

// The notes as text for people.
std::string to_text(const std::vector<FieldNote>& notes);

// Reads a map into a struct; keys left out keep the value they have in `out`. Complaints are collected, not thrown.
template <HasFields T>
void read_fields(const Node& node, T& out, Complaints& complaints, const std::string& path = "");

// ---- the four visitors ------------------------------------------------------------------------------------------

class FieldReader {
public:
    FieldReader(const Node& map, std::string path, Complaints& complaints);

    template <typename T, typename... L>
    void operator()(std::string_view key, T& member, std::string_view help, const L&... limits) {
        const Limits all = (Limits() & ... & limits);
        const Node* value = claim(key, help, all, HasFields<T>);
        if (value) {
            FieldType<T>::read(*value, member, where(key, all));
        } else if constexpr (HasFields<T>) {
            if (all.required) read_fields(no_keys(), member, complaints_, where(key, all).path);
        }
    }
    // A key of a later version: a precise complaint instead of "unknown key".
    void later(std::string_view key, std::string_view what_to_do);
    // A key that goes with another value of "name".
    void elsewhere(std::string_view key, std::string_view choice);
    void finish();   // complains about the keys nobody asked for

private:
    const Node* claim(std::string_view key, std::string_view help, const Limits& limits, bool section);
    Node no_keys() const;   // stands for a required section that is missing
    Where where(std::string_view key, const Limits& limits) const;

    const Node& map_;
    std::string path_;
    Complaints& complaints_;
    std::vector<std::string> known_;
    std::vector<std::string_view> postponed_;
    std::vector<std::pair<std::string, std::string>> elsewhere_;   // key, choice
};

class FieldWriter {
public:
    template <typename T, typename... L>
    void operator()(std::string_view key, T& member, std::string_view, const L&...) {
        node.set(key, FieldType<T>::write(member));
    }
    void later(std::string_view, std::string_view) {}

    Node node = Node::map();
};

class FieldSchema {
public:
    FieldSchema();
    template <typename T, typename... L>
    void operator()(std::string_view key, T& member, std::string_view help, const L&... limits) {
        const Limits all = (Limits() & ... & limits);
        add(key, FieldType<T>::schema(all), help, all.required ? Node() : FieldType<T>::write(member), all.required);
    }
    void later(std::string_view, std::string_view) {}

    Node node;   // {type: object, properties, required, additionalProperties: false}

private:
    void add(std::string_view key, Node schema, std::string_view help, Node standard, bool required);
};

class FieldNotes {
public:
    explicit FieldNotes(std::string prefix, std::vector<FieldNote>& notes)
        : prefix_(std::move(prefix)), notes_(notes) {}
    template <typename T, typename... L>
    void operator()(std::string_view key, T& member, std::string_view help, const L&... limits);
    void later(std::string_view, std::string_view) {}

private:
    std::string prefix_;
    std::vector<FieldNote>& notes_;
};

namespace fields_detail {

// Gathers what the choices of one section have in common.
class NotesOfChoices {
public:
    void add(const std::string& choice, const std::vector<FieldNote>& notes);
    void append_to(std::vector<FieldNote>& notes, std::size_t choices) const;

private:
    struct Shared {
        FieldNote note;
        std::vector<std::string> choices;
    };
    std::vector<Shared> all_;
};

template <typename T>
std::vector<std::string> keys_of_choice(const std::string& name) {
    T value;
    value.choose(name);
    FieldWriter writer;
    value.fields(writer);
    std::vector<std::string> keys;
    for (const Node::Entry& entry : writer.node.as_map()) keys.push_back(entry.key);
    return keys;
}

// One schema for each choice; a section without "name" is of the one called `standard`.
Node any_choice(const std::string& standard, std::vector<std::pair<std::string, Node>> schemas);

template <typename T>
Node schema_of_choices() {
    std::vector<std::pair<std::string, Node>> schemas;
    for (const std::string& name : T::choices()) {
        T value;
        value.choose(name);
        FieldSchema schema;
        value.fields(schema);
        schemas.emplace_back(name, std::move(schema.node));
    }
    FieldWriter writer;
    T standard;
    standard.fields(writer);
    return any_choice(writer.node.at("name").as_string(), std::move(schemas));
}

}   // namespace fields_detail

// ---- what the rest of the program calls -------------------------------------------------------------------------

template <HasFields T>
void read_fields(const Node& node, T& out, Complaints& complaints, const std::string& path) {
    FieldReader reader(node, path, complaints);
    out.fields(reader);
    if constexpr (HasChoices<T>)
        for (const std::string& name : T::choices())
            for (const std::string& key : fields_detail::keys_of_choice<T>(name)) reader.elsewhere(key, name);
    reader.finish();
}

// The same, throwing Errors(code) when anything is wrong.
template <HasFields T>
T read_fields(const Node& node, Exit code = Exit::bad_recipe, bool lenient = false) {
    Complaints complaints(code, lenient);
    T out;
    if (node.is_map())
        read_fields(node, out, complaints);
    else
        complaints.add(node.mark(), "expected a map, found " + node.describe());
    complaints.raise();
    return out;
}

// Every field with its value.
template <HasFields T>
Node write_fields(T value) {
    FieldWriter writer;
    value.fields(writer);
    return std::move(writer.node);
}

template <HasFields T>
Node schema_of() {
    if constexpr (HasChoices<T>) return fields_detail::schema_of_choices<T>();
    T value;
    FieldSchema schema;
    value.fields(schema);
    return std::move(schema.node);
}

template <HasFields T>
void explain_fields(std::vector<FieldNote>& notes, const std::string& prefix = "") {
    T value;
    FieldNotes visitor(prefix, notes);
    value.fields(visitor);
}

// The keys of one choice.
template <HasChoices T>
std::vector<FieldNote> explain_choice(const std::string& name, const std::string& prefix = "") {
    T value;
    value.choose(name);
    std::vector<FieldNote> notes;
    FieldNotes visitor(prefix, notes);
    value.fields(visitor);
    return notes;
}

// The keys of all choices: one that is the same for several is listed once, with their names unless it is for all.
template <HasChoices T>
void explain_choices(std::vector<FieldNote>& notes, const std::string& prefix) {
    fields_detail::NotesOfChoices all;
    for (const std::string& name : T::choices()) all.add(name, explain_choice<T>(name, prefix));
    all.append_to(notes, T::choices().size());
}

}   // namespace trainer

#include "configs/field_types.h"
