#include "configs/field_types.h"

#include <algorithm>
#include <cmath>

namespace trainer {

namespace {

Node typed(std::string_view type) {
    Node schema = Node::map();
    schema.set("type", type);
    return schema;
}

// For who went beyond what a double can be exactly.
std::string all_of_int64(const Limits& limits, double found) {
    constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
    const bool bounded = limits.low > static_cast<double>(lowest);
    const bool inside = std::abs(found) < -static_cast<double>(lowest);   // 1e17: exact only in digits
    return format("an integer from {} to {}{}", bounded ? static_cast<std::int64_t>(limits.low) : lowest,
                  std::numeric_limits<std::int64_t>::max(), inside ? " in digits" : "");
}

}   // namespace

void FieldType<bool>::read(const Node& node, bool& out, const Where& where) {
    if (node.is_bool())
        out = node.as_bool();
    else
        where.expected(node, "true or false");
}

Node FieldType<bool>::schema(const Limits&) { return typed("boolean"); }

void FieldType<std::int64_t>::read(const Node& node, std::int64_t& out, const Where& where) {
    constexpr double exact = 9007199254740992.0;   // 2^53: from it on a double may stand for another integer
    const bool whole = node.is_integer() || (node.is_number() && std::floor(node.as_number()) == node.as_number() &&
                                             std::abs(node.as_number()) < exact);
    if (whole && where.limits.allows(node.as_number()))
        out = node.as_integer();
    else if (node.is_number() && std::abs(node.as_number()) >= exact && where.limits.high > exact)
        where.expected(node, all_of_int64(where.limits, node.as_number()));
    else
        where.expected(node, expects(where.limits));
}

Node FieldType<std::int64_t>::schema(const Limits& limits) {
    Node schema = typed("integer");
    limits.describe(schema);
    return schema;
}

void FieldType<int>::read(const Node& node, int& out, const Where& where) {
    std::int64_t wide = out;
    FieldType<std::int64_t>::read(node, wide, where);
    if (wide >= std::numeric_limits<int>::min() && wide <= std::numeric_limits<int>::max())
        out = static_cast<int>(wide);
    else
        where.expected(node, "an integer that fits in 32 bits");
}

void FieldType<double>::read(const Node& node, double& out, const Where& where) {
    if (node.is_number() && where.limits.allows(node.as_number()))
        out = node.as_number();
    else
        where.expected(node, expects(where.limits));
}

Node FieldType<double>::schema(const Limits& limits) {
    Node schema = typed("number");
    limits.describe(schema);
    return schema;
}

void FieldType<std::string>::read(const Node& node, std::string& out, const Where& where) {
    if (where.limits.names) {
        const std::vector<std::string> names = where.limits.names();
        const int index = fields_detail::read_name(node, names, {std::string(where.limits.later)}, where);
        if (index >= 0) out = names[static_cast<std::size_t>(index)];
    } else if (!node.is_string() || (where.limits.not_empty && node.as_string().empty())) {
        const bool scalar = node.is_number() || node.is_bool();
        where.expected(node, expects(where.limits) + (scalar ? " (in quotes)" : ""));
    } else {
        out = node.as_string();
    }
}

Node FieldType<std::string>::schema(const Limits& limits) {
    if (limits.names) return fields_detail::names_schema(limits.names());
    Node schema = typed("string");
    if (limits.not_empty) schema.set("minLength", 1);
    return schema;
}

std::string FieldType<std::string>::expects(const Limits& limits) {
    if (limits.names) return fields_detail::any_of(limits.names());
    return limits.not_empty ? "a string that is not empty" : "a string";
}

void FieldType<Node>::read(const Node& node, Node& out, const Where& where) {
    if (where.limits.only_map && !node.is_map())
        where.expected(node, "a map");
    else
        out = node;
}

Node FieldType<Node>::schema(const Limits& limits) { return limits.only_map ? typed("object") : Node::map(); }

namespace fields_detail {

std::string any_of(const std::vector<std::string>& names) {
    if (names.size() < 2) return join(names);
    return join({names.begin(), names.end() - 1}) + " or " + names.back();
}

int read_name(const Node& node, const std::vector<std::string>& names, const std::vector<std::string>& later,
              const Where& where) {
    if (!node.is_string()) {
        where.expected(node, any_of(names));
        return -1;
    }
    const std::string& text = node.as_string();
    const auto found = std::find(names.begin(), names.end(), text);
    if (found != names.end()) return static_cast<int>(found - names.begin());
    if (std::find(later.begin(), later.end(), text) != later.end()) {
        where.complain(node, format("{} is not available in this version; expected {}", text, any_of(names)));
        return -1;
    }
    const std::string near = nearest(text, names);
    where.complain(node, format("expected {}, found {}{}", any_of(names), node.describe(),
                                near.empty() ? "" : "; did you mean " + near + "?"));
    return -1;
}

Node names_schema(const std::vector<std::string>& names) {
    Node schema = typed("string");
    Node list = Node::list();
    for (const std::string& name : names) list.push_back(name);
    schema.set("enum", std::move(list));
    return schema;
}

bool check_list(const Node& node, std::size_t exact_size, const std::string& expects, const Where& where) {
    if (!node.is_list() || (exact_size > 0 && node.size() != exact_size)) {
        where.complain(node, format("expected {}, found {}{}", expects, node.describe(),
                                    node.is_list() ? format(" of {}", node.size()) : ""));
        return false;
    }
    if (where.limits.not_empty && node.size() == 0) {
        where.complain(node, "expected at least one item, found an empty list");
        return false;
    }
    return true;
}

Node list_schema(Node items, std::size_t exact_size, bool not_empty_list) {
    Node schema = typed("array");
    schema.set("items", std::move(items));
    if (exact_size > 0 || not_empty_list)
        schema.set("minItems", static_cast<std::int64_t>(std::max<std::size_t>(1, exact_size)));
    if (exact_size > 0) schema.set("maxItems", static_cast<std::int64_t>(exact_size));
    return schema;
}

}   // namespace fields_detail

}   // namespace trainer
