#pragma once

// The blocks of attention (cpu/attention_block.h) for one kind of product. Only for .simd.cpp files.
//
// Scores stand transposed, (keys, lanes): a lane is one query row of one head of the group, lane l being query l mod n
// of head l / n for n queries. Chunks of 32 lanes are worked on at a time.

#include "autograd/cpu/attention_block.h"
#include "autograd/cpu/attention_product.h"

namespace trainer::TRAINER_ISA {
namespace {

constexpr int64_t chunk_lanes = 32;
constexpr float log2_e = 0x1.715476p+0f;
constexpr float infinity = __builtin_inff();

// Hands out pieces of a thread's scratch, in the same order for the same task.
class Scratch {
public:
    explicit Scratch(float* memory) : next_(memory) {}
    template <typename Element>
    Element* take(int64_t count) {
        auto* piece = reinterpret_cast<Element*>(next_);
        next_ += (count * static_cast<int64_t>(sizeof(Element)) / 4 + 15) / 16 * 16;
        return piece;
    }

private:
    float* next_;
};

// 2^x for x up to 127, to one unit in the last place; 0 below -126, NaN for NaN. The polynomial is the minimax fit of
// 2^f on [-1/2, 1/2] with relative error 2e-9.
inline Floats exp2(Floats x) {
    constexpr float to_integer = 0x1.8p+23f;
    const Floats bounded = x < -126.0f ? floats(-126.0f) : x;
    const Floats shifted = bounded + to_integer;
    const Floats f = bounded - (shifted - to_integer);
    Floats sum = floats(0x1.41fbbcp-13f);
    sum = sum * f + 0x1.5f3e54p-10f;
    sum = sum * f + 0x1.3b2d4cp-7f;
    sum = sum * f + 0x1.c6aee8p-5f;
    sum = sum * f + 0x1.ebfbdcp-3f;
    sum = sum * f + 0x1.62e430p-1f;
    sum = sum * f + 1.0f;
    const Floats result =
        reinterpret_cast<Floats>(reinterpret_cast<Words>(sum) + (reinterpret_cast<Words>(shifted) << 23));
    return x < -126.0f ? Floats{} : result;
}

// The queries begin … end-1 of all heads of a group.
struct Block {
    const AttentionHead& head;
    int64_t begin;
    int64_t queries;
    int64_t count;   // lanes in use
    int64_t width;   // lanes with the padding
    int64_t depth;   // head_dim with the padding

    Block(const AttentionHead& attention, int64_t first, int64_t end)
        : head(attention),
          begin(first),
          queries(end - first),
          count(queries * attention.group),
          width(padded(count)),
          depth(padded(attention.head_dim)) {}

    // Calls body(lane, query, head of the group).
    template <typename Body>
    void for_lanes(int64_t from, int64_t to, const Body& body) const {
        for (int64_t lane = from; lane < to && lane < count; ++lane) body(lane, begin + lane % queries, lane / queries);
    }

    // How many keys each lane sees.
    void fill_visible(std::int32_t* visible) const {
        const int64_t hidden = head.keys - head.queries + 1;
        for (int64_t lane = 0; lane < width; ++lane) visible[lane] = head.causal ? 1 : static_cast<int>(head.keys);
        if (head.causal)
            for_lanes(0, width, [&](int64_t lane, int64_t query, int64_t) {
                visible[lane] = static_cast<std::int32_t>(hidden + query);
            });
    }

    // Rows of all lanes as words, (width, depth); padding is zero.
    template <typename Kind>
    void load_rows(typename Kind::Word* to, const void* from, int64_t stride) const {
        const int64_t words = depth / Kind::pair;
        const auto* elements = static_cast<const typename Kind::Element*>(from);
        for_lanes(0, width, [&](int64_t lane, int64_t query, int64_t member) {
            load_row<Kind>(to + lane * words, words, elements + query * stride + member * head.head_dim, head.head_dim);
        });
        for (int64_t i = count * words; i < width * words; ++i) to[i] = 0;
    }
};

struct Range {
    std::int32_t least;
    std::int32_t most;
};
inline Range range_of(const std::int32_t* values, int64_t count) {
    Range range{values[0], values[0]};
    for (int64_t i = 1; i < count; ++i) {
        range.least = values[i] < range.least ? values[i] : range.least;
        range.most = values[i] > range.most ? values[i] : range.most;
    }
    return range;
}

inline Integers load_integers(const std::int32_t* from) {
    Integers out;
    __builtin_memcpy(&out, from, sizeof out);
    return out;
}

// Rows of keys or values, in both forms an operand can take: `rows` has pairs along the columns, (keys, depth), and
// `pairs` along the rows, (keys / 2, depth). For f32 products the two are one.
template <typename Kind>
struct KeyTile {
    typename Kind::Word* rows;
    typename Kind::Word* pairs;

    KeyTile(Scratch& scratch, int64_t keys, int64_t depth) {
        rows = scratch.take<typename Kind::Word>(keys * depth);
        pairs = Kind::pair == 1 ? rows : scratch.take<typename Kind::Word>(keys * depth);
    }
    void load(const void* from, int64_t stride, int64_t begin, int64_t end, int64_t columns, int64_t depth) const {
        const auto* elements = static_cast<const typename Kind::Element*>(from);
        const int64_t words = depth / Kind::pair;
        for (int64_t key = begin; key < end; ++key)
            load_row<Kind>(rows + (key - begin) * words, words, elements + key * stride, columns);
        weave(end - begin, depth);
    }
    void weave([[maybe_unused]] int64_t keys, [[maybe_unused]] int64_t depth) const {
        if constexpr (Kind::pair == 2) pair_rows(pairs, rows, keys, depth);
    }
};

// Softmax of a chunk over the keys of a tile. `scores` (keys, 32) become weights 2^(score · log2_scale - maximum),
// in `weights` as the operand of the next product; lanes do not see keys from `visible - first_key` on.
template <typename Kind>
void soften(float* scores, typename Kind::Word* weights, int64_t keys, int64_t lane_count, float log2_scale,
            const std::int32_t* visible, int64_t first_key, bool masked, float* maximum, float* total, float* factor) {
    for (int64_t lane = 0; lane < lane_count; lane += lanes) {
        float* column = scores + lane;
        const Integers limit = load_integers(visible + lane) - static_cast<std::int32_t>(first_key);
        const Floats before = load(maximum + lane);
        Floats most = before;
        for (int64_t key = 0; key < keys; ++key) {
            Floats score = load(column + key * chunk_lanes);
            if (masked) {
                score = integers(static_cast<std::int32_t>(key)) < limit ? score : floats(-infinity);
                store(column + key * chunk_lanes, score);
            }
            most = score > most ? score : most;
        }
        const Floats shift = most * log2_scale;
        const Floats rescale = exp2(before * log2_scale - shift);
        Floats sum[2] = {};
        for (int64_t key = 0; key < keys; key += 2) {
            const Floats first = exp2(load(column + key * chunk_lanes) * log2_scale - shift);
            const Floats second =
                key + 1 < keys ? exp2(load(column + (key + 1) * chunk_lanes) * log2_scale - shift) : Floats{};
            sum[0] += first;
            sum[1] += second;
            if constexpr (Kind::pair == 2) {
                store_pair(weights + key / 2 * chunk_lanes + lane, first, second);
            } else {
                store(weights + key * chunk_lanes + lane, first);
                store(weights + (key + 1) * chunk_lanes + lane, second);
            }
        }
        store(maximum + lane, most);
        store(factor + lane, rescale);
        store(total + lane, load(total + lane) * rescale + (sum[0] + sum[1]));
    }
}

inline void scale_vector(float* values, int64_t count, float factor) {
    for (int64_t i = 0; i < count; i += lanes) store(values + i, load(values + i) * factor);
}

// `count` f32 numbers as elements of the tensor, times a factor.
template <typename Element>
void store_row(Element* to, const float* from, int64_t count, float factor) {
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(to + i, load(from + i) * factor);
    if (i < count) store_some(to + i, load_some(from + i, count - i) * factor, count - i);
}

// Online softmax over tiles of keys (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et
// al., "FlashAttention", 2022).
template <typename Kind>
void forward(const AttentionForward& task, int64_t begin, int64_t end, float* memory) {
    using Word = typename Kind::Word;
    constexpr int64_t tile = attention_forward_keys;
    const AttentionHead& head = task.head;
    const Block block(head, begin, end);
    const int64_t words = block.depth / Kind::pair;
    const float log2_scale = head.scale * log2_e;

    Scratch scratch(memory);
    auto* visible = scratch.take<std::int32_t>(block.width);
    auto* maximum = scratch.take<float>(block.width);
    auto* total = scratch.take<float>(block.width);
    auto* out = scratch.take<float>(block.width * block.depth);
    auto* rows = scratch.take<Word>(block.width * words);
    auto* queries = scratch.take<Word>(block.width * words);   // (depth, width)
    auto* scores = scratch.take<float>((tile + 1) * chunk_lanes);
    auto* weights = Kind::pair == 1 ? reinterpret_cast<Word*>(scores) : scratch.take<Word>(tile * chunk_lanes);
    const KeyTile<Kind> keys(scratch, tile, block.depth);
    const KeyTile<Kind> values(scratch, tile, block.depth);
    float factor[chunk_lanes];

    block.fill_visible(visible);
    block.load_rows<Kind>(rows, head.query, head.query_stride);
    transpose(queries, rows, block.width, words);
    for (int64_t lane = 0; lane < block.width; ++lane) {
        maximum[lane] = -infinity;
        total[lane] = 0;
    }
    const int64_t last_key = range_of(visible, block.width).most;
    for (int64_t first = 0; first < last_key; first += tile) {
        const int64_t tile_end = first + tile < last_key ? first + tile : last_key;
        keys.load(head.key, head.key_stride, first, tile_end, head.head_dim, block.depth);
        values.load(head.value, head.key_stride, first, tile_end, head.head_dim, block.depth);
        for (int64_t lane = 0; lane < block.width; lane += chunk_lanes) {
            const int64_t chunk = block.width - lane < chunk_lanes ? block.width - lane : chunk_lanes;
            const Range seen = range_of(visible + lane, chunk);
            const int64_t count = (seen.most < tile_end ? seen.most : tile_end) - first;
            if (count <= 0) continue;
            product<Kind>(scores, chunk_lanes, count, chunk, keys.rows, words, 1, queries + lane, block.width, words,
                          false);
            soften<Kind>(scores, weights, count, chunk, log2_scale, visible + lane, first, seen.least < first + count,
                         maximum + lane, total + lane, factor);
            float* sums = out + lane * block.depth;
            if (first > 0)
                for (int64_t i = 0; i < chunk; ++i)
                    if (factor[i] != 1) scale_vector(sums + i * block.depth, block.depth, factor[i]);
            product<Kind>(sums, block.depth, chunk, block.depth, weights, 1, chunk_lanes, values.pairs, block.depth,
                          (count + Kind::pair - 1) / Kind::pair, first > 0);
        }
    }
    auto* to = static_cast<typename Kind::Element*>(task.out);
    block.for_lanes(0, block.width, [&](int64_t lane, int64_t query, int64_t member) {
        store_row(to + query * task.out_stride + member * head.head_dim, out + lane * block.depth, head.head_dim,
                  1 / total[lane]);
        if (task.lse)
            task.lse[query * task.lse_stride + member] = maximum[lane] * log2_scale + __builtin_log2f(total[lane]);
    });
}

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
