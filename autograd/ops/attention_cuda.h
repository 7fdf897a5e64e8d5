#pragma once

#include "autograd/layout.h"
#include "autograd/ops/attention.h"
#include "autograd/place.h"

namespace trainer {

// What attention.cpp's functions of the same names do, every sum in a fixed order: by cuDNN where it is there and
// offers the shape (autograd/cuda/attention.h), else by kernels of our own, with and without a cache: bf16 with heads
// of up to 128 on the matrix units, the rest, with heads of up to 256, by tiles of f32 in shared memory.
void attention_forward(Cuda, const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer,
                       const Tensor& scratch, Tensor& out, Tensor& lse);
void attention_backward(Cuda, const Tensor& qkv, const Layout& layout, const AttentionShape& shape, const Tensor& out,
                        const Tensor& lse, const Tensor& dout, const Tensor& scratch, Tensor& delta, Tensor& dq,
                        Tensor& dqkv);

}   // namespace trainer
