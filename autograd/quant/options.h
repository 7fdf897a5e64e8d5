#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/fields.h"

namespace trainer {

// How the frozen weights of the base are held: a word (none, stored, or the name of a format in
// autograd/quant/registry.cpp), or a map of these fields.
struct QuantizeOptions {
    static constexpr const char* none = "none";
    static constexpr const char* stored = "stored";   // as the base's files have it

    std::string format = none;
    std::optional<std::int64_t> block_size;   // null: that of the format
    bool double_quant = true;
    std::vector<std::string> skip;
    std::string embeddings = none;

    // Whether the file decides, or nothing is compressed: then there is nothing to choose but the word.
    bool is_word() const { return format == none || format == stored; }
    bool has_blocks() const;         // whether block_size counts
    bool has_double_quant() const;   // whether double_quant does

    template <typename Visitor>
    void fields(Visitor& field) {
        field("format", format, "nf4, fp4, int8 or fp8", required(), one_of(quantisation_formats));
        field("block_size", block_size,
              "weights that share a scale (4 bits, 64 when null), or the side of their square (fp8, 128)");
        field("double_quant", double_quant, "the scales are held in 8 bits (4 bits)");
        field("skip", skip, "linear layers that are not compressed, by name or end of the name");
        field("embeddings", embeddings, "format of the embedding and the output layer, such as int8; or none",
              one_of(embedding_formats));
    }

    static std::vector<std::string> quantisation_formats();
    static std::vector<std::string> embedding_formats();
};

// What block_size may be: the sizes that bitsandbytes knows.
const std::vector<std::int64_t>& quantisation_block_sizes();

template <>
struct FieldType<QuantizeOptions> {
    static void read(const Node& node, QuantizeOptions& out, const Where& where);
    static Node write(const QuantizeOptions& value);
    static Node schema(const Limits& limits);
    static std::string expects(const Limits& limits);
};

}   // namespace trainer
