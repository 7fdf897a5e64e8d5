#pragma once

// The backward pass of attention over the tiles of cpu/attention_tiles.h. Only for .simd.cpp files.

#include "autograd/cpu/attention_tiles.h"

namespace trainer::TRAINER_ISA {
namespace {

// What a thread keeps from begin to finish of a block of keys, and what each step needs.
template <typename Kind>
struct BackwardScratch {
    using Word = typename Kind::Word;
    Scratch scratch;
    int64_t depth;
    KeyTile<Kind> keys;
    KeyTile<Kind> values;
    float* key_gradient;   // (keys, depth)
    float* value_gradient;

    BackwardScratch(const AttentionHead& head, float* memory)
        : scratch(memory),
          depth(padded(head.head_dim)),
          keys(scratch, attention_backward_keys, depth),
          values(scratch, attention_backward_keys, depth),
          key_gradient(scratch.take<float>(attention_backward_keys * depth)),
          value_gradient(scratch.take<float>(attention_backward_keys * depth)) {}
};

template <typename Kind>
void backward_begin(const AttentionBackward& task, int64_t key_begin, int64_t key_end, float* memory) {
    const AttentionHead& head = task.head;
    const BackwardScratch<Kind> kept(head, memory);
    kept.keys.load(head.key, head.key_stride, key_begin, key_end, head.head_dim, kept.depth);
    kept.values.load(head.value, head.key_stride, key_begin, key_end, head.head_dim, kept.depth);
    for (int64_t i = 0; i < (key_end - key_begin) * kept.depth; ++i) kept.key_gradient[i] = kept.value_gradient[i] = 0;
}

// What one step works with; lanes play the part of keys in the tiles.
template <typename Kind>
struct BackwardStep {
    using Word = typename Kind::Word;
    int64_t key_step;   // words
    std::int32_t* visible;
    float* lse;
    float* delta;
    KeyTile<Kind> queries;
    KeyTile<Kind> out_gradient;
    Word* queries_by_column;   // (depth, width)
    Word* out_gradient_by_column;
    float* scores;                 // (keys, 32)
    float* probability_gradient;   // (keys, 32)
    Word* probability;             // (keys, width), pairs along the lanes
    Word* score_gradient;          // (keys, width), pairs along the lanes
    Word* score_gradient_pairs;    // (keys / 2, 32), pairs along the keys
    float* query_gradient;         // (32, depth)

    BackwardStep(const Block& block, Scratch& scratch)
        : key_step(block.width / Kind::pair),
          visible(scratch.take<std::int32_t>(block.width)),
          lse(scratch.take<float>(block.width)),
          delta(scratch.take<float>(block.width)),
          queries(scratch, block.width, block.depth),
          out_gradient(scratch, block.width, block.depth),
          queries_by_column(scratch.take<Word>(block.width * block.depth / Kind::pair)),
          out_gradient_by_column(scratch.take<Word>(block.width * block.depth / Kind::pair)),
          scores(scratch.take<float>(attention_backward_keys * chunk_lanes)),
          probability_gradient(scratch.take<float>(attention_backward_keys * chunk_lanes)),
          probability(scratch.take<Word>(attention_backward_keys * key_step)),
          score_gradient(scratch.take<Word>(attention_backward_keys * key_step)),
          score_gradient_pairs(scratch.take<Word>(attention_backward_keys / 2 * chunk_lanes)),
          query_gradient(scratch.take<float>(chunk_lanes * block.depth)) {}

    void load(const AttentionBackward& task, const Block& block) const {
        block.fill_visible(visible);
        for (int64_t lane = block.count; lane < block.width; ++lane) lse[lane] = delta[lane] = 0;
        block.for_lanes(0, block.width, [&](int64_t lane, int64_t query, int64_t member) {
            lse[lane] = task.lse[query * task.lse_stride + member];
            delta[lane] = task.delta[query * task.lse_stride + member];
        });
        block.template load_rows<Kind>(queries.rows, task.head.query, task.head.query_stride);
        block.template load_rows<Kind>(out_gradient.rows, task.out_gradient, task.out_stride);
        queries.weave(block.width, block.depth);
        out_gradient.weave(block.width, block.depth);
        transpose(queries_by_column, queries.rows, block.width, block.depth / Kind::pair);
        transpose(out_gradient_by_column, out_gradient.rows, block.width, block.depth / Kind::pair);
    }
};

// p and ds of two keys in one vector of lanes, as operands of the products that follow: by key with pairs along the
// lanes (key_step words from key to key), and for ds also with pairs along the keys.
template <typename Kind>
void store_weights(typename Kind::Word* p_to, typename Kind::Word* ds_to, int64_t key_step,
                   [[maybe_unused]] typename Kind::Word* pairs_to, const Floats* p, const Floats* ds, bool both) {
    if constexpr (Kind::pair == 2) {
        store_halves(p_to, p[0]);
        store_halves(ds_to, ds[0]);
        store_pair(pairs_to, ds[0], both ? ds[1] : Floats{});
        if (both) store_halves(p_to + key_step, p[1]);
        if (both) store_halves(ds_to + key_step, ds[1]);
    } else {
        store(p_to, p[0]);
        store(ds_to, ds[0]);
        if (both) store(p_to + key_step, p[1]);
        if (both) store(ds_to + key_step, ds[1]);
    }
}

// P = 2^(score · log2_scale - lse) and dS = P (dP - delta) scale for the lanes of one chunk, 0 for keys not seen.
template <typename Kind>
void score_gradients(const BackwardStep<Kind>& step, const AttentionHead& head, int64_t lane, int64_t chunk,
                     int64_t key_begin, int64_t keys, bool masked) {
    const float log2_scale = head.scale * log2_e;
    for (int64_t column = 0; column < chunk; column += lanes) {
        const Integers limit = load_integers(step.visible + lane + column) - static_cast<std::int32_t>(key_begin);
        const Floats lse = load(step.lse + lane + column);
        const Floats delta = load(step.delta + lane + column);
        const int64_t at = (lane + column) / Kind::pair;
        for (int64_t key = 0; key < keys; key += 2) {
            const bool both = key + 1 < keys;
            Floats p[2] = {};
            Floats ds[2] = {};
            for (int64_t i = 0; i < (both ? 2 : 1); ++i) {
                const int64_t from = (key + i) * chunk_lanes + column;
                p[i] = exp2(load(step.scores + from) * log2_scale - lse);
                if (masked) p[i] = integers(static_cast<std::int32_t>(key + i)) < limit ? p[i] : Floats{};
                ds[i] = p[i] * (load(step.probability_gradient + from) - delta) * head.scale;
            }
            store_weights<Kind>(step.probability + key * step.key_step + at,
                                step.score_gradient + key * step.key_step + at, step.key_step,
                                step.score_gradient_pairs + key / 2 * chunk_lanes + column, p, ds, both);
        }
    }
}

template <typename Kind>
void backward_step(const AttentionBackward& task, int64_t key_begin, int64_t key_end, int64_t begin, int64_t end,
                   bool last, float* memory) {
    using Word = typename Kind::Word;
    const AttentionHead& head = task.head;
    const Block block(head, begin, end);
    BackwardScratch<Kind> kept(head, memory);
    const BackwardStep<Kind> step(block, kept.scratch);
    step.load(task, block);
    const int64_t depth = block.depth;
    const int64_t words = depth / Kind::pair;
    const int64_t keys = key_end - key_begin;
    for (int64_t lane = 0; lane < block.width; lane += chunk_lanes) {
        const int64_t chunk = block.width - lane < chunk_lanes ? block.width - lane : chunk_lanes;
        const Range seen = range_of(step.visible + lane, chunk);
        const int64_t count = seen.most <= key_begin ? 0 : (seen.most < key_end ? seen.most : key_end) - key_begin;
        for (int64_t key = count; key < keys; ++key)
            for (int64_t i = 0; i < chunk / Kind::pair; ++i) {
                const int64_t at = key * step.key_step + lane / Kind::pair + i;
                step.probability[at] = step.score_gradient[at] = 0;
            }
        if (count == 0) continue;
        product<Kind>(step.scores, chunk_lanes, count, chunk, kept.keys.rows, words, 1, step.queries_by_column + lane,
                      block.width, words, false);
        product<Kind>(step.probability_gradient, chunk_lanes, count, chunk, kept.values.rows, words, 1,
                      step.out_gradient_by_column + lane, block.width, words, false);
        score_gradients<Kind>(step, head, lane, chunk, key_begin, count, seen.least < key_begin + count);
        const Word* by_key = Kind::pair == 1 ? step.score_gradient + lane : step.score_gradient_pairs;
        product<Kind>(step.query_gradient, depth, chunk, depth, by_key, 1, Kind::pair == 1 ? block.width : chunk_lanes,
                      kept.keys.pairs, depth, (count + Kind::pair - 1) / Kind::pair, false);
        block.for_lanes(lane, lane + chunk, [&](int64_t at, int64_t query, int64_t member) {
            float* sum = task.query_gradient_sum + query * task.query_gradient_sum_stride + member * head.head_dim;
            const float* term = step.query_gradient + (at - lane) * depth;
            for (int64_t i = 0; i < head.head_dim; ++i) sum[i] = key_begin == 0 ? term[i] : sum[i] + term[i];
        });
    }
    product<Kind>(kept.value_gradient, depth, keys, depth, step.probability, step.key_step, 1, step.out_gradient.pairs,
                  depth, step.key_step, true);
    product<Kind>(kept.key_gradient, depth, keys, depth, step.score_gradient, step.key_step, 1, step.queries.pairs,
                  depth, step.key_step, true);
    if (last && task.query_gradient != task.query_gradient_sum) {
        auto* to = static_cast<typename Kind::Element*>(task.query_gradient);
        for (int64_t query = begin; query < end; ++query)
            store_row(to + query * task.gradient_stride,
                      task.query_gradient_sum + query * task.query_gradient_sum_stride, head.group * head.head_dim, 1);
    }
}

template <typename Kind>
void backward_finish(const AttentionBackward& task, int64_t key_begin, int64_t key_end, float* memory) {
    const BackwardScratch<Kind> kept(task.head, memory);
    auto* keys = static_cast<typename Kind::Element*>(task.key_gradient);
    auto* values = static_cast<typename Kind::Element*>(task.value_gradient);
    for (int64_t key = key_begin; key < key_end; ++key) {
        const int64_t row = (key - key_begin) * kept.depth;
        store_row(keys + key * task.gradient_stride, kept.key_gradient + row, task.head.head_dim, 1);
        store_row(values + key * task.gradient_stride, kept.value_gradient + row, task.head.head_dim, 1);
    }
}

}   // namespace
}   // namespace trainer::TRAINER_ISA
