#pragma once

// Attention of a single query over many keys, as in generation: dot products along the head instead of lanes of
// queries. Only for .simd.cpp files.

#include "autograd/cpu/attention_tiles.h"

namespace trainer::TRAINER_ISA {
namespace {

// Whether the forward pass is that of generation: one token after others.
inline bool decodes(const AttentionHead& head) { return head.queries == 1 && head.keys > 1; }

// Lane i is the sum of the lanes of vectors[i]; the vectors are used up.
inline Floats sums_of(Floats (&vectors)[lanes]) {
    Integers even;
    for (int i = 0; i < lanes; ++i) even[i] = 2 * i;
    for (int count = lanes / 2; count > 0; count /= 2)
        for (int i = 0; i < count; ++i)
            vectors[i] = __builtin_shuffle(vectors[2 * i], vectors[2 * i + 1], even) +
                         __builtin_shuffle(vectors[2 * i], vectors[2 * i + 1], even + 1);
    return vectors[0];
}

// scores[key] = query · keys[key] for a multiple of `lanes` keys of `depth` numbers.
inline void score_keys(float* scores, const float* query, const float* keys, int64_t count, int64_t depth) {
    for (int64_t first = 0; first < count; first += lanes) {
        Floats sums[lanes] = {};
        for (int64_t i = 0; i < depth; i += lanes) {
            const Floats part = load(query + i);
            for (int key = 0; key < lanes; ++key) sums[key] += part * load(keys + (first + key) * depth + i);
        }
        store(scores + first, sums_of(sums));
    }
}

template <typename Element>
void decode(const AttentionForward& task, float* memory) {
    using Kind = Plain<Element>;
    constexpr int64_t tile = attention_forward_keys;
    const AttentionHead& head = task.head;
    const int64_t depth = padded(head.head_dim);
    const int64_t group = head.group;
    const float log2_scale = head.scale * log2_e;

    Scratch scratch(memory);
    auto* query = scratch.take<float>(group * depth);
    auto* out = scratch.take<float>(group * depth);
    auto* scores = scratch.take<float>(group * tile);
    auto* maximum = scratch.take<float>(group);
    auto* total = scratch.take<float>(group);
    const KeyTile<Kind> keys(scratch, tile, depth);
    const KeyTile<Kind> values(scratch, tile, depth);
    for (int64_t member = 0; member < group; ++member) {
        load_row<Kind>(query + member * depth, depth, static_cast<const Element*>(head.query) + member * head.head_dim,
                       head.head_dim);
        maximum[member] = -infinity;
        total[member] = 0;
    }
    for (int64_t first = 0; first < head.keys; first += tile) {
        const int64_t count = head.keys - first < tile ? head.keys - first : tile;
        const int64_t filled = padded(count);
        keys.load(head.key, head.key_stride, first, first + count, head.head_dim, depth);
        values.load(head.value, head.key_stride, first, first + count, head.head_dim, depth);
        for (int64_t i = count * depth; i < filled * depth; ++i) keys.rows[i] = 0;
        for (int64_t member = 0; member < group; ++member) {
            float* own = scores + member * tile;
            score_keys(own, query + member * depth, keys.rows, filled, depth);
            for (int64_t key = count; key < filled; ++key) own[key] = -infinity;
            Floats most = floats(maximum[member]);
            for (int64_t key = 0; key < filled; key += lanes) {
                const Floats score = load(own + key);
                most = score > most ? score : most;
            }
            const float top = max_of(most);
            const float rescale = exp2(floats((maximum[member] - top) * log2_scale))[0];
            Floats sum = {};
            for (int64_t key = 0; key < filled; key += lanes) {
                const Floats weight = exp2(load(own + key) * log2_scale - top * log2_scale);
                store(own + key, weight);
                sum += weight;
            }
            maximum[member] = top;
            total[member] = total[member] * rescale + sum_of(sum);
            if (first > 0) scale_vector(out + member * depth, depth, rescale);
        }
        product<Kind>(out, depth, group, depth, scores, tile, 1, values.rows, depth, count, first > 0);
    }
    for (int64_t member = 0; member < group; ++member) {
        store_row(static_cast<Element*>(task.out) + member * head.head_dim, out + member * depth, head.head_dim,
                  1 / total[member]);
        if (task.lse) task.lse[member] = maximum[member] * log2_scale + __builtin_log2f(total[member]);
    }
}

}   // namespace
}   // namespace trainer::TRAINER_ISA
