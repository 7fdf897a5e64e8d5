#pragma once

// How the field types of configs/fields.h are read, written and described. Included by it; include that one.

#include "configs/fields.h"

namespace trainer {

template <>
struct FieldType<bool> {
    static void read(const Node& node, bool& out, const Where& where);
    static Node write(bool value) { return Node(value); }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits&) { return "true or false"; }
};

template <>
struct FieldType<std::int64_t> {
    static void read(const Node& node, std::int64_t& out, const Where& where);
    static Node write(std::int64_t value) { return Node(value); }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits& limits) { return "an integer" + limits.text(); }
};

template <>
struct FieldType<int> {
    static void read(const Node& node, int& out, const Where& where);
    static Node write(int value) { return Node(value); }
    static Node schema(const Limits& limits) { return FieldType<std::int64_t>::schema(limits); }
    static std::string expects(const Limits& limits) { return FieldType<std::int64_t>::expects(limits); }
};

template <>
struct FieldType<double> {
    static void read(const Node& node, double& out, const Where& where);
    static Node write(double value) { return Node(value); }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits& limits) { return "a number" + limits.text(); }
};

template <>
struct FieldType<std::string> {
    static void read(const Node& node, std::string& out, const Where& where);
    static Node write(const std::string& value) { return Node(value); }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits& limits);
};

template <>
struct FieldType<Node> {
    static void read(const Node& node, Node& out, const Where& where);
    static Node write(const Node& value) { return value; }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits& limits) { return limits.only_map ? "a map" : "a value"; }
};

namespace fields_detail {

// Index of the name in `names`, or -1 after a complaint.
int read_name(const Node& node, const std::vector<std::string>& names, const std::vector<std::string>& later,
              const Where& where);
Node names_schema(const std::vector<std::string>& names);
std::string any_of(const std::vector<std::string>& names);   // "a, b or c"

}   // namespace fields_detail

template <typename E>
struct FieldType<E, std::enable_if_t<std::is_enum_v<E>>> {
    static std::vector<std::string> names() {
        std::vector<std::string> all;
        for (const auto& entry : EnumTable<E>::names) all.emplace_back(entry.first);
        return all;
    }
    static std::vector<std::string> later() {
        if constexpr (requires { EnumTable<E>::later; })
            return {std::begin(EnumTable<E>::later), std::end(EnumTable<E>::later)};
        else
            return {};
    }
    static void read(const Node& node, E& out, const Where& where) {
        const int index = fields_detail::read_name(node, names(), later(), where);
        if (index >= 0) out = EnumTable<E>::names[index].second;
    }
    static std::string_view name(E value) {
        for (const auto& entry : EnumTable<E>::names)
            if (entry.second == value) return entry.first;
        fail(Exit::internal, "an enum value has no name");
    }
    static Node write(E value) { return Node(name(value)); }
    static Node schema(const Limits&) { return fields_detail::names_schema(names()); }
    static std::string expects(const Limits&) { return fields_detail::any_of(names()); }
};

// The name of an enum value as recipes spell it.
template <typename E>
std::string_view enum_name(E value) {
    return FieldType<E>::name(value);
}

template <typename T>
struct FieldType<std::optional<T>> {
    static void read(const Node& node, std::optional<T>& out, const Where& where) {
        if (node.is_null()) {
            out.reset();
            return;
        }
        T value{};
        const std::size_t before = where.complaints.size();
        FieldType<T>::read(node, value, where);
        if (where.complaints.size() == before) out = std::move(value);
    }
    static Node write(const std::optional<T>& value) { return value ? FieldType<T>::write(*value) : Node(); }
    static Node schema(const Limits& limits) {
        Node either = Node::map();
        either.set("anyOf", Node::List{FieldType<T>::schema(limits), Node::Map{{"type", Node("null"), {}}}});
        return either;
    }
    static std::string expects(const Limits& limits) { return FieldType<T>::expects(limits) + ", or null"; }
};

namespace fields_detail {

bool check_list(const Node& node, std::size_t exact_size, const std::string& expects, const Where& where);
Node list_schema(Node items, std::size_t exact_size, bool not_empty);

}   // namespace fields_detail

template <typename T>
struct FieldType<std::vector<T>> {
    static void read(const Node& node, std::vector<T>& out, const Where& where) {
        if (!fields_detail::check_list(node, 0, expects(where.limits), where)) return;
        std::vector<T> items(node.size());
        for (std::size_t i = 0; i < items.size(); ++i)
            FieldType<T>::read(node.as_list()[i], items[i], where.inside(std::to_string(i)));
        out = std::move(items);
    }
    static Node write(const std::vector<T>& items) {
        Node list = Node::list();
        for (const T& item : items) list.push_back(FieldType<T>::write(item));
        return list;
    }
    static Node schema(const Limits& limits) {
        return fields_detail::list_schema(FieldType<T>::schema(limits), 0, limits.not_empty);
    }
    static std::string expects(const Limits& limits) { return "a list, each item " + FieldType<T>::expects(limits); }
};

template <typename T, std::size_t size>
struct FieldType<std::array<T, size>> {
    static void read(const Node& node, std::array<T, size>& out, const Where& where) {
        if (!fields_detail::check_list(node, size, expects(where.limits), where)) return;
        for (std::size_t i = 0; i < size; ++i)
            FieldType<T>::read(node.as_list()[i], out[i], where.inside(std::to_string(i)));
    }
    static Node write(const std::array<T, size>& items) {
        Node list = Node::list();
        for (const T& item : items) list.push_back(FieldType<T>::write(item));
        return list;
    }
    static Node schema(const Limits& limits) {
        return fields_detail::list_schema(FieldType<T>::schema(limits), size, false);
    }
    static std::string expects(const Limits& limits) {
        return format("a list of {}, each {}", size, FieldType<T>::expects(limits));
    }
};

template <typename T>
struct FieldType<T, std::enable_if_t<HasFields<T>>> {
    // Null is a map without keys: a section whose lines are all comments.
    static void read(const Node& node, T& out, const Where& where) {
        if (node.is_map() || node.is_null())
            read_fields(node, out, where.complaints, where.path);
        else
            where.expected(node, "a map");
    }
    static Node write(const T& value) { return write_fields(value); }
    static Node schema(const Limits&) { return schema_of<T>(); }
    static std::string expects(const Limits&) { return "a map"; }
};

namespace fields_detail {

FieldNote note(std::string key, std::string type, const Node& standard, bool required, std::string_view help);

template <typename T>
struct Inside {
    using Type = T;
};
template <typename T>
struct Inside<std::optional<T>> {
    using Type = T;
};

}   // namespace fields_detail

template <typename T, typename... L>
void FieldNotes::operator()(std::string_view key, T& member, std::string_view help, const L&... limits) {
    using Inner = typename fields_detail::Inside<T>::Type;
    const Limits all = (Limits() & ... & limits);
    const std::string path = prefix_ + std::string(key);
    if constexpr (!HasFields<T>)
        notes_.push_back(
            fields_detail::note(path, FieldType<T>::expects(all), FieldType<T>::write(member), all.required, help));
    if constexpr (HasChoices<Inner>) {
        explain_choices<Inner>(notes_, path + ".");
    } else if constexpr (HasFields<Inner>) {
        explain_fields<Inner>(notes_, path + ".");
    } else if constexpr (requires { FieldType<Inner>::explain(notes_, path); }) {
        FieldType<Inner>::explain(notes_, path);   // a type with keys of its own
    }
}

}   // namespace trainer
