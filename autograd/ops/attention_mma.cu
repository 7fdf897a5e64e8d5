#include "autograd/cuda/ptx.h"
#include "autograd/ops/attention_heads.h"

// Attention in bf16 or f16 on the matrix units. A block has 64 queries (or keys) of one head, a warp 16 of them, and
// walks over tiles of the others in shared memory; scores and sums stay in registers in f32. Scores of a tile, rounded
// to that type, are at once the left factor of the next product: a lane has the same places of both. f16 holds them:
// weights are at most 1; gradients of scores come without the scale of the product, and one beyond 65504 is infinite,
// as is then what it is summed into.
namespace trainer::cuda {

namespace {

using std::int64_t;

constexpr int warps = 4;
constexpr int threads = warps * warp_size;
constexpr int block_rows = 16 * warps;
constexpr float no_score = -INFINITY;

// Rows of `depth` elements in shared memory, eight more apart: lanes that read a column each find it in another bank.
template <typename Element, int depth>
struct Tile {
    static constexpr int pitch = depth + 8;
    Element* rows;
    __device__ Element* row(int index) const { return rows + index * pitch; }
    static constexpr int elements(int count) { return count * pitch; }

    // Rows [begin, begin + count) of `from`; 0 at and past `end`, and in columns past the head's. `packs`: 16 bytes at
    // once, which rows and columns must allow.
    template <bool packs>
    __device__ void load(Rows<const Element> from, int64_t column, int64_t begin, int64_t end, int count,
                         int head_dim) const {
        constexpr int width = packs ? 8 : 1;
        for (int i = static_cast<int>(threadIdx.x); i < count * depth / width; i += threads) {
            const int r = i * width / depth, d = i * width % depth;
            Pack<Element, width> values{};
            if (begin + r < end && d < head_dim) values = cuda::load<width>(from.row(begin + r) + column + d);
            store<width>(row(r) + d, values);
        }
    }
};

template <typename Element>
__device__ std::uint32_t pair_at(const Element* from) {
    return *reinterpret_cast<const std::uint32_t*>(from);
}

// Left factor: rows r0 + …, columns k0 + ….
template <typename Element, int depth>
__device__ void load_left(std::uint32_t (&a)[4], Tile<Element, depth> tile, int r0, int k0) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
    a[0] = pair_at(tile.row(r0 + g) + k0 + 2 * t);
    a[1] = pair_at(tile.row(r0 + g + 8) + k0 + 2 * t);
    a[2] = pair_at(tile.row(r0 + g) + k0 + 2 * t + 8);
    a[3] = pair_at(tile.row(r0 + g + 8) + k0 + 2 * t + 8);
}

// c[j] (16, 8) += rows r0 … of `left` · rows 8 j … of `right`, transposed.
template <typename Element, int depth, int columns>
__device__ void multiply_by_rows(float (&c)[columns / 8][4], Tile<Element, depth> left, int r0,
                                 Tile<Element, depth> right) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
    for (int k = 0; k < depth; k += 16) {
        std::uint32_t a[4];
        load_left(a, left, r0, k);
#pragma unroll
        for (int j = 0; j < columns / 8; ++j) {
            const Element* row = right.row(8 * j + g) + k + 2 * t;
            const std::uint32_t b[2] = {pair_at(row), pair_at(row + 8)};
            multiply_add<Element>(c[j], a, b);
        }
    }
}

// sums[n] (16, 8) += scores (16, depth of the sum), rounded to Element, · columns 8 n … of `right`.
template <typename Element, int depth, int columns>
__device__ void multiply_scores(float (&sums)[depth / 8][4], const float (&scores)[columns / 8][4],
                                Tile<Element, depth> right) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll
    for (int k = 0; k < columns / 16; ++k) {
        const float(&low)[4] = scores[2 * k];
        const float(&high)[4] = scores[2 * k + 1];
        const std::uint32_t a[4] = {pair_of<Element>(low[0], low[1]), pair_of<Element>(low[2], low[3]),
                                    pair_of<Element>(high[0], high[1]), pair_of<Element>(high[2], high[3])};
#pragma unroll
        for (int n = 0; n < depth / 8; ++n) {
            std::uint32_t b[2];
            load_transposed(b, right.row(16 * k + lane % 16) + 8 * n);
            multiply_add<Element>(sums[n], a, b);
        }
    }
}

// Of the four lanes that have a row.
__device__ inline float row_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(all_lanes, value, 1));
    return fmaxf(value, __shfl_xor_sync(all_lanes, value, 2));
}
__device__ inline float row_sum(float value) {
    value += __shfl_xor_sync(all_lanes, value, 1);
    return value + __shfl_xor_sync(all_lanes, value, 2);
}

// Rows r0 + … of a tile of sums, times a factor for each of the lane's two rows.
template <typename Element, int depth>
__device__ void store_rows(const float (&sums)[depth / 8][4], const float (&factor)[2], Rows<Element> out, int64_t row,
                           int64_t end, int64_t column, int head_dim) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        if (row + g + 8 * half >= end) continue;
        Element* to = out.row(row + g + 8 * half) + column;
#pragma unroll
        for (int n = 0; n < depth / 8; ++n)
#pragma unroll
            for (int i = 0; i < 2; ++i)
                if (8 * n + 2 * t + i < head_dim) to[8 * n + 2 * t + i] = Element(sums[n][2 * half + i] * factor[half]);
    }
}

// The keys that a query attends to; nothing past the last query.
struct SeenKeys {
    int64_t first;
    int64_t end;
    __device__ bool has(int64_t key) const { return key >= first && key < end; }
};
template <typename Element>
__device__ SeenKeys seen_by(const Heads<Element>& heads, int64_t query) {
    if (query >= heads.queries) return {0, 0};
    return {heads.first_key(query), heads.end_key(query)};
}

constexpr int forward_keys = 64;

template <typename Element, int depth, bool packs>
__global__ void __launch_bounds__(threads)
    forward_kernel(Heads<Element> heads, Rows<Element> out, float* lse, int64_t lse_stride) {
    const int head = static_cast<int>(blockIdx.y), dim = heads.head_dim;
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    const int g = lane / 4, t = lane % 4;
    const Tile<Element, depth> queries{shared_memory<Element>()};
    const Tile<Element, depth> keys{queries.rows + Tile<Element, depth>::elements(block_rows)};
    const Tile<Element, depth> values{keys.rows + Tile<Element, depth>::elements(forward_keys)};
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * block_rows;
    const int64_t end = begin + block_rows < heads.queries ? begin + block_rows : heads.queries;
    const int64_t own = begin + 16 * warp;
    queries.template load<packs>(heads.query, static_cast<int64_t>(head) * dim, begin, end, block_rows, dim);
    const SeenKeys seen[2] = {seen_by(heads, own + g), seen_by(heads, own + g + 8)};
    float sums[depth / 8][4] = {};
    float largest[2] = {no_score, no_score}, total[2] = {};
    const int64_t column = static_cast<int64_t>(head / heads.group) * dim;
    const int64_t last_key = heads.end_key(end - 1);
    for (int64_t first = heads.first_key(begin); first < last_key; first += forward_keys) {
        __syncthreads();
        keys.template load<packs>(heads.key, column, first, last_key, forward_keys, dim);
        values.template load<packs>(heads.value, column, first, last_key, forward_keys, dim);
        __syncthreads();
        float scores[forward_keys / 8][4] = {};
        multiply_by_rows<Element, depth, forward_keys>(scores, queries, 16 * warp, keys);
        float now[2] = {largest[0], largest[1]};
#pragma unroll
        for (int j = 0; j < forward_keys / 8; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const bool there = seen[i / 2].has(first + 8 * j + 2 * t + i % 2);
                scores[j][i] = there ? scores[j][i] * heads.scale : no_score;
                now[i / 2] = fmaxf(now[i / 2], scores[j][i]);
            }
        float shrink[2], part[2] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            now[half] = row_max(now[half]);
            shrink[half] = now[half] == no_score ? 1.0f : exp2f(largest[half] - now[half]);
            largest[half] = now[half];
        }
#pragma unroll
        for (int j = 0; j < forward_keys / 8; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                scores[j][i] = now[i / 2] == no_score ? 0.0f : exp2f(scores[j][i] - now[i / 2]);
                part[i / 2] += scores[j][i];
            }
#pragma unroll
        for (int half = 0; half < 2; ++half) total[half] = total[half] * shrink[half] + row_sum(part[half]);
#pragma unroll
        for (int n = 0; n < depth / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[n][i] *= shrink[i / 2];
        multiply_scores<Element, depth, forward_keys>(sums, scores, values);
    }
    const float factor[2] = {1.0f / total[0], 1.0f / total[1]};
    store_rows<Element, depth>(sums, factor, out, own, end, static_cast<int64_t>(head) * dim, dim);
    if (!lse || t != 0) return;
#pragma unroll
    for (int half = 0; half < 2; ++half)
        if (own + g + 8 * half < end)
            lse[(own + g + 8 * half) * lse_stride + head] = largest[half] + log2f(total[half]);
}

constexpr int backward_columns = 32;   // of a tile of scores

// weights = 2^(scores - lse), dscores = weights (dweights - delta); rows or columns are queries.
struct Shares {
    float weights[backward_columns / 8][4];
    float dscores[backward_columns / 8][4];
};

struct QuerySums {
    float lse;
    float delta;
};
template <typename Element>
__device__ QuerySums sums_of(const AttentionGradients<Element>& p, int head, int64_t query) {
    if (query >= p.heads.queries) return {0, 0};
    return {p.lse.row(query)[head], p.delta.row(query)[head]};
}

__device__ inline void finish_share(float& weight, float& dscore, const QuerySums& query, bool seen, float scale) {
    weight = seen ? exp2f(weight * scale - query.lse) : 0.0f;
    dscore = weight * (dscore - query.delta);
}

// Rows are queries.
__device__ inline void finish_rows(Shares& shares, const QuerySums (&queries)[2], const SeenKeys (&seen)[2],
                                   int64_t first_key, float scale) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, t = lane % 4;
#pragma unroll
    for (int j = 0; j < backward_columns / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            finish_share(shares.weights[j][i], shares.dscores[j][i], queries[i / 2],
                         seen[i / 2].has(first_key + 8 * j + 2 * t + i % 2), scale);
}

// Columns are queries.
template <typename Element>
__device__ void finish_columns(Shares& shares, const AttentionGradients<Element>& p, int head, int64_t key,
                               int64_t first_query) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < backward_columns / 8; ++j)
#pragma unroll
        for (int column = 0; column < 2; ++column) {
            const int64_t query = first_query + 8 * j + 2 * t + column;
            const QuerySums sums = sums_of(p, head, query);
            const SeenKeys seen = seen_by(p.heads, query);
#pragma unroll
            for (int i = column; i < 4; i += 2)
                finish_share(shares.weights[j][i], shares.dscores[j][i], sums, seen.has(key + g + 8 * (i / 2)),
                             p.heads.scale);
        }
}

// dq: a block has 64 queries of a head and walks over keys.
template <typename Element, int depth, bool packs>
__global__ void __launch_bounds__(threads) query_gradient_kernel(AttentionGradients<Element> p) {
    const int head = static_cast<int>(blockIdx.y), dim = p.heads.head_dim;
    const int warp = static_cast<int>(threadIdx.x) / warp_size;
    const Tile<Element, depth> queries{shared_memory<Element>()};
    const Tile<Element, depth> gradients{queries.rows + Tile<Element, depth>::elements(block_rows)};
    const Tile<Element, depth> keys{gradients.rows + Tile<Element, depth>::elements(block_rows)};
    const Tile<Element, depth> values{keys.rows + Tile<Element, depth>::elements(backward_columns)};
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * block_rows;
    const int64_t end = begin + block_rows < p.heads.queries ? begin + block_rows : p.heads.queries;
    const int64_t query_column = static_cast<int64_t>(head) * dim;
    queries.template load<packs>(p.heads.query, query_column, begin, end, block_rows, dim);
    gradients.template load<packs>(p.dout, query_column, begin, end, block_rows, dim);
    const int64_t own = begin + 16 * warp + static_cast<int>(threadIdx.x) % warp_size / 4;
    const SeenKeys seen[2] = {seen_by(p.heads, own), seen_by(p.heads, own + 8)};
    const QuerySums own_sums[2] = {sums_of(p, head, own), sums_of(p, head, own + 8)};
    float sums[depth / 8][4] = {};
    const int64_t column = static_cast<int64_t>(head / p.heads.group) * dim;
    const int64_t last_key = p.heads.end_key(end - 1);
    for (int64_t first = p.heads.first_key(begin); first < last_key; first += backward_columns) {
        __syncthreads();
        keys.template load<packs>(p.heads.key, column, first, last_key, backward_columns, dim);
        values.template load<packs>(p.heads.value, column, first, last_key, backward_columns, dim);
        __syncthreads();
        Shares shares{};
        multiply_by_rows<Element, depth, backward_columns>(shares.weights, queries, 16 * warp, keys);
        multiply_by_rows<Element, depth, backward_columns>(shares.dscores, gradients, 16 * warp, values);
        finish_rows(shares, own_sums, seen, first, p.heads.scale);
        multiply_scores<Element, depth, backward_columns>(sums, shares.dscores, keys);
    }
    const float factor[2] = {p.scale, p.scale};
    store_rows<Element, depth>(sums, factor, p.dquery, begin + 16 * warp, end, query_column, dim);
}

// dk, dv: a block has 64 keys of a key head and walks over the queries that see them, head by head.
template <typename Element, int depth, bool packs>
__global__ void __launch_bounds__(threads) key_gradient_kernel(AttentionGradients<Element> p) {
    const int kv_head = static_cast<int>(blockIdx.y), dim = p.heads.head_dim;
    const int warp = static_cast<int>(threadIdx.x) / warp_size;
    const Tile<Element, depth> keys{shared_memory<Element>()};
    const Tile<Element, depth> values{keys.rows + Tile<Element, depth>::elements(block_rows)};
    const Tile<Element, depth> queries{values.rows + Tile<Element, depth>::elements(block_rows)};
    const Tile<Element, depth> gradients{queries.rows + Tile<Element, depth>::elements(backward_columns)};
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * block_rows;
    const int64_t end = begin + block_rows < p.heads.keys ? begin + block_rows : p.heads.keys;
    const int64_t column = static_cast<int64_t>(kv_head) * dim;
    keys.template load<packs>(p.heads.key, column, begin, end, block_rows, dim);
    values.template load<packs>(p.heads.value, column, begin, end, block_rows, dim);
    float key_sums[depth / 8][4] = {}, value_sums[depth / 8][4] = {};
    const int64_t first_query = p.heads.causal ? begin : p.heads.spans[2 * begin];
    const int64_t last_query = p.heads.spans[2 * (end - 1) + 1];
    for (int head = kv_head * p.heads.group; head < (kv_head + 1) * p.heads.group; ++head)
        for (int64_t first = first_query; first < last_query; first += backward_columns) {
            const int64_t query_column = static_cast<int64_t>(head) * dim;
            __syncthreads();
            queries.template load<packs>(p.heads.query, query_column, first, last_query, backward_columns, dim);
            gradients.template load<packs>(p.dout, query_column, first, last_query, backward_columns, dim);
            __syncthreads();
            Shares shares{};
            multiply_by_rows<Element, depth, backward_columns>(shares.weights, keys, 16 * warp, queries);
            multiply_by_rows<Element, depth, backward_columns>(shares.dscores, values, 16 * warp, gradients);
            finish_columns(shares, p, head, begin + 16 * warp, first);
            multiply_scores<Element, depth, backward_columns>(value_sums, shares.weights, gradients);
            multiply_scores<Element, depth, backward_columns>(key_sums, shares.dscores, queries);
        }
    const float one[2] = {1, 1}, scale[2] = {p.scale, p.scale};
    store_rows<Element, depth>(key_sums, scale, p.dkey, begin + 16 * warp, end, column, dim);
    store_rows<Element, depth>(value_sums, one, p.dvalue, begin + 16 * warp, end, column, dim);
}

// Whether heads can be read 16 bytes at a time.
template <typename Element>
bool in_packs(int head_dim, std::initializer_list<Rows<const Element>> all) {
    for (const Rows<const Element>& rows : all)
        if (rows.stride % 8 != 0 || reinterpret_cast<std::uintptr_t>(rows.data) % 16 != 0) return false;
    return head_dim % 8 == 0;
}

// Calls work(Width<depth>, bool_constant<packs>) for the least depth that holds the head.
template <typename Work>
void with_depth(int head_dim, bool packs, Work&& work) {
    const auto with_packs = [&](auto depth) {
        if (packs)
            work(depth, std::true_type());
        else
            work(depth, std::false_type());
    };
    if (head_dim <= 64)
        with_packs(Width<64>());
    else
        with_packs(Width<128>());
}

Grid grid_for(int64_t rows, int heads, int depth, int rows_in_all) {
    return {.blocks = (rows + block_rows - 1) / block_rows,
            .threads = threads,
            .shared_bytes = static_cast<std::size_t>(rows_in_all * (depth + 8)) * sizeof(std::uint16_t),
            .blocks_y = heads};
}

}   // namespace

template <typename Element>
void attention_forward_mma(Cuda place, const Heads<Element>& heads, int heads_in_all, Rows<Element> out, float* lse,
                           int64_t lse_stride) {
    const bool packs = in_packs<Element>(heads.head_dim, {heads.query, heads.key, heads.value});
    with_depth(heads.head_dim, packs, [&](auto depth, auto in_packs) {
        launch(place, grid_for(heads.queries, heads_in_all, depth, block_rows + 2 * forward_keys),
               forward_kernel<Element, depth, in_packs>, heads, out, lse, lse_stride);
    });
}

template <typename Element>
void attention_backward_mma(Cuda place, const AttentionGradients<Element>& parameters, int heads_in_all, int kv_heads) {
    const Heads<Element>& heads = parameters.heads;
    const bool packs = in_packs<Element>(heads.head_dim, {heads.query, heads.key, heads.value, parameters.dout});
    with_depth(heads.head_dim, packs, [&](auto depth, auto in_packs) {
        constexpr int rows = 2 * block_rows + 2 * backward_columns;
        launch(place, grid_for(heads.queries, heads_in_all, depth, rows),
               query_gradient_kernel<Element, depth, in_packs>, parameters);
        launch(place, grid_for(heads.keys, kv_heads, depth, rows), key_gradient_kernel<Element, depth, in_packs>,
               parameters);
    });
}

template void attention_forward_mma(Cuda, const Heads<bf16>&, int, Rows<bf16>, float*, int64_t);
template void attention_forward_mma(Cuda, const Heads<f16>&, int, Rows<f16>, float*, int64_t);
template void attention_backward_mma(Cuda, const AttentionGradients<bf16>&, int, int);
template void attention_backward_mma(Cuda, const AttentionGradients<f16>&, int, int);

}   // namespace trainer::cuda
