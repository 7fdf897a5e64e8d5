#pragma once

#include <cstdint>
#include <numbers>

#include "autograd/cuda/device.h"
#include "autograd/layout.h"
#include "autograd/ops/attention.h"

// What the kernels of attention share: where queries, keys and values are and who sees whom.
namespace trainer::cuda {

// What queries attend to. Query n stands at key n + key_offset.
template <typename Element>
struct Heads {
    Rows<const Element> query;
    Rows<const Element> key;
    Rows<const Element> value;
    const std::int32_t* spans;   // (N, 2): first and past the last token of the document; null: all `keys`
    std::int64_t queries;
    std::int64_t keys;
    std::int64_t key_offset;
    int group;
    int head_dim;
    bool causal;
    float scale;   // of the product, in the exponent of 2

    __device__ std::int64_t first_key(std::int64_t query) const { return spans ? spans[2 * query] : 0; }
    __device__ std::int64_t end_key(std::int64_t query) const {
        return causal ? query + key_offset + 1 : spans ? spans[2 * query + 1] : keys;
    }
    __device__ bool sees(std::int64_t query, std::int64_t key) const {
        return query < queries && key >= first_key(query) && key < end_key(query);
    }
};

template <typename Element>
struct AttentionGradients {
    Heads<Element> heads;
    Rows<const Element> dout;
    Rows<const float> lse;
    Rows<const float> delta;
    Rows<Element> dquery;
    Rows<Element> dkey;
    Rows<Element> dvalue;
    float scale;   // of the product
};

// Queries, keys and values of packed qkv, whose keys and values a cache replaces.
template <typename Element>
Heads<Element> heads_of(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer) {
    const std::int64_t width = std::int64_t{shape.kv_heads} * shape.head_dim;
    const std::int64_t first = std::int64_t{shape.heads} * shape.head_dim;
    Heads<Element> heads{};
    heads.query = rows_of<const Element>(qkv);
    heads.key = rows_of<const Element>(qkv.column_range(first, first + width));
    heads.value = rows_of<const Element>(qkv.column_range(first + width, first + 2 * width));
    heads.queries = heads.keys = qkv.rows();
    heads.group = shape.heads / shape.kv_heads;
    heads.head_dim = shape.head_dim;
    heads.causal = layout.kind == Layout::Kind::causal;
    heads.scale = shape.scale * static_cast<float>(std::numbers::log2e);
    if (layout.cache) {
        const auto index = static_cast<std::size_t>(layer);
        heads.key = rows_of<const Element>(layout.cache->keys[index]);
        heads.value = rows_of<const Element>(layout.cache->values[index]);
        heads.key_offset = layout.cache->length;
        heads.keys += layout.cache->length;
    } else {
        heads.spans = layout.spans.data<std::int32_t>();
    }
    return heads;
}

template <typename Element>
AttentionGradients<Element> gradients_of(const Tensor& qkv, const Layout& layout, const AttentionShape& shape,
                                         const Tensor& dout, const Tensor& lse, const Tensor& delta,
                                         const Tensor& dqkv) {
    const std::int64_t width = std::int64_t{shape.kv_heads} * shape.head_dim;
    const std::int64_t first = std::int64_t{shape.heads} * shape.head_dim;
    return {heads_of<Element>(qkv, layout, shape, 0),
            rows_of<const Element>(dout),
            rows_of<const float>(lse),
            rows_of<const float>(delta),
            rows_of<Element>(dqkv),
            rows_of<Element>(dqkv.column_range(first, first + width)),
            rows_of<Element>(dqkv.column_range(first + width, first + 2 * width)),
            shape.scale};
}

// The kernels on the matrix units (attention_mma.cu), for bf16 and f16 and heads of up to 128.
constexpr bool has_matrix_kernel(int head_dim) { return head_dim <= 128; }
template <typename Element>
void attention_forward_mma(Cuda, const Heads<Element>& heads, int heads_in_all, Rows<Element> out, float* lse,
                           std::int64_t lse_stride);
template <typename Element>
void attention_backward_mma(Cuda, const AttentionGradients<Element>& parameters, int heads_in_all, int kv_heads);

}   // namespace trainer::cuda
