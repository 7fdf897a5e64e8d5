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

}   // namespace
}   // namespace trainer::TRAINER_ISA
