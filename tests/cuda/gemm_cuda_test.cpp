// Products on the device beside the readable twin.
#include "autograd/cuda/gemm.h"

#include <gtest/gtest.h>

#include "autograd/cpu/gemm.h"
#include "configs/error.h"
#include "tests/cuda/device.h"
#include "tests/cuda/uniform_tensor.h"
#include "tests/support/op_check.h"

namespace trainer {
namespace {

// A part of the columns of a wider tensor on the device, with these values.
Tensor inside_wider(const Tensor& values, std::int64_t before, std::int64_t after) {
    const std::int64_t columns = values.columns();
    Tensor wide = Tensor::zeros({values.rows(), before + columns + after}, values.dtype(), Place::cuda());
    Tensor part = wide.column_range(before, before + columns);
    copy(values, part);
    return part;
}

struct Sizes {
    std::int64_t rows, columns, depth;
};

class CudaGemm : public ::testing::Test {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    }

    static void expect_product(const Sizes& size, bool transpose_a, bool transpose_b, bool accumulate, DType in,
                               DType out, std::int64_t pad) {
        SCOPED_TRACE(format("({}, {}, {}) {} {} {} {} {} pad {}", size.rows, size.columns, size.depth, transpose_a,
                            transpose_b, accumulate, name_of(in), name_of(out), pad));
        const Tensor a =
            uniform_tensor(transpose_a ? Shape(size.depth, size.rows) : Shape(size.rows, size.depth), in, 1);
        const Tensor b =
            uniform_tensor(transpose_b ? Shape(size.columns, size.depth) : Shape(size.depth, size.columns), in, 2);
        Tensor expected = uniform_tensor({size.rows, size.columns}, out, 3);
        Tensor c = inside_wider(expected, pad, 2 * pad);
        gemm(Cuda{}, c, inside_wider(a, pad, 0), transpose_a, inside_wider(b, 0, pad), transpose_b, accumulate);
        gemm_reference(expected, a, transpose_a, b, transpose_b, accumulate);
        const double bound = out == DType::bf16 ? 2.5e-3 : out == DType::f16 ? 3e-4 : 1e-5;
        EXPECT_LE(cases::relative_error(cases::matrix_of(c), cases::matrix_of(expected)), bound);
    }
};

TEST_F(CudaGemm, EveryLayoutAndTypeIsTheTwins) {
    for (const Sizes& size : {Sizes{5, 7, 3}, Sizes{1, 64, 33}, Sizes{33, 1, 8}, Sizes{64, 48, 80}})
        for (const bool transpose_a : {false, true})
            for (const bool transpose_b : {false, true})
                for (const bool accumulate : {false, true})
                    for (const auto& [in, out] :
                         {std::pair(DType::f32, DType::f32), std::pair(DType::bf16, DType::bf16),
                          std::pair(DType::bf16, DType::f32), std::pair(DType::f16, DType::f16),
                          std::pair(DType::f16, DType::f32)})
                        for (const std::int64_t pad : {0, 3})
                            expect_product(size, transpose_a, transpose_b, accumulate, in, out, pad);
}

TEST_F(CudaGemm, NothingToSumIsZero) {
    Tensor c = Tensor::empty({3, 4}, DType::f32, Place::cuda());
    gemm(Cuda{}, c, Tensor::empty({3, 0}, DType::f32, Place::cuda()), false,
         Tensor::empty({0, 4}, DType::f32, Place::cuda()), false, false);
    EXPECT_EQ(c.to_vector<float>(), std::vector<float>(12, 0.0f));
}

TEST_F(CudaGemm, TheSameCallGivesTheSameBits) {
    const Tensor a = on_place(uniform_tensor({96, 2048}, DType::bf16, 4), Place::cuda());
    const Tensor b = on_place(uniform_tensor({40, 2048}, DType::bf16, 5), Place::cuda());
    Tensor once = Tensor::empty({96, 40}, DType::f32, Place::cuda()),
           again = Tensor::empty({96, 40}, DType::f32, Place::cuda());
    gemm(Cuda{}, once, a, false, b, true, false);
    gemm(Cuda{}, again, a, false, b, true, false);
    EXPECT_EQ(once.to_vector<float>(), again.to_vector<float>());
}

TEST_F(CudaGemm, ShapesThatDoNotFitAreRefused) {
    Tensor c = Tensor::empty({3, 4}, DType::f32, Place::cuda());
    const Tensor a = Tensor::empty({3, 5}, DType::f32, Place::cuda()),
                 b = Tensor::empty({6, 4}, DType::f32, Place::cuda());
    EXPECT_THROW(gemm(Cuda{}, c, a, false, b, false, false), Error);
}

}   // namespace
}   // namespace trainer
