#include "autograd/cuda/document_offsets.h"

#include "autograd/cuda/device.h"

namespace trainer::cuda {

namespace {

using std::int64_t;

__global__ void document_offsets_kernel(const std::int32_t* table, int64_t documents, int64_t batch,
                                        TokenStrides strides, std::int32_t* out) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (index > batch) return;
    const bool there = index < documents;
    const std::int32_t* const row = table + 2 * (there ? index : documents - 1);
    const int64_t begin = there ? row[0] : int64_t{row[0]} + row[1];
    const int64_t column = document_offsets_column(batch);
    out[index] = static_cast<std::int32_t>(begin * strides.qkv);
    out[column + index] = static_cast<std::int32_t>(begin * strides.out);
    out[2 * column + index] = static_cast<std::int32_t>(begin * strides.dqkv);
    out[3 * column + index] = static_cast<std::int32_t>(begin * strides.lse + strides.lse_begin);
    out[4 * column + index] = there ? row[1] : 0;
}

}   // namespace

void document_offsets(Cuda place, const Tensor& document_table, int64_t first, int64_t documents, int64_t batch,
                      const TokenStrides& strides, std::int32_t* out) {
    constexpr int threads = 64;
    launch(place, {.blocks = blocks_for(batch + 1, threads), .threads = threads}, document_offsets_kernel,
           document_table.data<std::int32_t>() + 2 * first, documents, batch, strides, out);
}

}   // namespace trainer::cuda
