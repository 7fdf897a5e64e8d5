#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "autograd/dtype.h"

// What is asked of cuDNN, which is opened at the first question: attention, with plans that are made once.
namespace trainer::cuda {

// Whether there is a library that may be used: found, 9.15.1 or newer, and its functions are all there. Older ones have
// errors in what is asked of them (docs/decisions.md).
bool cudnn_is_there();
// "cuDNN 9.19.0", or "no cuDNN".
std::string cudnn_library();
// Why there is none, "" when there is.
std::string cudnn_absent();
// What it said to the first problem that it refused, "" when it took all.
std::string first_cudnn_refusal();
// Our own kernels compute while it is not allowed: for comparing the two.
void allow_cudnn(bool allowed);

// One attention: `batch` documents of up to `longest` tokens. Strides of tokens, in elements.
struct AttentionProblem {
    bool backward = false;
    bool with_lse = true;   // whether forward saves it
    bool causal = false;
    bool equal = false;   // all documents have `longest` tokens, one after the other; else they have offsets
    DType dtype = DType::bf16;
    std::int64_t batch = 0;
    std::int64_t longest = 0;
    int heads = 0;
    int kv_heads = 0;
    int head_dim = 0;
    float scale = 1;
    std::int64_t qkv_stride = 0;
    std::int64_t out_stride = 0;   // of out and its gradient
    std::int64_t dqkv_stride = 0;
    std::int64_t lse_stride = 0;   // with offsets; (batch, heads, longest) otherwise
    friend auto operator<=>(const AttentionProblem&, const AttentionProblem&) = default;
};

// Memory of the device, of the first of the heads; outputs are out and lse, or dquery, dkey, dvalue.
struct AttentionMemory {
    const void* query = nullptr;
    const void* key = nullptr;
    const void* value = nullptr;
    void* out = nullptr;
    float* lse = nullptr;
    const void* dout = nullptr;
    void* dquery = nullptr;
    void* dkey = nullptr;
    void* dvalue = nullptr;
    const std::int32_t* offsets = nullptr;   // autograd/cuda/document_offsets.h
    void* workspace = nullptr;
};

// "" where the library has a deterministic plan for the problem that is content with so many bytes, else why it has
// none.
std::string cudnn_refusal(const AttentionProblem& problem, std::size_t workspace_bytes);
// What it computes; Error(system) when it fails.
void run_cudnn(const AttentionProblem& problem, const AttentionMemory& memory);

// Plans that were made so far, those included that the library refused.
std::int64_t cudnn_plans();
// Problems that it computed.
std::int64_t cudnn_runs();

}   // namespace trainer::cuda
