#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/layout.h"
#include "autograd/ops/attention.h"
#include "autograd/tensor.h"

// Attention by cuDNN: which shapes it computes, in how many calls, in how much memory. That depends on the shapes, the
// library's version and the device alone, so that a run that is resumed takes the same way. Where no device was opened
// the answer is for compute capability 9.0 with the library there: that is what a plan is made for.
namespace trainer::cuda {

// Documents [first, first + documents), as Layout::document_table lists them, and key heads [first_kv, first_kv +
// kv_heads) with their query heads, in one call of the library.
struct AttentionCall {
    std::int64_t first = 0;
    std::int64_t documents = 0;
    std::int64_t batch = 0;     // what the library is told: a power of two, the rest are empty documents at the end
    std::int64_t longest = 0;   // the same of the tokens of the longest
    int first_kv = 0;
    int kv_heads = 0;
};

struct AttentionCalls {
    // Documents of one length, one after the other: the library needs no offsets, and `batch` and `longest` are exact.
    bool equal = false;
    std::vector<AttentionCall> forward;   // none: our own kernels compute
    std::vector<AttentionCall> backward;
    bool by_library() const { return !forward.empty(); }
};

// How the library computes attention of a packed qkv of this type and row stride, forward and backward.
AttentionCalls attention_calls(const Layout& layout, const AttentionShape& shape, DType dtype, std::int64_t stride);

// Bytes that the library may use in one call. Its deterministic backward keeps a 16-bit gradient of every score, the
// 16-bit gradients of keys and values for every query head, and one f32 a query: b·h·s·(2·s + 4·d + 4); in compute
// capability 10 two f32 sums of dq instead of the first two: b·h·s·(8·d + 4); and little besides (docs/decisions.md).
std::size_t attention_workspace_bytes(const AttentionCall& call, const AttentionShape& shape, bool backward);
// Bytes of the offsets of a call's documents, which come before its workspace.
std::size_t attention_offsets_bytes(const AttentionCalls& calls, const AttentionCall& call);
// The room that all calls of a direction share, one after the other; 0 for our own kernels.
std::size_t attention_room_bytes(const AttentionCalls& calls, const AttentionShape& shape, bool backward);

// Calls are cut up, where they can be, until they take no more: 2.5 GiB, or less for tests.
void limit_attention_room(std::int64_t bytes);
inline constexpr std::int64_t comfortable_attention_room = std::int64_t{5} << 29;

// By the library if that computes this, else false and nothing was done. `room` has attention_room_bytes. The
// log-sum-exps that it saves in lse are its own: what was computed forward by the library is computed backward by it.
bool library_attention_forward(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& room,
                               Tensor& out, Tensor& lse);
bool library_attention_backward(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& out,
                                const Tensor& lse, const Tensor& dout, const Tensor& room, Tensor& dqkv);

}   // namespace trainer::cuda
