#include "autograd/cuda/attention.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>

#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/document_offsets.h"
#include "autograd/cuda/runtime.h"

namespace trainer::cuda {

namespace {

using std::int64_t;

// A call takes as many documents as fit into the first, and a key head of a long document what it needs up to the
// second.
int64_t comfortable_bytes = comfortable_attention_room;
constexpr int64_t largest_bytes = int64_t{4} << 30;

// Few lengths, so that few plans are made: 128 · 1, 2, 3, 4, 6, 8, 12, 16, …
int64_t rounded_length(int64_t tokens) {
    const int64_t blocks = std::max<int64_t>((tokens + 127) / 128, 1);
    const auto power = static_cast<int64_t>(std::bit_ceil(static_cast<std::uint64_t>(blocks)));
    return 128 * (power >= 4 && blocks <= power / 4 * 3 ? power / 4 * 3 : power);
}

int64_t rounded_batch(int64_t documents) {
    return static_cast<int64_t>(std::bit_ceil(static_cast<std::uint64_t>(documents)));
}

// What the library asks for besides its buffers, forward too.
int64_t small_change(int64_t batch) { return (int64_t{64} << 10) + (int64_t{4} << 10) * batch; }

int major_capability() { return opened_device() ? opened_device()->major : 9; }

int64_t backward_bytes(int64_t batch, int64_t longest, int64_t heads, int head_dim) {
    const int64_t of_a_query = major_capability() == 10 ? int64_t{8} * head_dim : 2 * longest + int64_t{4} * head_dim;
    return batch * heads * longest * (of_a_query + 4) + small_change(batch);
}

bool of_one_length(const Layout& layout) {
    const int64_t tokens = layout.tokens_of(0);
    for (int64_t document = 1; document < layout.documents(); ++document)
        if (layout.tokens_of(document) != tokens) return false;
    return tokens > 0 && tokens % 128 == 0;
}

int64_t longest_of(const Layout& layout) {
    int64_t longest = 0;
    for (int64_t document = 0; document < layout.documents(); ++document)
        longest = std::max(longest, layout.tokens_of(document));
    return longest;
}

// What the device and the library can do.
struct Ability {
    bool any = false;
    bool several_lengths = false;   // backward, deterministic
    int head_dim = 0;               // at most, backward
};

Ability ability() {
    const int major = major_capability();
    if (opened_device() && !cudnn_is_there()) return {};
    return {true, major == 9 || major == 10, major == 9 ? 256 : 128};
}

// Documents [first, end) of the table, of at most `longest` tokens each, for all heads if one document fits so, else a
// document and some heads at a time. False when a single key head does not fit.
bool add_backward(AttentionCalls& calls, int64_t first, int64_t end, int64_t longest, const AttentionShape& shape) {
    const int group = shape.heads / shape.kv_heads;
    const auto fits = [&](int64_t batch, int kv_heads, int64_t limit) {
        return backward_bytes(batch, longest, int64_t{kv_heads} * group, shape.head_dim) <= limit;
    };
    int kv_heads = shape.kv_heads;
    while (kv_heads > 1 && !fits(1, kv_heads, comfortable_bytes)) --kv_heads;
    if (!fits(1, kv_heads, largest_bytes)) return false;
    int64_t together = 1;
    if (kv_heads == shape.kv_heads)
        while (together < end - first && fits(2 * together, kv_heads, comfortable_bytes)) together *= 2;
    for (int64_t next = first; next < end; next += together) {
        const int64_t documents = std::min(together, end - next);
        for (int kv = 0; kv < shape.kv_heads; kv += kv_heads)
            calls.backward.push_back({next, documents, calls.equal ? documents : rounded_batch(documents), longest, kv,
                                      std::min(kv_heads, shape.kv_heads - kv)});
    }
    return true;
}

// All at once if that fits; else each class of lengths by itself, so that short documents do not take a long one's
// room.
bool add_backward(AttentionCalls& calls, const Layout& layout, const AttentionShape& shape) {
    const int64_t documents = layout.documents();
    if (calls.equal) return add_backward(calls, 0, documents, layout.tokens_of(0), shape);
    const int64_t batch = rounded_batch(documents), longest = rounded_length(longest_of(layout));
    if (backward_bytes(batch, longest, shape.heads, shape.head_dim) <= comfortable_bytes)
        return add_backward(calls, 0, documents, longest, shape);
    for (int64_t first = 0, end = 0; first < documents; first = end) {
        const auto tokens = [&](int64_t index) {
            return layout.tokens_of(layout.by_length[static_cast<std::size_t>(index)]);
        };
        int64_t most = 0;
        for (end = first; end < documents && length_class(tokens(end)) == length_class(tokens(first)); ++end)
            most = std::max(most, tokens(end));
        if (!add_backward(calls, documents + first, documents + end, rounded_length(most), shape)) return false;
    }
    return true;
}

std::size_t rounded_bytes(int64_t bytes) { return static_cast<std::size_t>((bytes + 255) / 256 * 256); }

}   // namespace

AttentionCalls attention_calls(const Layout& layout, const AttentionShape& shape, DType dtype, int64_t stride) {
    const Ability able = ability();
    if (!able.any || size_of(dtype) != 2 || layout.cache || layout.tokens() == 0) return {};
    if (shape.head_dim % 8 != 0 || shape.head_dim > able.head_dim || stride % 8 != 0) return {};
    if (layout.tokens() * stride > std::numeric_limits<std::int32_t>::max()) return {};   // of 32-bit offsets
    AttentionCalls calls;
    calls.equal = of_one_length(layout);
    if (!calls.equal && !able.several_lengths) return {};
    if (!add_backward(calls, layout, shape)) return {};
    const int64_t documents = layout.documents();
    calls.forward.push_back({0, documents, calls.equal ? documents : rounded_batch(documents),
                             calls.equal ? layout.tokens_of(0) : rounded_length(longest_of(layout)), 0,
                             shape.kv_heads});
    return calls;
}

std::size_t attention_workspace_bytes(const AttentionCall& call, const AttentionShape& shape, bool backward) {
    const int64_t heads = int64_t{call.kv_heads} * (shape.heads / shape.kv_heads);
    return rounded_bytes(backward ? backward_bytes(call.batch, call.longest, heads, shape.head_dim)
                                  : small_change(call.batch));
}

std::size_t attention_offsets_bytes(const AttentionCalls& calls, const AttentionCall& call) {
    return calls.equal ? 0 : rounded_bytes(document_offsets_columns * document_offsets_column(call.batch) * 4);
}

void limit_attention_room(int64_t bytes) { comfortable_bytes = bytes; }

std::size_t attention_room_bytes(const AttentionCalls& calls, const AttentionShape& shape, bool backward) {
    std::size_t most = 0;
    for (const AttentionCall& call : backward ? calls.backward : calls.forward)
        most = std::max(most, attention_offsets_bytes(calls, call) + attention_workspace_bytes(call, shape, backward));
    return most;
}

}   // namespace trainer::cuda
