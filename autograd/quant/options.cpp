#include "autograd/quant/options.h"

#include <algorithm>

#include "autograd/quant/registry.h"
#include "configs/fields.h"

namespace trainer {

namespace {

std::vector<std::string> words() {
    std::vector<std::string> all = QuantizeOptions::quantisation_formats();
    all.insert(all.begin(), {QuantizeOptions::none, QuantizeOptions::stored});
    return all;
}

// Whether the linear layers or the embeddings have a format of which this holds.
template <typename Holds>
bool any_format(const QuantizeOptions& options, Holds holds) {
    for (const std::string& name : {options.format, options.embeddings})
        if (const QuantisedFormat* found = quantisations().find(name); found && holds(*found)) return true;
    return false;
}

void check_section(const Node& node, const QuantizeOptions& options, const Where& where) {
    const auto refuse_without = [&](const char* key, bool counts) {
        if (const Node* value = node.find(key); value && !counts)
            Where{where.complaints, where.path + "." + key}.complain(
                *value, options.format + " has no such choice; leave the key out");
    };
    refuse_without("block_size", options.has_blocks());
    refuse_without("double_quant", options.has_double_quant());
    const std::vector<std::int64_t>& sizes = quantisation_block_sizes();
    if (const Node* value = node.find("block_size");
        value && options.block_size && std::find(sizes.begin(), sizes.end(), *options.block_size) == sizes.end())
        Where{where.complaints, where.path + ".block_size"}.complain(
            *value, format("expected a power of two from 32 to 4096, found {}", *options.block_size));
}

}   // namespace

std::vector<std::string> QuantizeOptions::quantisation_formats() { return quantisations().names(); }

const std::vector<std::int64_t>& quantisation_block_sizes() {
    static const std::vector<std::int64_t> sizes = {32, 64, 128, 256, 512, 1024, 2048, 4096};
    return sizes;
}

std::vector<std::string> QuantizeOptions::embedding_formats() {
    std::vector<std::string> all = quantisation_formats();
    all.insert(all.begin(), none);
    return all;
}

bool QuantizeOptions::has_blocks() const {
    return any_format(*this, [](const QuantisedFormat& one) { return one.block_size > 0; });
}

bool QuantizeOptions::has_double_quant() const {
    return any_format(*this, [](const QuantisedFormat& one) { return one.double_quant; });
}

void FieldType<QuantizeOptions>::read(const Node& node, QuantizeOptions& out, const Where& where) {
    if (node.is_map()) {
        QuantizeOptions options;
        const std::size_t before = where.complaints.size();
        read_fields(node, options, where.complaints, where.path);
        if (where.complaints.size() != before) return;
        check_section(node, options, where);
        out = options;
    } else if (node.is_string()) {
        FieldType<std::string>::read(node, out.format, where);
        const std::vector<std::string> all = words();
        if (std::find(all.begin(), all.end(), out.format) != all.end()) return;
        where.complain(node, format("there is no \"{}\"; {}expected one of: {}", out.format,
                                    did_you_mean(out.format, all), join(all)));
        out.format = QuantizeOptions::none;
    } else {
        where.expected(node, expects({}));
    }
}

Node FieldType<QuantizeOptions>::write(const QuantizeOptions& value) {
    if (value.is_word()) return Node(value.format);
    Node out = write_fields(value);
    if (!value.has_blocks())
        out.erase("block_size");
    else if (!value.block_size && value.embeddings == QuantizeOptions::none)
        out.set("block_size", quantisations().at(value.format).block_size);
    if (!value.has_double_quant()) out.erase("double_quant");
    return out;
}

Node FieldType<QuantizeOptions>::schema(const Limits&) {
    Node::List names;
    for (const std::string& word : words()) names.push_back(Node(word));
    Node word = Node::map();
    word.set("enum", names);
    Node either = Node::map();
    either.set("anyOf", Node::List{word, schema_of<QuantizeOptions>()});
    return either;
}

std::string FieldType<QuantizeOptions>::expects(const Limits&) {
    return "one of " + join(words()) + ", or a map with format";
}

}   // namespace trainer
