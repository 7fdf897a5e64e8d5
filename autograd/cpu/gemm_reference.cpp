#include "autograd/cpu/gemm.h"
#include "autograd/cpu/gemm_tile.h"
#include "configs/error.h"

namespace trainer {

namespace {

float load(const void* data, DType dtype, std::int64_t index) {
    if (dtype == DType::f32) return static_cast<const float*>(data)[index];
    return dtype == DType::f16 ? static_cast<float>(static_cast<const f16*>(data)[index])
                               : static_cast<float>(static_cast<const bf16*>(data)[index]);
}

void store(void* data, DType dtype, std::int64_t index, float value) {
    if (dtype == DType::f32)
        static_cast<float*>(data)[index] = value;
    else if (dtype == DType::f16)
        static_cast<f16*>(data)[index] = f16(value);
    else
        static_cast<bf16*>(data)[index] = bf16(value);
}

void three_loops(const TileShape& shape, void* c, const void* a, const void* b) {
    for (std::int64_t i = 0; i < shape.rows; ++i)
        for (std::int64_t j = 0; j < shape.columns; ++j) {
            float sum = 0;
            for (std::int64_t k = 0; k < shape.depth; ++k)
                sum += load(a, shape.in, shape.transpose_a ? k * shape.a_stride + i : i * shape.a_stride + k) *
                       load(b, shape.in, shape.transpose_b ? j * shape.b_stride + k : k * shape.b_stride + j);
            const std::int64_t at = i * shape.c_stride + j;
            store(c, shape.out, at, shape.accumulate ? load(c, shape.out, at) + sum : sum);
        }
}

}   // namespace

void gemm_reference(Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate) {
    const std::int64_t depth = transpose_a ? a.rows() : a.columns();
    check(a.dtype() == b.dtype() && (transpose_a ? a.columns() : a.rows()) == c.rows() &&
              (transpose_b ? b.rows() : b.columns()) == c.columns() && (transpose_b ? b.columns() : b.rows()) == depth,
          "gemm_reference: {} · {} into {}", a.shape().text(), b.shape().text(), c.shape().text());
    three_loops({c.rows(), c.columns(), depth, a.stride(), b.stride(), c.stride(), a.dtype(), c.dtype(), transpose_a,
                 transpose_b, accumulate},
                c.raw(), a.raw(), b.raw());
}

#ifdef TRAINER_WITHOUT_ONEDNN
std::string gemm_library() { return "three loops"; }
void prepare_tile(const TileShape&) {}
void run_tile(const TileShape& shape, void* c, const void* a, const void* b) { three_loops(shape, c, a, b); }
#endif

}   // namespace trainer
