#pragma once

#include <cudnn.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

// What the fake cuDNN keeps of the descriptors that it is given, and what it computes from them.
namespace fake_cudnn {

// A descriptor: its attributes as they were set.
struct Node {
    struct Value {
        cudnnBackendAttributeType_t type = CUDNN_TYPE_VOID_PTR;
        std::vector<unsigned char> bytes;           // of plain elements
        std::vector<std::shared_ptr<Node>> nodes;   // of descriptors
    };
    cudnnBackendDescriptorType_t type{};
    bool finalized = false;
    std::map<int, Value> attributes;

    bool has(cudnnBackendAttributeName_t name) const { return attributes.contains(name); }
    std::shared_ptr<Node> node(cudnnBackendAttributeName_t name, std::size_t index = 0) const {
        const auto found = attributes.find(name);
        return found == attributes.end() || index >= found->second.nodes.size() ? nullptr : found->second.nodes[index];
    }
    template <typename Element>
    std::vector<Element> list(cudnnBackendAttributeName_t name) const {
        const auto found = attributes.find(name);
        if (found == attributes.end()) return {};
        const auto& bytes = found->second.bytes;
        const auto* begin = reinterpret_cast<const Element*>(bytes.data());
        return std::vector<Element>(begin, begin + bytes.size() / sizeof(Element));
    }
    template <typename Element>
    Element value(cudnnBackendAttributeName_t name, Element otherwise = {}) const {
        const std::vector<Element> all = list<Element>(name);
        return all.empty() ? otherwise : static_cast<Element>(all.front());
    }
};

// Whether the graph is made of operations that are known here, its tensors are well formed, and it is deterministic.
bool supported(const Node& graph);
// Bytes that the real library asks for such a graph (9.19, compute capability 9.0), to within little.
std::int64_t workspace_bytes(const Node& graph);
// Runs the graph, operation by operation, on the memory of a variant pack. Fills `workspace` before. False: an operand
// is missing or not where its descriptor says that it is.
bool execute(const Node& graph, const Node& variant_pack, std::int64_t workspace);

}   // namespace fake_cudnn
