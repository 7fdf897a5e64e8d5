#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/fields.h"

namespace trainer {

// Which linear layers a method adapts: a list of names, or one string that is `all-linear` or a regular expression.
struct TargetOption {
    std::vector<std::string> names;       // when not empty, `pattern` is not used
    std::string pattern = "all-linear";   // or a regular expression that must match the whole path of a module
};

template <>
struct FieldType<TargetOption> {
    static void read(const Node& node, TargetOption& out, const Where& where) {
        Where strict{where.complaints, where.path, not_empty()};
        if (node.is_list()) {
            FieldType<std::vector<std::string>>::read(node, out.names, strict);
        } else if (node.is_string() && !node.as_string().empty()) {
            out = {{}, node.as_string()};
        } else {
            where.expected(node, expects({}));
        }
    }
    static Node write(const TargetOption& value) {
        return value.names.empty() ? Node(value.pattern) : FieldType<std::vector<std::string>>::write(value.names);
    }
    static Node schema(const Limits&) {
        Node either = Node::map();
        either.set("anyOf", Node::List{FieldType<std::string>::schema(not_empty()),
                                       FieldType<std::vector<std::string>>::schema(not_empty())});
        return either;
    }
    static std::string expects(const Limits&) { return "all-linear, a list of module names, or a regular expression"; }
};

struct LoraOptions {
    std::int64_t rank = 16;
    double alpha = 32;
    double dropout = 0.0;
    TargetOption targets;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("rank", rank, "rows of A and columns of B", between(1, 65536));
        field("alpha", alpha, "the update is scaled by alpha / rank", above(0));
        field("dropout", dropout, "share of the layer's input that is dropped in front of A", at_least(0), below(1));
        field("targets", targets, "the layers to adapt: all-linear, names such as [q_proj, v_proj], or a regex");
    }
};

}   // namespace trainer
