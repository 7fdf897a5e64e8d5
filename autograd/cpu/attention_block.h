#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

namespace trainer {

// The work of attention is cut into blocks: some queries of one document with all query heads that share one key and
// value head. A block's query rows of all those heads lie side by side in the vector lanes, so that the softmax runs
// down the keys and short documents fill the registers too.

// One key and value head of one document and the query heads it serves. Pointers are to the first row; strides are
// elements from one row to the next; all elements are of one type.
struct AttentionHead {
    const void* query;   // (queries, group · D), the heads side by side
    const void* key;     // (keys, D)
    const void* value;
    std::int64_t query_stride;
    std::int64_t key_stride;   // of values too
    std::int64_t queries;
    std::int64_t keys;   // query i stands at position keys - queries + i
    int group;
    int head_dim;   // even
    bool causal;
    float scale;
    DType dtype;   // f32 or bf16
};

struct AttentionForward {
    AttentionHead head;
    void* out;   // like query
    std::int64_t out_stride;
    float* lse;   // (queries, group): log2 of the sum of 2^(score · log2 e); null when nothing is saved
    std::int64_t lse_stride;
};

struct AttentionBackward {
    AttentionHead head;
    const void* out_gradient;   // like query
    std::int64_t out_stride;
    const float* lse;
    const float* delta;   // (queries, group): sum over D of out · out_gradient
    std::int64_t lse_stride;
    float* query_gradient_sum;   // like query, in f32; equal to query_gradient when that is f32
    std::int64_t query_gradient_sum_stride;
    void* query_gradient;
    void* key_gradient;
    void* value_gradient;
    std::int64_t gradient_stride;   // of all three
};

// Rows of a block; they depend on the shape alone.
inline constexpr std::int64_t attention_forward_keys = 128;
inline constexpr std::int64_t attention_backward_keys = 128;
constexpr std::int64_t attention_queries(int group) {
    const std::int64_t queries = 192 / group / 16 * 16;
    return queries < 16 ? 16 : queries > 128 ? 128 : queries;
}
// Numbers of f32 scratch that one thread needs, aligned to 64 bytes.
std::int64_t attention_scratch(int group, int head_dim);

// out and lse of queries begin … end-1.
TRAINER_VARIANTS(void attention_forward_block(const AttentionForward& task, std::int64_t begin, std::int64_t end,
                                              float* scratch))
// Gradients of keys and values key_begin … key_end-1 are summed in scratch: begin, then a step for every block of
// queries that sees these keys, in ascending order, then finish. A step also adds to the gradient of its queries; for
// one block of queries the steps of all key blocks must come one after the other in ascending order.
TRAINER_VARIANTS(void attention_backward_begin(const AttentionBackward& task, std::int64_t key_begin,
                                               std::int64_t key_end, float* scratch))
TRAINER_VARIANTS(void attention_backward_step(const AttentionBackward& task, std::int64_t key_begin,
                                              std::int64_t key_end, std::int64_t begin, std::int64_t end, bool last,
                                              float* scratch))
TRAINER_VARIANTS(void attention_backward_finish(const AttentionBackward& task, std::int64_t key_begin,
                                                std::int64_t key_end, float* scratch))
// delta of one row: `group` sums over head_dim products.
TRAINER_VARIANTS(void attention_delta(const void* out, const void* out_gradient, DType dtype, std::int64_t heads,
                                      std::int64_t head_dim, float* delta))

// The same with bf16 products, for bf16 tensors only.
namespace v4bf16 {
void attention_forward_block(const AttentionForward& task, std::int64_t begin, std::int64_t end, float* scratch);
void attention_backward_begin(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                              float* scratch);
void attention_backward_step(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                             std::int64_t begin, std::int64_t end, bool last, float* scratch);
void attention_backward_finish(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                               float* scratch);
}   // namespace v4bf16

}   // namespace trainer
