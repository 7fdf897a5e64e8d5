#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "configs/fields.h"

namespace trainer {

// Which linear layers a method adapts: a list of names, or one string that is `all-linear` or a regular expression.
struct TargetOption {
    std::vector<std::string> names;       // when not empty, `pattern` is not used
    std::string pattern = "all-linear";   // or a regular expression that must match the whole path of a module

    bool is_nothing() const { return names.empty() && pattern.empty(); }
};

template <>
struct FieldType<TargetOption> {
    static void read(const Node& node, TargetOption& out, const Where& where) {
        Where strict{where.complaints, where.path, not_empty()};
        if (node.is_list() && node.size() == 0 && !where.limits.not_empty) {
            out = {{}, ""};
        } else if (node.is_list()) {
            FieldType<std::vector<std::string>>::read(node, out.names, strict);
        } else if (node.is_string() && !node.as_string().empty()) {
            out = {{}, node.as_string()};
        } else {
            where.expected(node, expects({}));
        }
    }
    static Node write(const TargetOption& value) {
        const bool pattern = value.names.empty() && !value.is_nothing();
        return pattern ? Node(value.pattern) : FieldType<std::vector<std::string>>::write(value.names);
    }
    static Node schema(const Limits& limits) {
        const Node name = FieldType<std::string>::schema(not_empty());
        Node either = Node::map();
        either.set("anyOf", Node::List{name, fields_detail::list_schema(name, 0, limits.not_empty)});
        return either;
    }
    static std::string expects(const Limits&) { return "all-linear, a list of module names, or a regular expression"; }
};

// Whole numbers or reals by regular expression. Held in the order of the keys, in which adapter_config.json keeps them.
template <typename Number>
struct PatternMap {
    std::vector<std::pair<std::string, Number>> entries;
};

template <typename Number>
struct FieldType<PatternMap<Number>> {
    static void read(const Node& node, PatternMap<Number>& out, const Where& where) {
        if (!node.is_map()) return where.expected(node, expects({}));
        PatternMap<Number> read;
        for (const Node::Entry& entry : node.as_map()) {
            Number number{};
            FieldType<Number>::read(entry.value, number, where.inside(entry.key));
            read.entries.emplace_back(entry.key, number);
        }
        std::sort(read.entries.begin(), read.entries.end());
        out = std::move(read);
    }
    static Node write(const PatternMap<Number>& value) {
        Node map = Node::map();
        for (const auto& [pattern, number] : value.entries) map.set(pattern, FieldType<Number>::write(number));
        return map;
    }
    static Node schema(const Limits& limits) {
        Node map = Node::map();
        map.set("type", "object");
        map.set("additionalProperties", FieldType<Number>::schema(limits));
        return map;
    }
    static std::string expects(const Limits&) { return "a map of regular expressions to numbers"; }
};

// Tokens whose rows of an embedding are trained: ids of the input embedding, or ids by the name of a module.
struct TokenIndices {
    using Ids = std::vector<std::int64_t>;
    Ids ids;   // not used when there is something in `by_module`
    std::vector<std::pair<std::string, Ids>> by_module;

    bool empty() const { return ids.empty() && by_module.empty(); }
};

template <>
struct FieldType<TokenIndices> {
    static void read(const Node& node, TokenIndices& out, const Where& where) {
        if (!node.is_map()) return read_ids(node, out.ids, where);
        for (const Node::Entry& entry : node.as_map()) {
            out.by_module.emplace_back(entry.key, TokenIndices::Ids());
            read_ids(entry.value, out.by_module.back().second,
                     {where.complaints, where.path + "." + entry.key, not_empty()});
        }
    }
    static Node write(const TokenIndices& value) {
        if (value.by_module.empty()) return FieldType<TokenIndices::Ids>::write(value.ids);
        Node map = Node::map();
        for (const auto& [module, ids] : value.by_module) map.set(module, FieldType<TokenIndices::Ids>::write(ids));
        return map;
    }
    static Node schema(const Limits&) {
        const Node list = FieldType<TokenIndices::Ids>::schema(at_least(0));
        Node map = Node::map(), either = Node::map();
        map.set("type", "object");
        map.set("additionalProperties", list);
        either.set("anyOf", Node::List{list, map});
        return either;
    }
    static std::string expects(const Limits&) { return "a list of token ids, or a map of module names to such lists"; }

private:
    static void read_ids(const Node& node, TokenIndices::Ids& ids, const Where& where) {
        if (!node.is_list()) return where.expected(node, expects({}));
        FieldType<TokenIndices::Ids>::read(node, ids, {where.complaints, where.path, where.limits & at_least(0)});
        TokenIndices::Ids sorted = ids;
        std::sort(sorted.begin(), sorted.end());
        if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
            where.complain(node, format("token {} is named twice", *twice));
    }
};

// Saved adapters that act, frozen, while another is trained: folders by name.
struct AdaptersBeside {
    std::vector<std::pair<std::string, std::string>> folders;
};

template <>
struct FieldType<AdaptersBeside> {
    static void read(const Node& node, AdaptersBeside& out, const Where& where) {
        if (!node.is_map()) return where.expected(node, expects({}));
        for (const Node::Entry& entry : node.as_map()) {
            out.folders.emplace_back(entry.key, "");
            FieldType<std::string>::read(entry.value, out.folders.back().second,
                                         {where.complaints, where.path + "." + entry.key, not_empty()});
        }
    }
    static Node write(const AdaptersBeside& value) {
        Node map = Node::map();
        for (const auto& [name, folder] : value.folders) map.set(name, folder);
        return map;
    }
    static Node schema(const Limits&) {
        Node map = Node::map();
        map.set("type", "object");
        map.set("additionalProperties", FieldType<std::string>::schema(not_empty()));
        return map;
    }
    static std::string expects(const Limits&) { return "a map of names to folders of saved adapters"; }
};

enum class TrainedBias { none, all, lora_only };
enum class LowRankInit { standard, gaussian, pissa, olora };

template <>
struct EnumTable<TrainedBias> {
    static constexpr std::pair<std::string_view, TrainedBias> names[] = {
        {"none", TrainedBias::none}, {"all", TrainedBias::all}, {"lora_only", TrainedBias::lora_only}};
};

template <>
struct EnumTable<LowRankInit> {
    static constexpr std::pair<std::string_view, LowRankInit> names[] = {{"default", LowRankInit::standard},
                                                                         {"gaussian", LowRankInit::gaussian},
                                                                         {"pissa", LowRankInit::pissa},
                                                                         {"olora", LowRankInit::olora}};
};

// The options of all methods; which of them a method reads stands in peft/registry.cpp.
struct AdapterOptions {
    std::int64_t rank = 16;
    double alpha = 32;
    double dropout = 0.0;
    TargetOption targets;
    std::optional<TargetOption> exclude;
    std::vector<std::int64_t> layers_to_transform;
    std::vector<std::string> layers_pattern;
    PatternMap<std::int64_t> rank_pattern;
    PatternMap<double> alpha_pattern;
    TrainedBias bias = TrainedBias::none;
    std::vector<std::string> target_parameters;
    std::vector<std::string> modules_to_save;
    TokenIndices trainable_token_indices;
    LowRankInit init = LowRankInit::standard;
    bool rslora = false;
    bool dora = false;
    double loraplus_lr_ratio = 1;
    double d_initial = 0.1;
    bool decompose_both = false;
    std::int64_t decompose_factor = -1;
    std::int64_t oft_block_size = 32;
    std::vector<std::string> feedforward = {"down_proj"};
    std::optional<std::string> continue_from;
    bool other_base = false;
    std::string name = "default";
    AdaptersBeside beside;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("rank", rank, "rows of A and columns of B", between(1, 65536));
        field("alpha", alpha, "the update is scaled by alpha / rank, with rslora by alpha / sqrt(rank)", above(0));
        field("dropout", dropout, "share of the layer's input that is dropped in front of A", at_least(0), below(1));
        field("targets", targets,
              "the layers to adapt: all-linear, names such as [q_proj, v_proj, embed_tokens], or a regex");
        field("exclude", exclude, "of those, the ones left as they are: names or a regex");
        field("layers_to_transform", layers_to_transform, "only in these layers, counted from 0; empty: in all",
              at_least(0));
        field("layers_pattern", layers_pattern, "names of the list of layers, when the model has several such lists");
        field("rank_pattern", rank_pattern,
              "other ranks by regex of the end of a module's path; the first match counts", between(1, 65536));
        field("alpha_pattern", alpha_pattern, "other alphas in the same way", above(0));
        field("bias", bias, "biases that are trained too: none, all of the model, or those of adapted layers");
        field("target_parameters", target_parameters,
              "matrices to adapt by the end of their own names, beside targets if these are given: "
              "[down_proj.weight]");
        field("modules_to_save", modules_to_save,
              "modules trained whole beside the adapter, by the end of their path: [embed_tokens, lm_head]");
        field("trainable_token_indices", trainable_token_indices,
              "ids of tokens whose rows of the input embedding are trained too; or {embed_tokens: ids, lm_head: ids}");
        field("init", init,
              "where A and B begin: default (A uniform, B zero), gaussian (A normal, B zero), pissa (the largest "
              "singular vectors of the weight) or olora (its QR decomposition)");
        field("rslora", rslora, "scale by alpha / sqrt(rank), so that high ranks do not learn more slowly");
        field("dora", dora, "train the length of each row of the weight apart from its direction");
        field("loraplus_lr_ratio", loraplus_lr_ratio, "LoRA+: B's learning rate as a multiple of A's", above(0));
        field("d_initial", d_initial, "vera: first value of the trained factors between both random matrices");
        field("decompose_both", decompose_both, "lokr: the smaller matrix of the product is of low rank too");
        field("decompose_factor", decompose_factor,
              "lokr: the smaller part of each side of a weight, where it divides it; -1: near the square root",
              at_least(-1));
        field("oft_block_size", oft_block_size,
              "oft: inputs that are turned together; where it does not divide a layer's inputs, the nearest divisor",
              between(2, 65536));
        field("feedforward", feedforward, "ia3: targets whose input is scaled instead of their output");
        field("continue_from", continue_from,
              "a saved adapter to go on with: its configuration counts, keys that contradict it are refused",
              not_empty());
        field("other_base", other_base,
              "use saved adapters although they were made for other weights than this base's");
        field("name", name, "of the adapter; another than default is saved in a folder of that name below the output",
              not_empty());
        field("beside", beside, "saved adapters that act, frozen, beside the one that is trained: {name: folder}");
    }
};

}   // namespace trainer
