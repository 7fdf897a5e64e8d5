#include "autograd/cuda/attention.h"
#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/document_offsets.h"
#include "configs/error.h"

namespace trainer::cuda {

namespace {

using std::int64_t;

bool aligned(const Tensor& tensor) { return reinterpret_cast<std::uintptr_t>(tensor.raw()) % 16 == 0; }

AttentionProblem problem_of(const AttentionCalls& calls, const AttentionCall& call, const Layout& layout,
                            const AttentionShape& shape, DType dtype, const TokenStrides& strides, bool backward,
                            bool with_lse) {
    return {.backward = backward,
            .with_lse = with_lse,
            .causal = layout.kind == Layout::Kind::causal,
            .equal = calls.equal,
            .dtype = dtype,
            .batch = call.batch,
            .longest = call.longest,
            .heads = call.kv_heads * (shape.heads / shape.kv_heads),
            .kv_heads = call.kv_heads,
            .head_dim = shape.head_dim,
            .scale = shape.scale,
            .qkv_stride = strides.qkv,
            .out_stride = strides.out,
            .dqkv_stride = backward ? strides.dqkv : 0,
            .lse_stride = calls.equal ? 0 : strides.lse};
}

bool computes(const AttentionCalls& calls, const Layout& layout, const AttentionShape& shape, DType dtype,
              const TokenStrides& strides, bool backward, bool with_lse) {
    for (const AttentionCall& call : backward ? calls.backward : calls.forward)
        if (!cudnn_refusal(problem_of(calls, call, layout, shape, dtype, strides, backward, with_lse),
                           attention_workspace_bytes(call, shape, backward))
                 .empty())
            return false;
    return true;
}

// What a call sees of the tensors of all documents and heads.
class View {
public:
    View(const AttentionCalls& calls, const AttentionCall& call, const AttentionShape& shape)
        : first_token_(calls.equal ? call.first * call.longest : 0),
          query_(int64_t{call.first_kv} * (shape.heads / shape.kv_heads)),
          key_(shape.heads + call.first_kv),
          value_(shape.heads + shape.kv_heads + call.first_kv),
          head_dim_(shape.head_dim) {}

    std::byte* query(const Tensor& tensor) const { return head(tensor, query_); }   // of qkv, out and their gradients
    std::byte* key(const Tensor& tensor) const { return head(tensor, key_); }
    std::byte* value(const Tensor& tensor) const { return head(tensor, value_); }
    // Heads are rows of `longest` after the documents before; columns, which offsets begin at, where documents have
    // such.
    float* lse(const Tensor& tensor, const AttentionCalls& calls, const AttentionCall& call) const {
        return tensor.data<float>() +
               (calls.equal ? first_token_ * tensor.columns() + query_ * call.longest : int64_t{0});
    }
    int64_t first_query_head() const { return query_; }

private:
    std::byte* head(const Tensor& tensor, int64_t index) const {
        const int64_t elements = first_token_ * tensor.stride() + index * head_dim_;
        return static_cast<std::byte*>(tensor.raw()) + elements * static_cast<int64_t>(size_of(tensor.dtype()));
    }

    int64_t first_token_, query_, key_, value_, head_dim_;
};

// Offsets at the beginning of the room, workspace after them.
void place_in_room(const AttentionCalls& calls, const AttentionCall& call, const Layout& layout, TokenStrides strides,
                   std::int64_t first_head, const Tensor& room, AttentionMemory& memory) {
    auto* const begin = static_cast<std::byte*>(room.raw());
    memory.workspace = begin + attention_offsets_bytes(calls, call);
    if (calls.equal) return;
    strides.lse_begin = first_head;
    auto* const offsets = reinterpret_cast<std::int32_t*>(begin);
    document_offsets(Cuda{}, layout.document_table, call.first, call.documents, call.batch, strides, offsets);
    memory.offsets = offsets;
}

TokenStrides strides_of(const Tensor& qkv, const AttentionShape& shape) {
    const int64_t width = int64_t{shape.heads} * shape.head_dim;
    return {.qkv = qkv.stride(), .out = width, .dqkv = qkv.columns(), .lse = shape.heads};
}

}   // namespace

bool library_attention_forward(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& room,
                               Tensor& out, Tensor& lse) {
    const AttentionCalls calls = attention_calls(layout, shape, qkv.dtype(), qkv.stride());
    const TokenStrides strides = strides_of(qkv, shape);
    if (!calls.by_library() || !aligned(qkv)) return false;
    if (!computes(calls, layout, shape, qkv.dtype(), strides, false, lse.defined())) return false;
    if (lse.defined() && !computes(calls, layout, shape, qkv.dtype(), strides, true, true)) return false;
    for (const AttentionCall& call : calls.forward) {
        const View view(calls, call, shape);
        AttentionMemory memory{.query = view.query(qkv),
                               .key = view.key(qkv),
                               .value = view.value(qkv),
                               .out = view.query(out),
                               .lse = lse.defined() ? view.lse(lse, calls, call) : nullptr};
        place_in_room(calls, call, layout, strides, view.first_query_head(), room, memory);
        run_cudnn(problem_of(calls, call, layout, shape, qkv.dtype(), strides, false, lse.defined()), memory);
    }
    return true;
}

bool library_attention_backward(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& out,
                                const Tensor& lse, const Tensor& dout, const Tensor& room, Tensor& dqkv) {
    const AttentionCalls calls = attention_calls(layout, shape, qkv.dtype(), qkv.stride());
    const TokenStrides strides = strides_of(qkv, shape);
    if (!calls.by_library() || !aligned(qkv)) return false;
    if (!computes(calls, layout, shape, qkv.dtype(), strides, false, true) ||
        !computes(calls, layout, shape, qkv.dtype(), strides, true, true))
        return false;
    check(dout.contiguous() && aligned(dout), "attention: the gradient {} is not contiguous", dout.shape().text());
    for (const AttentionCall& call : calls.backward) {
        const View view(calls, call, shape);
        AttentionMemory memory{.query = view.query(qkv),
                               .key = view.key(qkv),
                               .value = view.value(qkv),
                               .out = view.query(out),
                               .lse = view.lse(lse, calls, call),
                               .dout = view.query(dout),
                               .dquery = view.query(dqkv),
                               .dkey = view.key(dqkv),
                               .dvalue = view.value(dqkv)};
        place_in_room(calls, call, layout, strides, view.first_query_head(), room, memory);
        run_cudnn(problem_of(calls, call, layout, shape, qkv.dtype(), strides, true, true), memory);
    }
    return true;
}

}   // namespace trainer::cuda
