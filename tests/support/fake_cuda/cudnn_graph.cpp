#include "tests/support/fake_cuda/cudnn_graph.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "autograd/dtype.h"

namespace fake_cudnn {

namespace {

using std::int64_t;
using trainer::bf16;
using trainer::f16;

constexpr int dimensions = 4;
using Index = std::array<int64_t, dimensions>;

// A tensor's descriptor, read.
struct Described {
    int64_t id = 0;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    Index sizes{1, 1, 1, 1};
    Index strides{0, 0, 0, 0};
    int64_t alignment = 1;
    bool is_virtual = false;
    bool by_value = false;
    const Node* offsets = nullptr;
    bool valid = true;

    explicit Described(const Node& node)
        : id(node.value<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID)),
          type(node.value<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE)),
          alignment(node.value<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1)),
          is_virtual(node.value<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL)),
          by_value(node.value<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE)),
          offsets(node.node(CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC).get()) {
        const auto sizes_given = node.list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
        const auto strides_given = node.list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
        valid = sizes_given.size() == dimensions && strides_given.size() == dimensions && alignment > 0;
        if (!valid) return;
        std::copy(sizes_given.begin(), sizes_given.end(), sizes.begin());
        std::copy(strides_given.begin(), strides_given.end(), strides.begin());
        for (int i = 0; i < dimensions; ++i) valid = valid && sizes[static_cast<std::size_t>(i)] > 0;
    }
    // Of a document's tokens: they are the farthest apart.
    std::size_t token_dimension() const {
        std::size_t best = 2;
        for (std::size_t i = 1; i < dimensions; ++i)
            if (sizes[i] > 1 && (sizes[best] == 1 || strides[i] > strides[best])) best = i;
        return best;
    }
    int64_t elements() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3]; }
};

// All elements of a tensor, one after the other.
struct Array {
    Index sizes{1, 1, 1, 1};
    std::vector<float> values;
    explicit Array(Index all = {1, 1, 1, 1})
        : sizes(all), values(static_cast<std::size_t>(all[0] * all[1] * all[2] * all[3])) {}
    // Sizes of 1 stand for all of the other's.
    float& at(const Index& index) {
        int64_t place = 0;
        for (std::size_t i = 0; i < dimensions; ++i) place = place * sizes[i] + (sizes[i] == 1 ? 0 : index[i]);
        return values[static_cast<std::size_t>(place)];
    }
};

template <typename Work>
void for_each_index(const Index& sizes, Work&& work) {
    Index i{};
    for (i[0] = 0; i[0] < sizes[0]; ++i[0])
        for (i[1] = 0; i[1] < sizes[1]; ++i[1])
            for (i[2] = 0; i[2] < sizes[2]; ++i[2])
                for (i[3] = 0; i[3] < sizes[3]; ++i[3]) work(i);
}

float rounded(float value, cudnnDataType_t type) {
    if (type == CUDNN_DATA_BFLOAT16) return static_cast<float>(bf16(value));
    return type == CUDNN_DATA_HALF ? static_cast<float>(f16(value)) : value;
}

struct Machine {
    std::map<int64_t, void*> memory;
    std::map<int64_t, Array> arrays;     // of virtual tensors
    std::vector<std::int32_t> lengths;   // of documents; none: all are full
    bool failed = false;

    bool in_document(const Described& tensor, const Index& index) const {
        if (!tensor.offsets || lengths.empty()) return true;
        return index[tensor.token_dimension()] < lengths[static_cast<std::size_t>(index[0])];
    }
    int64_t place(const Described& tensor, const Index& index) const {
        int64_t at = 0;
        if (tensor.offsets) {
            const auto found = memory.find(Described(*tensor.offsets).id);
            at = static_cast<const std::int32_t*>(found->second)[index[0]];
        } else {
            at = index[0] * tensor.strides[0];
        }
        for (std::size_t i = 1; i < dimensions; ++i) at += index[i] * tensor.strides[i];
        return at;
    }
    void* pointer(const Described& tensor) {
        const auto found = memory.find(tensor.id);
        const bool there =
            found != memory.end() && found->second &&
            reinterpret_cast<std::uintptr_t>(found->second) % static_cast<std::uintptr_t>(tensor.alignment) == 0 &&
            (!tensor.offsets || pointer(Described(*tensor.offsets)));
        if (!there) failed = true;
        return there ? found->second : nullptr;
    }

    // Tokens past a document's end are not looked at: they are 0.
    Array read(const Node* node) {
        const Described tensor(*node);
        if (tensor.is_virtual) {
            const auto found = arrays.find(tensor.id);
            if (found != arrays.end()) return found->second;
            failed = true;
            return Array(tensor.sizes);
        }
        Array out(tensor.sizes);
        const void* const from = pointer(tensor);
        if (!from) return out;
        for_each_index(tensor.sizes, [&](const Index& index) {
            if (!in_document(tensor, index)) return;
            const int64_t at = place(tensor, index);
            float& to = out.at(index);
            if (tensor.type == CUDNN_DATA_BFLOAT16)
                to = static_cast<float>(static_cast<const bf16*>(from)[at]);
            else if (tensor.type == CUDNN_DATA_HALF)
                to = static_cast<float>(static_cast<const f16*>(from)[at]);
            else if (tensor.type == CUDNN_DATA_INT32)
                to = static_cast<float>(static_cast<const std::int32_t*>(from)[at]);
            else
                to = static_cast<const float*>(from)[at];
        });
        return out;
    }
    void write(const Node* node, Array array) {
        const Described tensor(*node);
        if (array.sizes != tensor.sizes) {
            failed = true;
            return;
        }
        for (float& value : array.values) value = rounded(value, tensor.type);
        if (tensor.is_virtual) {
            arrays.insert_or_assign(tensor.id, std::move(array));
            return;
        }
        void* const to = pointer(tensor);
        if (!to) return;
        for_each_index(tensor.sizes, [&](const Index& index) {
            if (!in_document(tensor, index)) return;
            const int64_t at = place(tensor, index);
            if (tensor.type == CUDNN_DATA_BFLOAT16)
                static_cast<bf16*>(to)[at] = bf16(array.at(index));
            else if (tensor.type == CUDNN_DATA_HALF)
                static_cast<f16*>(to)[at] = f16(array.at(index));
            else
                static_cast<float*>(to)[at] = array.at(index);
        });
    }
};

float of_two(cudnnPointwiseMode_t mode, float a, float b) {
    switch (mode) {
        case CUDNN_POINTWISE_ADD:
            return a + b;
        case CUDNN_POINTWISE_SUB:
            return a - b;
        case CUDNN_POINTWISE_MUL:
            return a * b;
        case CUDNN_POINTWISE_DIV:
            return a / b;
        case CUDNN_POINTWISE_EXP:
            return std::exp(a);
        case CUDNN_POINTWISE_LOG:
            return std::log(a);
        case CUDNN_POINTWISE_IDENTITY:
            return a;
        case CUDNN_POINTWISE_CMP_GE:
            return a >= b;
        case CUDNN_POINTWISE_CMP_GT:
            return a > b;
        case CUDNN_POINTWISE_CMP_LE:
            return a <= b;
        case CUDNN_POINTWISE_CMP_LT:
            return a < b;
        case CUDNN_POINTWISE_LOGICAL_AND:
            return a != 0 && b != 0;
        default:
            return std::numeric_limits<float>::quiet_NaN();
    }
}

void run_pointwise(Machine& machine, const Node& operation) {
    const auto description = operation.node(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const auto mode = description->value<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
    const auto axis = static_cast<std::size_t>(description->value<int64_t>(CUDNN_ATTR_POINTWISE_AXIS));
    const auto to = operation.node(CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    const auto second = operation.node(CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    const auto chooser = operation.node(CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
    Array out(Described(*to).sizes);
    Array a, b, t;
    if (mode != CUDNN_POINTWISE_GEN_INDEX) a = machine.read(operation.node(CUDNN_ATTR_OPERATION_POINTWISE_XDESC).get());
    if (second) b = machine.read(second.get());
    if (chooser) t = machine.read(chooser.get());
    for_each_index(out.sizes, [&](const Index& index) {
        if (mode == CUDNN_POINTWISE_GEN_INDEX)
            out.at(index) = static_cast<float>(index[axis]);
        else if (mode == CUDNN_POINTWISE_BINARY_SELECT)
            out.at(index) = t.at(index) != 0 ? a.at(index) : b.at(index);
        else
            out.at(index) = of_two(mode, a.at(index), second ? b.at(index) : 0);
    });
    machine.write(to.get(), std::move(out));
}

// Of all, or of so many neighbours as the result has fewer.
void run_reduction(Machine& machine, const Node& operation) {
    const auto how = operation.node(CUDNN_ATTR_OPERATION_REDUCTION_DESC)
                         ->value<cudnnReduceTensorOp_t>(CUDNN_ATTR_REDUCTION_OPERATOR);
    const auto to = operation.node(CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    Array from = machine.read(operation.node(CUDNN_ATTR_OPERATION_REDUCTION_XDESC).get());
    Array out(Described(*to).sizes);
    const bool largest = how == CUDNN_REDUCE_TENSOR_MAX;
    if (largest) std::fill(out.values.begin(), out.values.end(), -std::numeric_limits<float>::infinity());
    for_each_index(from.sizes, [&](const Index& index) {
        Index into = index;
        for (std::size_t i = 0; i < dimensions; ++i) into[i] = index[i] / (from.sizes[i] / out.sizes[i]);
        float& sum = out.at(into);
        sum = largest ? std::max(sum, from.at(index)) : sum + from.at(index);
    });
    machine.write(to.get(), std::move(out));
}

// (b, h, m, k) · (b, h / group, k, n).
void run_matmul(Machine& machine, const Node& operation) {
    const auto to = operation.node(CUDNN_ATTR_OPERATION_MATMUL_CDESC);
    Array a = machine.read(operation.node(CUDNN_ATTR_OPERATION_MATMUL_ADESC).get());
    Array b = machine.read(operation.node(CUDNN_ATTR_OPERATION_MATMUL_BDESC).get());
    Array out(Described(*to).sizes);
    if (a.sizes[3] != b.sizes[2] || a.sizes[1] % b.sizes[1] != 0) {
        machine.failed = true;
        return;
    }
    const int64_t group = a.sizes[1] / b.sizes[1];
    for_each_index({a.sizes[0], a.sizes[1], a.sizes[2], a.sizes[3]}, [&](const Index& index) {
        const float factor = a.at(index);
        if (factor == 0) return;   // also of tokens that are not there
        float* const sums = &out.at({index[0], index[1], index[2], 0});
        const float* const row = &b.at({index[0], index[1] / group, index[3], 0});
        for (int64_t n = 0; n < out.sizes[3]; ++n) sums[n] += factor * row[n];
    });
    machine.write(to.get(), std::move(out));
}

// The same memory under other sizes: here only ever in another order of its dimensions.
void run_reshape(Machine& machine, const Node& operation) {
    const auto from = operation.node(CUDNN_ATTR_OPERATION_RESHAPE_XDESC);
    const auto to = operation.node(CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
    const Described before(*from), after(*to);
    Index source{};
    std::array<bool, dimensions> used{};
    for (std::size_t i = 0; i < dimensions; ++i) {
        std::size_t found = dimensions;
        for (std::size_t k = 0; k < dimensions; ++k)
            if (found == dimensions && !used[k] && before.sizes[k] == after.sizes[i] &&
                before.strides[k] == after.strides[i])
                found = k;
        if (found == dimensions) {
            machine.failed = true;
            return;
        }
        used[found] = true;
        source[i] = static_cast<int64_t>(found);
    }
    Array values = machine.read(from.get());
    Array out(after.sizes);
    for_each_index(after.sizes, [&](const Index& index) {
        Index at{};
        for (std::size_t i = 0; i < dimensions; ++i) at[static_cast<std::size_t>(source[i])] = index[i];
        out.at(index) = values.at(at);
    });
    machine.write(to.get(), std::move(out));
}

const std::map<cudnnBackendDescriptorType_t, std::function<void(Machine&, const Node&)>>& operations() {
    static const std::map<cudnnBackendDescriptorType_t, std::function<void(Machine&, const Node&)>> all = {
        {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, run_pointwise},
        {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, run_reduction},
        {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, run_matmul},
        {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, run_reshape}};
    return all;
}

std::vector<std::shared_ptr<Node>> operations_of(const Node& graph) {
    const auto found = graph.attributes.find(CUDNN_ATTR_OPERATIONGRAPH_OPS);
    return found == graph.attributes.end() ? std::vector<std::shared_ptr<Node>>() : found->second.nodes;
}

// The tensors of an operation.
std::vector<const Node*> tensors_of(const Node& operation) {
    std::vector<const Node*> out;
    for (const auto& [name, value] : operation.attributes)
        for (const auto& node : value.nodes)
            if (node->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) out.push_back(node.get());
    return out;
}

// The lengths of documents bound the products.
const Node* lengths_of(const Node& graph) {
    for (const auto& operation : operations_of(graph))
        if (const auto node = operation->node(CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC)) return node.get();
    return nullptr;
}

}   // namespace

bool supported(const Node& graph) {
    const bool has_lengths = lengths_of(graph) != nullptr;
    for (const auto& operation : operations_of(graph)) {
        if (!operations().contains(operation->type)) return false;
        // The sums of query gradients by atomic additions end in this; the deterministic backward has none.
        if (const auto pointwise = operation->node(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR))
            if (pointwise->value<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE) == CUDNN_POINTWISE_IDENTITY)
                return false;
        for (const Node* node : tensors_of(*operation)) {
            const Described tensor(*node);
            if (!tensor.valid || (tensor.offsets && !has_lengths)) return false;
            if (tensor.offsets) {
                const Described offsets(*tensor.offsets);
                if (offsets.type != CUDNN_DATA_INT32 || offsets.sizes[0] != tensor.sizes[0] + 1) return false;
            }
        }
    }
    return !operations_of(graph).empty();
}

int64_t workspace_bytes(const Node& graph) {
    int64_t products = 0, scores = 0, heads = 0;
    int64_t batch = 0;
    for (const auto& operation : operations_of(graph)) {
        if (operation->type != CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) continue;
        const Described c(*operation->node(CUDNN_ATTR_OPERATION_MATMUL_CDESC));
        if (++products == 1) scores = 2 * c.elements();
        batch = c.sizes[0];
        if (c.is_virtual && c.type != CUDNN_DATA_FLOAT) heads += 2 * c.elements();   // of a group's query heads
    }
    return products < 5 ? 1072 * batch : scores + heads + 768 + 256 * batch;
}

bool execute(const Node& graph, const Node& variant_pack, int64_t workspace) {
    Machine machine;
    const auto ids = variant_pack.list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const auto pointers = variant_pack.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    if (ids.size() != pointers.size()) return false;
    for (std::size_t i = 0; i < ids.size(); ++i) machine.memory[ids[i]] = pointers[i];
    if (workspace > 0) {
        void* const room = variant_pack.value<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
        if (!room) return false;
        std::memset(room, 0xff, static_cast<std::size_t>(workspace));
    }
    if (const Node* lengths = lengths_of(graph))
        for (const float tokens : machine.read(lengths).values) machine.lengths.push_back(static_cast<int>(tokens));
    for (const auto& operation : operations_of(graph)) {
        operations().at(operation->type)(machine, *operation);
        if (machine.failed) return false;
    }
    return true;
}

}   // namespace fake_cudnn
