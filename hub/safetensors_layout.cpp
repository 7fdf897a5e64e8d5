#include "hub/safetensors_layout.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

namespace {

Node header_entry(const FileTensor& tensor) {
    Node::List shape;
    for (const std::int64_t size : tensor.shape) shape.emplace_back(size);
    Node entry;
    entry.set("dtype", name_of(tensor.dtype));
    entry.set("shape", std::move(shape));
    entry.set("data_offsets",
              Node::List{static_cast<std::int64_t>(tensor.begin), static_cast<std::int64_t>(tensor.end)});
    return entry;
}

// Length and text, padded with blanks so that the data begin at a multiple of 8.
std::string head_of(const std::string& file, Node::Map header) {
    std::string text = to_json(Node(std::move(header)), {.compact = true});
    text.append((8 - text.size() % 8) % 8, ' ');
    check(text.size() <= largest_safetensors_header,
          "safetensors: the header of {} would have {} bytes, the limit is {}", file, text.size(),
          largest_safetensors_header);
    const std::uint64_t length = text.size();
    std::string head(sizeof length, '\0');
    std::memcpy(head.data(), &length, sizeof length);
    return head + text;
}

}   // namespace

const FileTensor& SafetensorsLayout::at(std::string_view name) const {
    const auto found =
        std::find_if(tensors.begin(), tensors.end(), [&](const FileTensor& tensor) { return tensor.name == name; });
    check(found != tensors.end(), "safetensors: the layout has no tensor {}", name);
    return *found;
}

SafetensorsLayout lay_out_safetensors(const std::string& file, const std::vector<TensorSpec>& tensors,
                                      const FileMetadata& metadata) {
    SafetensorsLayout layout;
    for (const TensorSpec& tensor : tensors) layout.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
    std::sort(layout.tensors.begin(), layout.tensors.end(), [](const FileTensor& a, const FileTensor& b) {
        return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
    });

    Node::Map header;
    if (!metadata.empty()) {
        Node::Map entries;
        for (const auto& [key, value] : metadata) entries.push_back({key, value, {}});
        header.push_back({"__metadata__", Node(std::move(entries)), {}});
    }
    std::uint64_t position = 0;
    std::unordered_set<std::string_view> names;
    for (FileTensor& tensor : layout.tensors) {
        check(!tensor.name.empty() && tensor.name != "__metadata__", "safetensors: tensor name \"{}\"", tensor.name);
        check(names.insert(tensor.name).second, "safetensors: tensor {} is given twice", tensor.name);
        const auto size = byte_count(tensor.dtype, tensor.shape);
        check(size.has_value(), "safetensors: tensor {}: shape {} of {} has no valid size", tensor.name,
              shape_text(tensor.shape), name_of(tensor.dtype));
        tensor.begin = position;
        tensor.end = position += *size;
        header.push_back({tensor.name, header_entry(tensor), {}});
    }
    layout.head = head_of(file, std::move(header));
    return layout;
}

}   // namespace trainer
