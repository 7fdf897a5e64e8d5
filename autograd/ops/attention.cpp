#include "autograd/ops/attention.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "autograd/cpu/attention_block.h"
#include "autograd/cpu/rows.h"
#include "autograd/cuda/attention.h"
#include "autograd/ops/attention_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::int64_t;

// The kernels for the instruction set in use and the dtype.
#define TRAINER_PICK_BY_DTYPE(kernel, dtype) \
    ((dtype) == DType::bf16 && isa() >= Isa::v4bf16 ? v4bf16::kernel : TRAINER_PICK(kernel))

void check_inputs(const Tensor& qkv, const Layout& layout, const AttentionShape& shape) {
    check(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "attention: {} heads on {} key heads", shape.heads,
          shape.kv_heads);
    check(shape.head_dim > 0 && shape.head_dim % 2 == 0, "attention: head_dim {} is not even", shape.head_dim);
    check(shape.scale > 0, "attention: scale {}", shape.scale);
    require_computable("attention", qkv);
    const int64_t columns = int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim;
    check(qkv.rows() == layout.tokens() && qkv.columns() == columns, "attention: qkv {}, expected ({}, {})",
          qkv.shape().text(), layout.tokens(), columns);
}

// Scratch for each thread of the parallel regions below; on a device the room of its library.
Tensor scratch_for(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, bool backward) {
    const Place place = qkv.place();
    const PurposeScope purpose(Purpose::workspace);
    if (place.on_device()) {
        const cuda::AttentionCalls calls = cuda::attention_calls(layout, shape, qkv.dtype(), qkv.stride());
        return Tensor::empty(static_cast<int64_t>(cuda::attention_room_bytes(calls, shape, backward)), DType::u8,
                             place);
    }
    return Tensor::empty({omp_get_max_threads(), attention_scratch(shape.heads / shape.kv_heads, shape.head_dim)},
                         DType::f32, place);
}
float* own_scratch(const Tensor& scratch) { return scratch.data<float>() + omp_get_thread_num() * scratch.stride(); }

template <typename Byte>
Byte* moved(Byte* pointer, int64_t elements, DType dtype) {
    return pointer + elements * static_cast<int64_t>(size_of(dtype));
}

// Key head `kv` of document `document` of packed qkv.
AttentionHead head_of(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int64_t document, int kv) {
    const int64_t begin = layout.offsets[static_cast<std::size_t>(document)];
    const int64_t tokens = layout.offsets[static_cast<std::size_t>(document) + 1] - begin;
    const int group = shape.heads / shape.kv_heads;
    const std::byte* row = row_of(qkv, begin);
    AttentionHead head{};
    head.query = moved(row, int64_t{kv} * group * shape.head_dim, qkv.dtype());
    head.key = moved(row, int64_t{shape.heads + kv} * shape.head_dim, qkv.dtype());
    head.value = moved(row, int64_t{shape.heads + shape.kv_heads + kv} * shape.head_dim, qkv.dtype());
    head.query_stride = head.key_stride = qkv.stride();
    head.queries = head.keys = tokens;
    head.group = group;
    head.head_dim = shape.head_dim;
    head.causal = layout.kind == Layout::Kind::causal;
    head.scale = shape.scale;
    head.dtype = qkv.dtype();
    return head;
}

// The new keys and values join the cache, and all of it is what the queries see.
AttentionHead cached_head(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer, int kv) {
    const KvCache& cache = *layout.cache;
    AttentionHead head = head_of(qkv, layout, shape, 0, kv);
    const auto index = static_cast<std::size_t>(layer);
    head.key = moved(row_of(cache.keys[index], 0), int64_t{kv} * shape.head_dim, qkv.dtype());
    head.value = moved(row_of(cache.values[index], 0), int64_t{kv} * shape.head_dim, qkv.dtype());
    head.key_stride = cache.keys[index].stride();
    head.keys = cache.length + head.queries;
    return head;
}

void append_to_cache(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer) {
    KvCache& cache = *layout.cache;
    const auto index = static_cast<std::size_t>(layer);
    check(layout.documents() == 1, "attention: {} documents with a cache", layout.documents());
    check(index < cache.keys.size() && index < cache.values.size(), "attention: layer {} of a cache of {}", layer,
          cache.keys.size());
    Tensor& keys = cache.keys[index];
    Tensor& values = cache.values[index];
    check(keys.dtype() == qkv.dtype() && values.dtype() == qkv.dtype() && keys.stride() == values.stride(),
          "attention: the cache's keys and values do not go with qkv");
    const int64_t end = cache.length + qkv.rows();
    check(end <= cache.capacity, "attention: {} tokens in a cache of {}", end, cache.capacity);
    const int64_t width = int64_t{shape.kv_heads} * shape.head_dim;
    const int64_t first = int64_t{shape.heads} * shape.head_dim;
    Tensor new_keys = keys.row_range(cache.length, end);
    Tensor new_values = values.row_range(cache.length, end);
    copy(qkv.column_range(first, first + width), new_keys);
    copy(qkv.column_range(first + width, first + 2 * width), new_values);
}

// A block of queries, or of keys, of one head.
struct Task {
    int64_t head;
    int64_t block;
};

// out (N, A·D); lse (N, A), or undefined when nothing is saved.
void attention_forward(Cpu, const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer,
                       const Tensor& scratch, Tensor& out, Tensor& lse) {
    const int group = shape.heads / shape.kv_heads;
    const int64_t block = attention_queries(group);
    std::vector<AttentionForward> heads;
    std::vector<Task> tasks;
    for (int64_t document = 0; document < layout.documents(); ++document) {
        const auto first_head = static_cast<int64_t>(heads.size());
        const int64_t begin = layout.offsets[static_cast<std::size_t>(document)];
        for (int kv = 0; kv < shape.kv_heads; ++kv)
            heads.push_back(
                {layout.cache ? cached_head(qkv, layout, shape, layer, kv) : head_of(qkv, layout, shape, document, kv),
                 moved(row_of(out, begin), int64_t{kv} * group * shape.head_dim, out.dtype()), out.stride(),
                 lse.defined() ? lse.data<float>() + begin * lse.stride() + kv * group : nullptr,
                 lse.defined() ? lse.stride() : 0});
        const int64_t blocks = (heads.back().head.queries + block - 1) / block;
        for (int64_t index = blocks - 1; index >= 0; --index)   // the longest first
            for (int kv = 0; kv < shape.kv_heads; ++kv) tasks.push_back({first_head + kv, index});
    }
    const auto& kernel = TRAINER_PICK_BY_DTYPE(attention_forward_block, qkv.dtype());
#pragma omp parallel for schedule(dynamic)
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        const AttentionForward& task = heads[static_cast<std::size_t>(tasks[i].head)];
        const int64_t begin = tasks[i].block * block;
        kernel(task, begin, std::min(begin + block, task.head.queries), own_scratch(scratch));
    }
}

void attention_deltas(const Tensor& out, const Tensor& dout, const AttentionShape& shape, Tensor& delta) {
    const auto& kernel = TRAINER_PICK(attention_delta);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < out.rows(); ++n)
        kernel(row_of(out, n), row_of(dout, n), out.dtype(), shape.heads, shape.head_dim,
               delta.data<float>() + n * delta.stride());
}

// dqkv from dout. delta (N, A) f32 is for the sums of out and dout. dq (N, A·D) f32 holds the sums of query gradients;
// it is the first columns of dqkv when that is f32.
//
// One task is a block of keys of one head; it walks over the blocks of queries that see these keys. Several tasks add
// to the gradient of the same queries, in the order of their keys: a task waits until the one before it is done with
// the block of queries. Tasks are taken in that order, so the first unfinished one never waits.
void attention_backward(Cpu, const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& out,
                        const Tensor& lse, const Tensor& dout, const Tensor& scratch, Tensor& delta, Tensor& dq,
                        Tensor& dqkv) {
    attention_deltas(out, dout, shape, delta);
    const int group = shape.heads / shape.kv_heads;
    const int64_t query_block = attention_queries(group);
    const int64_t key_block = attention_backward_keys;
    const int64_t head_columns = shape.head_dim;
    std::vector<AttentionBackward> heads;
    std::vector<int64_t> first_block;   // of a head among the counters
    std::vector<Task> tasks;
    int64_t query_blocks = 0;
    for (int64_t document = 0; document < layout.documents(); ++document) {
        const auto first_head = static_cast<int64_t>(heads.size());
        const int64_t begin = layout.offsets[static_cast<std::size_t>(document)];
        const int64_t tokens = layout.offsets[static_cast<std::size_t>(document) + 1] - begin;
        std::byte* gradient = row_of(dqkv, begin);
        for (int kv = 0; kv < shape.kv_heads; ++kv) {
            const int64_t query_column = kv * group * head_columns;
            heads.push_back(
                {head_of(qkv, layout, shape, document, kv), moved(row_of(dout, begin), query_column, dout.dtype()),
                 dout.stride(), lse.data<float>() + begin * lse.stride() + kv * group,
                 delta.data<float>() + begin * delta.stride() + kv * group, lse.stride(),
                 dq.data<float>() + begin * dq.stride() + query_column, dq.stride(),
                 moved(gradient, query_column, dqkv.dtype()),
                 moved(gradient, (shape.heads + kv) * head_columns, dqkv.dtype()),
                 moved(gradient, (shape.heads + shape.kv_heads + kv) * head_columns, dqkv.dtype()), dqkv.stride()});
            first_block.push_back(query_blocks);
            query_blocks += (tokens + query_block - 1) / query_block;
        }
        for (int64_t index = 0; index * key_block < tokens; ++index)
            for (int kv = 0; kv < shape.kv_heads; ++kv) tasks.push_back({first_head + kv, index});
    }
    const auto& begin_keys = TRAINER_PICK_BY_DTYPE(attention_backward_begin, qkv.dtype());
    const auto& step = TRAINER_PICK_BY_DTYPE(attention_backward_step, qkv.dtype());
    const auto& finish_keys = TRAINER_PICK_BY_DTYPE(attention_backward_finish, qkv.dtype());
    const auto blocks_added = std::make_unique<std::atomic<int64_t>[]>(static_cast<std::size_t>(query_blocks));
    std::atomic<std::size_t> next_task = 0;
#pragma omp parallel
    for (std::size_t i = next_task++; i < tasks.size(); i = next_task++) {
        const auto [head, index] = tasks[i];
        const AttentionBackward& task = heads[static_cast<std::size_t>(head)];
        const int64_t key_begin = index * key_block;
        const int64_t key_end = std::min(key_begin + key_block, task.head.keys);
        float* own = own_scratch(scratch);
        begin_keys(task, key_begin, key_end, own);
        const int64_t first = task.head.causal ? key_begin / query_block : 0;
        for (int64_t queries = first; queries * query_block < task.head.queries; ++queries) {
            std::atomic<int64_t>& added =
                blocks_added[static_cast<std::size_t>(first_block[static_cast<std::size_t>(head)] + queries)];
            while (added.load(std::memory_order_acquire) != index) std::this_thread::yield();
            const int64_t begin = queries * query_block;
            const int64_t end = std::min(begin + query_block, task.head.queries);
            const bool last = key_end == task.head.keys || (task.head.causal && end <= key_end);
            step(task, key_begin, key_end, begin, end, last, own);
            added.store(index + 1, std::memory_order_release);
        }
        finish_keys(task, key_begin, key_end, own);
    }
}

Tensor backward_of(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& out,
                   const Tensor& lse, const Tensor& dout) {
    Tensor dqkv = Tensor::empty(qkv.shape(), qkv.dtype(), qkv.place());
    const Tensor scratch = scratch_for(qkv, layout, shape, true);
    const PurposeScope purpose(Purpose::workspace);
    Tensor delta = Tensor::empty(lse.shape(), DType::f32, qkv.place());
    const int64_t query_columns = int64_t{shape.heads} * shape.head_dim;
    Tensor dq;   // the sums of the CPU
    if (!qkv.place().on_device())
        dq = qkv.dtype() == DType::f32 ? dqkv.column_range(0, query_columns)
                                       : Tensor::empty(out.shape(), DType::f32, qkv.place());
    Tensor gradient = dout;
    if (qkv.place().on_device() && !dout.contiguous()) {   // a device's library wants it so
        gradient = Tensor::empty(dout.shape(), dout.dtype(), dout.place());
        copy(dout, gradient);
    }
    on(qkv.place(), [&](auto place) {
        attention_backward(place, qkv, layout, shape, out, lse, gradient, scratch, delta, dq, dqkv);
    });
    return dqkv;
}

}   // namespace

std::int64_t attention_scratch(int group, int head_dim) {
    const int64_t depth = (head_dim + 15) / 16 * 16;
    const int64_t width = (attention_queries(group) * group + 15) / 16 * 16;
    const int64_t chunk = 32;
    const int64_t forward =
        3 * width + 3 * width * depth + (2 * attention_forward_keys + 2) * chunk + 4 * attention_forward_keys * depth;
    const int64_t keys = attention_backward_keys;
    const int64_t backward =
        6 * keys * depth + 3 * width + 6 * width * depth + 3 * keys * chunk + 2 * keys * width + chunk * depth;
    return std::max(forward, backward) + 32 * 16;   // pieces begin at multiples of 16
}

Tensor attention(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer) {
    check_inputs(qkv, layout, shape);
    const OpCall call({"attention"}, {&qkv});
    if (layout.cache) {
        refuse_gradient("attention with a cache", {&qkv});
        append_to_cache(qkv, layout, shape, layer);
    }
    Tensor out = Tensor::empty({qkv.rows(), int64_t{shape.heads} * shape.head_dim}, qkv.dtype(), qkv.place());
    Tensor lse;
    if (call.recorded()) lse = Tensor::empty({qkv.rows(), shape.heads}, DType::f32, qkv.place());
    {
        const Tensor scratch = scratch_for(qkv, layout, shape, false);
        on(qkv.place(), [&](auto place) { attention_forward(place, qkv, layout, shape, layer, scratch, out, lse); });
    }
    call.made({&out}, [qkv, layout, shape, saved = out.detached(), lse](std::span<Tensor> dout, Gradients& gradients) {
        gradients.add(qkv, backward_of(qkv, layout, shape, saved, lse, dout[0]));
    });
    return out;
}

}   // namespace trainer
