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

// Options of products while it lives.
class Options {
public:
    explicit Options(const cuda::GemmOptions& options) { cuda::set_gemm_options(options); }
    ~Options() { cuda::set_gemm_options({}); }
    Options(const Options&) = delete;
    Options& operator=(const Options&) = delete;
};

Tensor on_device(const Shape& shape, DType dtype, unsigned seed) {
    return on_place(uniform_tensor(shape, dtype, seed), Place::cuda());
}

std::vector<float> transposed_product(const Tensor& a, const Tensor& b) {
    Tensor c = Tensor::empty({a.rows(), b.rows()}, DType::f32, Place::cuda());
    gemm(Cuda{}, c, a, false, b, true, false);
    return c.to_vector<float>();
}

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

TEST_F(CudaGemm, ABiasIsAddedBeforeTheOneRounding) {
    for (const auto& [in, out] :
         {std::pair(DType::f32, DType::f32), std::pair(DType::bf16, DType::bf16), std::pair(DType::bf16, DType::f32)})
        for (const std::int64_t pad : {0, 8}) {
            const Tensor a = uniform_tensor({9, 40}, in, 1), b = uniform_tensor({24, 40}, in, 2);
            const Tensor bias = uniform_tensor(Shape(24), out, 3);
            Tensor expected = Tensor::zeros({9, 24}, DType::f32);
            for (std::int64_t row = 0; row < 9; ++row) {
                Tensor to = expected.row_range(row, row + 1);
                copy(bias.reshaped({1, 24}), to);
            }
            gemm_reference(expected, a, false, b, true, true);
            Tensor c = inside_wider(uniform_tensor({9, 24}, out, 4), pad, pad);
            ASSERT_TRUE(product_with_bias(c, on_place(a, Place::cuda()), on_place(b, Place::cuda()),
                                          on_place(bias, Place::cuda())));
            EXPECT_LE(cases::relative_error(cases::matrix_of(c), cases::matrix_of(expected)),
                      out == DType::bf16 ? 2e-3 : 1e-6);   // 1.66e-3 is one rounding to bf16
        }
}

TEST_F(CudaGemm, ABiasOfUnevenRowsIsLeftToOthers) {
    const Tensor a = on_device({9, 40}, DType::bf16, 1), bias = on_device(Shape(24), DType::bf16, 3);
    const Tensor b = on_device({24, 40}, DType::bf16, 2);
    Tensor wide = Tensor::zeros({9, 30}, DType::bf16, Place::cuda());
    Tensor uneven = wide.column_range(0, 24), moved = wide.column_range(3, 27);
    for (Tensor* c : {&uneven, &moved}) EXPECT_FALSE(product_with_bias(*c, a, b, bias));
    Tensor narrow = Tensor::zeros({9, 23}, DType::bf16, Place::cuda());
    EXPECT_FALSE(product_with_bias(narrow, a, b.row_range(0, 23), bias.row_range(0, 23)));
    Tensor here = Tensor::zeros({9, 24}, DType::bf16);
    EXPECT_FALSE(product_with_bias(here, a, b, bias));
}

TEST_F(CudaGemm, APlanServesTheBiasesOfAllLayers) {
    const Tensor a = on_device({5, 16}, DType::f32, 1), b = on_device({8, 16}, DType::f32, 2);
    const std::vector<float> plain = transposed_product(a, b);
    for (const unsigned seed : {3u, 4u}) {
        const Tensor bias = uniform_tensor(Shape(8), DType::f32, seed);
        Tensor c = Tensor::empty({5, 8}, DType::f32, Place::cuda());
        gemm(Cuda{}, c, a, false, b, true, false, 1, on_place(bias, Place::cuda()));
        const std::vector<float> found = c.to_vector<float>();
        for (std::size_t i = 0; i < found.size(); ++i)
            EXPECT_NEAR(found[i], plain[i] + bias.data<float>()[i % 8], 1e-6);
    }
}

TEST_F(CudaGemm, ABiasOfAnotherTypeOrSizeIsRefused) {
    const Tensor a = on_device({5, 16}, DType::bf16, 1), b = on_device({8, 16}, DType::bf16, 2);
    Tensor c = Tensor::empty({5, 8}, DType::bf16, Place::cuda());
    for (const Tensor& bias : {on_device(Shape(8), DType::f32, 3), on_device(Shape(7), DType::bf16, 3)})
        EXPECT_THROW(gemm(Cuda{}, c, a, false, b, true, false, 1, bias), Error);
    EXPECT_THROW(gemm(Cuda{}, c, a, false, b, true, true, 1, on_device(Shape(8), DType::bf16, 3)), Error);
}

TEST_F(CudaGemm, Tf32RoundsTheFactorsOfF32ProductsOnly) {
    const Tensor a = uniform_tensor({32, 512}, DType::f32, 1), b = uniform_tensor({24, 512}, DType::f32, 2);
    Tensor expected = Tensor::empty({32, 24}, DType::f32);
    gemm_reference(expected, a, false, b, true, false);
    const Tensor a_there = on_place(a, Place::cuda()), b_there = on_place(b, Place::cuda());
    const auto error = [&] {
        Tensor c = Tensor::empty({32, 24}, DType::f32, Place::cuda());
        gemm(Cuda{}, c, a_there, false, b_there, true, false);
        return cases::relative_error(cases::matrix_of(c), cases::matrix_of(expected));
    };
    const Tensor halves = on_device({32, 512}, DType::bf16, 3), other = on_device({24, 512}, DType::bf16, 4);
    const std::vector<float> before = transposed_product(halves, other);
    EXPECT_LE(error(), 1e-5);
    {
        const Options options({.tf32 = true});
        EXPECT_GE(error(), 1e-5);
        EXPECT_LE(error(), 1e-3);
        EXPECT_EQ(transposed_product(halves, other), before);
        EXPECT_EQ(cuda::gemm_numerics(), cuda::gemm_library() + ", f32 products in tf32");
    }
    EXPECT_LE(error(), 1e-5);
    EXPECT_EQ(cuda::gemm_numerics(), cuda::gemm_library());
}

TEST_F(CudaGemm, TheFastestIsChosenOnceAndRemembered) {
    const Tensor a = on_device({48, 640}, DType::bf16, 4), b = on_device({40, 640}, DType::bf16, 5);
    std::map<std::string, int> told;
    const auto remember = [&](const std::string& problem, int choice) {
        EXPECT_TRUE(told.emplace(problem, choice).second);
    };
    const std::vector<float> first = transposed_product(a, b);
    std::vector<float> timed;
    {
        const Options options({.timed = true, .choices = {}, .chosen = remember});
        timed = transposed_product(a, b);
        EXPECT_EQ(transposed_product(a, b), timed);
        ASSERT_EQ(told.size(), 1u);
        EXPECT_NE(cuda::gemm_numerics().find("chosen by time"), std::string::npos);
    }
    {
        const Options options({.timed = true, .choices = told, .chosen = remember});   // told twice would be a failure
        EXPECT_EQ(transposed_product(a, b), timed);
    }
    for (const int nonsense : {-1, 1000}) {
        std::map<std::string, int> wrong = told;
        wrong.begin()->second = nonsense;
        int again = 0;
        const Options options({.timed = true, .choices = wrong, .chosen = [&](const auto&, int) { ++again; }});
        EXPECT_EQ(transposed_product(a, b).size(), timed.size());
        EXPECT_EQ(again, 1);
    }
    EXPECT_EQ(transposed_product(a, b), first);
#ifdef TRAINER_EMULATED   // whose first algorithm is slow, whose second fails, and whose third adds in another order
    EXPECT_EQ(told.begin()->second, 2);
    EXPECT_NE(timed, first);
#endif
}

TEST_F(CudaGemm, ShapesThatNeverEndAreNotAllTried) {
    int tried = 0;
    const Options options({.timed = true, .choices = {}, .chosen = [&](const auto&, int) { ++tried; }});
    for (int rows = 1; rows <= cuda::gemm_trials + 5; ++rows)
        transposed_product(on_device({rows, 16}, DType::f32, 1), on_device({8, 16}, DType::f32, 2));
    EXPECT_EQ(tried, cuda::gemm_trials);
}

TEST_F(CudaGemm, ATrialLeavesWhatIsAddedToAlone) {
    const Tensor a = on_device({48, 64}, DType::f32, 4), b = on_device({40, 64}, DType::f32, 5);
    const Tensor before = uniform_tensor({48, 40}, DType::f32, 6);
    Tensor expected = before, plain = on_place(before, Place::cuda());
    gemm(Cuda{}, plain, a, false, b, true, true);
    const Options options({.timed = true});
    Tensor c = on_place(before, Place::cuda());
    gemm(Cuda{}, c, a, false, b, true, true);
    EXPECT_LE(cases::relative_error(cases::matrix_of(c), cases::matrix_of(plain)), 1e-6);
}

TEST_F(CudaGemm, ShapesThatDoNotFitAreRefused) {
    Tensor c = Tensor::empty({3, 4}, DType::f32, Place::cuda());
    const Tensor a = Tensor::empty({3, 5}, DType::f32, Place::cuda()),
                 b = Tensor::empty({6, 4}, DType::f32, Place::cuda());
    EXPECT_THROW(gemm(Cuda{}, c, a, false, b, false, false), Error);
}

}   // namespace
}   // namespace trainer
