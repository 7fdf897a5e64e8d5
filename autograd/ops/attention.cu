#include "autograd/cuda/attention.h"
#include "autograd/cuda/device.h"
#include "autograd/ops/attention_cuda.h"
#include "autograd/ops/attention_heads.h"

namespace trainer {

namespace {

using namespace cuda;
using std::int64_t;

constexpr int warps = 4;
constexpr int threads = warps * warp_size;
constexpr int tile_keys = warp_size;   // a lane has a key
constexpr float no_score = -INFINITY;

// Queries of a tile: fewer of long heads, so that what a block holds fits into the 99 KiB that every GPU gives it.
constexpr int tile_queries(int head_dim) { return head_dim > 128 ? 8 : 16; }
// Keys of a tile whose gradients are summed, for the same reason; lanes beyond have none.
constexpr int gradient_keys(int head_dim) { return head_dim > 128 ? tile_keys / 2 : tile_keys; }

// A tile of rows as f32; rows at and past `end` are 0. Rows are `pitch` apart: one more than their length, so that
// lanes that read a column each find it in another bank.
template <typename Element>
__device__ void load_tile(float* tile, int pitch, Rows<const Element> rows, int64_t column, int64_t begin, int64_t end,
                          int count, int head_dim) {
    for (int i = static_cast<int>(threadIdx.x); i < count * head_dim; i += threads) {
        const int row = i / head_dim, d = i % head_dim;
        tile[row * pitch + d] = begin + row < end ? to_float(rows.row(begin + row)[column + d]) : 0.0f;
    }
}

__device__ inline float dot(const float* a, const float* b, int count) {
    float sum = 0;
    for (int d = 0; d < count; ++d) sum += a[d] * b[d];
    return sum;
}

// A block has a tile of queries of head blockIdx.y, a warp every fourth of its queries.
template <typename Element>
__global__ void forward_kernel(Heads<Element> heads, Rows<Element> out, float* lse, int64_t lse_stride) {
    const int dim = heads.head_dim, pitch = dim + 1, tile = tile_queries(dim);
    const int head = static_cast<int>(blockIdx.y);
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    float* queries = shared_memory<float>();
    float* sums = queries + tile * pitch;
    float* keys = sums + tile * pitch;
    float* values = keys + tile_keys * pitch;
    float* weights = values + tile_keys * pitch;
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile;
    const int64_t end = begin + tile < heads.queries ? begin + tile : heads.queries;
    load_tile(queries, pitch, heads.query, static_cast<int64_t>(head) * dim, begin, end, tile, dim);
    for (int i = static_cast<int>(threadIdx.x); i < tile * pitch; i += threads) sums[i] = 0;
    float largest[4], total[4];
    for (int r = 0; r < 4; ++r) {
        largest[r] = no_score;
        total[r] = 0;
    }
    const int64_t column = static_cast<int64_t>(head / heads.group) * dim;
    const int64_t last_key = heads.end_key(end - 1);
    for (int64_t first = heads.first_key(begin); first < last_key; first += tile_keys) {
        __syncthreads();
        load_tile(keys, pitch, heads.key, column, first, last_key, tile_keys, dim);
        load_tile(values, pitch, heads.value, column, first, last_key, tile_keys, dim);
        __syncthreads();
        for (int r = 0; r * warps + warp < tile; ++r) {
            const int row = r * warps + warp;
            const float score = heads.sees(begin + row, first + lane)
                                    ? dot(queries + row * pitch, keys + lane * pitch, dim) * heads.scale
                                    : no_score;
            const float now = fmaxf(largest[r], warp_max(score));
            if (now == no_score) continue;
            const float shrink = exp2f(largest[r] - now), weight = exp2f(score - now);
            largest[r] = now;
            total[r] = total[r] * shrink + warp_sum(weight);
            weights[row * tile_keys + lane] = weight;
            __syncwarp();
            for (int d = lane; d < dim; d += warp_size) {
                float sum = sums[row * pitch + d] * shrink;
                for (int key = 0; key < tile_keys; ++key)
                    sum += weights[row * tile_keys + key] * values[key * pitch + d];
                sums[row * pitch + d] = sum;
            }
            __syncwarp();
        }
    }
    for (int r = 0; r * warps + warp < tile; ++r) {
        const int row = r * warps + warp;
        if (begin + row >= end) continue;
        Element* to = out.row(begin + row) + static_cast<int64_t>(head) * dim;
        for (int d = lane; d < dim; d += warp_size) to[d] = Element(sums[row * pitch + d] / total[r]);
        if (lse && lane == 0) lse[(begin + row) * lse_stride + head] = largest[r] + log2f(total[r]);
    }
}

// A warp for each row and head.
template <typename Element>
__global__ void delta_kernel(Rows<const Element> out, Rows<const Element> dout, Rows<float> delta, int heads, int dim) {
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    for (int head = warp; head < heads; head += warps) {
        const Element* a = out.row(blockIdx.x) + static_cast<int64_t>(head) * dim;
        const Element* b = dout.row(blockIdx.x) + static_cast<int64_t>(head) * dim;
        float sum = 0;
        for (int d = lane; d < dim; d += warp_size) sum += to_float(a[d]) * to_float(b[d]);
        sum = warp_sum(sum);
        if (lane == 0) delta.row(blockIdx.x)[head] = sum;
    }
}

struct Share {
    float weight;   // of a key for a query
    float dscore;   // the gradient of q · k
};

// Of one query and key of two tiles.
template <typename Element>
__device__ Share share_of(const AttentionGradients<Element>& p, int64_t query, int64_t key, int head, const float* q,
                          const float* dout, const float* k, const float* v) {
    if (!p.heads.sees(query, key)) return {0, 0};
    const int dim = p.heads.head_dim;
    const float weight = exp2f(dot(q, k, dim) * p.heads.scale - p.lse.row(query)[head]);
    return {weight, weight * (dot(dout, v, dim) - p.delta.row(query)[head]) * p.scale};
}

// dq: a block has a tile of queries of head blockIdx.y, as in forward_kernel.
template <typename Element>
__global__ void query_gradient_kernel(AttentionGradients<Element> p) {
    const int dim = p.heads.head_dim, pitch = dim + 1, tile = tile_queries(dim);
    const int head = static_cast<int>(blockIdx.y);
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    float* queries = shared_memory<float>();
    float* gradients = queries + tile * pitch;
    float* sums = gradients + tile * pitch;
    float* keys = sums + tile * pitch;
    float* values = keys + tile_keys * pitch;
    float* dscores = values + tile_keys * pitch;
    const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile;
    const int64_t end = begin + tile < p.heads.queries ? begin + tile : p.heads.queries;
    const int64_t query_column = static_cast<int64_t>(head) * dim;
    load_tile(queries, pitch, p.heads.query, query_column, begin, end, tile, dim);
    load_tile(gradients, pitch, p.dout, query_column, begin, end, tile, dim);
    for (int i = static_cast<int>(threadIdx.x); i < tile * pitch; i += threads) sums[i] = 0;
    const int64_t column = static_cast<int64_t>(head / p.heads.group) * dim;
    const int64_t last_key = p.heads.end_key(end - 1);
    for (int64_t first = p.heads.first_key(begin); first < last_key; first += tile_keys) {
        __syncthreads();
        load_tile(keys, pitch, p.heads.key, column, first, last_key, tile_keys, dim);
        load_tile(values, pitch, p.heads.value, column, first, last_key, tile_keys, dim);
        __syncthreads();
        for (int row = warp; row < tile; row += warps) {
            dscores[row * tile_keys + lane] =
                share_of(p, begin + row, first + lane, head, queries + row * pitch, gradients + row * pitch,
                         keys + lane * pitch, values + lane * pitch)
                    .dscore;
            __syncwarp();
            for (int d = lane; d < dim; d += warp_size) {
                float sum = sums[row * pitch + d];
                for (int key = 0; key < tile_keys; ++key) sum += dscores[row * tile_keys + key] * keys[key * pitch + d];
                sums[row * pitch + d] = sum;
            }
            __syncwarp();
        }
    }
    for (int row = warp; row < tile && begin + row < end; row += warps)
        for (int d = lane; d < dim; d += warp_size)
            p.dquery.row(begin + row)[query_column + d] = Element(sums[row * pitch + d]);
}

// dk, dv: a block has a tile of keys of key head blockIdx.y and walks over the queries that see them, head by head.
template <typename Element>
__global__ void key_gradient_kernel(AttentionGradients<Element> p) {
    const int dim = p.heads.head_dim, pitch = dim + 1, tile = tile_queries(dim), count = gradient_keys(dim);
    const int kv_head = static_cast<int>(blockIdx.y);
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    float* keys = shared_memory<float>();
    float* values = keys + count * pitch;
    float* key_sums = values + count * pitch;
    float* value_sums = key_sums + count * pitch;
    float* queries = value_sums + count * pitch;
    float* gradients = queries + tile * pitch;
    float* weights = gradients + tile * pitch;
    float* dscores = weights + tile * tile_keys;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * count;
    const int64_t past = first + count < p.heads.keys ? first + count : p.heads.keys;
    const int64_t column = static_cast<int64_t>(kv_head) * dim;
    load_tile(keys, pitch, p.heads.key, column, first, past, count, dim);
    load_tile(values, pitch, p.heads.value, column, first, past, count, dim);
    for (int i = static_cast<int>(threadIdx.x); i < 2 * count * pitch; i += threads) key_sums[i] = 0;
    const int64_t first_query = p.heads.causal ? first : p.heads.spans[2 * first];
    const int64_t last_query = p.heads.spans[2 * (past - 1) + 1];
    for (int head = kv_head * p.heads.group; head < (kv_head + 1) * p.heads.group; ++head)
        for (int64_t begin = first_query; begin < last_query; begin += tile) {
            const int64_t query_column = static_cast<int64_t>(head) * dim;
            __syncthreads();
            load_tile(queries, pitch, p.heads.query, query_column, begin, last_query, tile, dim);
            load_tile(gradients, pitch, p.dout, query_column, begin, last_query, tile, dim);
            __syncthreads();
            for (int row = warp; row < tile; row += warps) {
                if (lane >= count) continue;
                const Share share = share_of(p, begin + row, first + lane, head, queries + row * pitch,
                                             gradients + row * pitch, keys + lane * pitch, values + lane * pitch);
                weights[row * tile_keys + lane] = share.weight;
                dscores[row * tile_keys + lane] = share.dscore;
            }
            __syncthreads();
            for (int key = warp; key < count; key += warps)
                for (int d = lane; d < dim; d += warp_size) {
                    float of_key = key_sums[key * pitch + d], of_value = value_sums[key * pitch + d];
                    for (int row = 0; row < tile; ++row) {
                        of_key += dscores[row * tile_keys + key] * queries[row * pitch + d];
                        of_value += weights[row * tile_keys + key] * gradients[row * pitch + d];
                    }
                    key_sums[key * pitch + d] = of_key;
                    value_sums[key * pitch + d] = of_value;
                }
        }
    for (int key = warp; key < count && first + key < past; key += warps)
        for (int d = lane; d < dim; d += warp_size) {
            p.dkey.row(first + key)[column + d] = Element(key_sums[key * pitch + d]);
            p.dvalue.row(first + key)[column + d] = Element(value_sums[key * pitch + d]);
        }
}

Grid grid_for(int64_t rows, int tile, int heads, int floats) {
    return {.blocks = (rows + tile - 1) / tile,
            .threads = threads,
            .shared_bytes = static_cast<std::size_t>(floats) * sizeof(float),
            .blocks_y = heads};
}

void attention_deltas(Cuda place, const Tensor& out, const Tensor& dout, const AttentionShape& shape, Tensor& delta) {
    with_element(out.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, {.blocks = out.rows(), .threads = threads}, delta_kernel<Element>, rows_of<const Element>(out),
               rows_of<const Element>(dout), rows_of<float>(delta), shape.heads, shape.head_dim);
    });
}

}   // namespace

void attention_forward(Cuda place, const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer,
                       const Tensor& scratch, Tensor& out, Tensor& lse) {
    if (cuda::library_attention_forward(qkv, layout, shape, scratch, out, lse)) return;
    check(shape.head_dim <= 256, "attention: head_dim {} is more than 256", shape.head_dim);
    float* const sums = lse.defined() ? lse.data<float>() : nullptr;
    const int64_t stride = lse.defined() ? lse.stride() : 0;
    const int pitch = shape.head_dim + 1, tile = tile_queries(shape.head_dim);
    const int floats = 2 * (tile + tile_keys) * pitch + tile * tile_keys;
    with_element(qkv.dtype(), [&](auto element) {
        using Element = decltype(element);
        if constexpr (sizeof(Element) == 2)
            if (has_matrix_kernel(shape.head_dim))
                return attention_forward_mma(place, heads_of<Element>(qkv, layout, shape, layer), shape.heads,
                                             rows_of<Element>(out), sums, stride);
        launch(place, grid_for(qkv.rows(), tile, shape.heads, floats), forward_kernel<Element>,
               heads_of<Element>(qkv, layout, shape, layer), rows_of<Element>(out), sums, stride);
    });
}

void attention_backward(Cuda place, const Tensor& qkv, const Layout& layout, const AttentionShape& shape,
                        const Tensor& out, const Tensor& lse, const Tensor& dout, const Tensor& scratch, Tensor& delta,
                        Tensor&, Tensor& dqkv) {
    if (cuda::library_attention_backward(qkv, layout, shape, out, lse, dout, scratch, dqkv)) return;
    attention_deltas(place, out, dout, shape, delta);
    const int pitch = shape.head_dim + 1, tile = tile_queries(shape.head_dim);
    const int query_floats = (3 * tile + 2 * tile_keys) * pitch + tile * tile_keys;
    const int count = gradient_keys(shape.head_dim);
    const int key_floats = (2 * tile + 4 * count) * pitch + 2 * tile * tile_keys;
    with_element(qkv.dtype(), [&](auto element) {
        using Element = decltype(element);
        const auto parameters = gradients_of<Element>(qkv, layout, shape, dout, lse, delta, dqkv);
        if constexpr (sizeof(Element) == 2)
            if (has_matrix_kernel(shape.head_dim))
                return attention_backward_mma(place, parameters, shape.heads, shape.kv_heads);
        launch(place, grid_for(qkv.rows(), tile, shape.heads, query_floats), query_gradient_kernel<Element>,
               parameters);
        launch(place, grid_for(qkv.rows(), count, shape.kv_heads, key_floats), key_gradient_kernel<Element>,
               parameters);
    });
}

}   // namespace trainer
