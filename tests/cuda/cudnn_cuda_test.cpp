// Attention by cuDNN beside our own kernels: the same numbers to rounding, the same bits twice, plans made once, and
// our own kernels for what the library does not have.
#include "autograd/cuda/cudnn.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "autograd/cuda/attention.h"
#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/cuda/device.h"
#include "tests/cuda/uniform_tensor.h"
#include "tests/support/op_check.h"

namespace trainer {
namespace {

using Lengths = std::vector<std::int32_t>;

Layout layout_of(const Lengths& lengths, Layout::Kind kind = Layout::Kind::causal, Place place = Place::cuda()) {
    Layout out = cases::World{Place::cpu(), DType::f32, {}}.layout(lengths);
    out.kind = kind;
    return on_place(out, place);
}

struct Both {
    cases::Matrix out, gradient;
    friend bool operator==(const Both& a, const Both& b) {
        return a.out.numbers == b.out.numbers && a.gradient.numbers == b.gradient.numbers;
    }
};

// qkv with so many columns before it and after it in its rows; dout in wider rows too.
Both run(const Layout& layout, const AttentionShape& shape, Place place = Place::cuda(), std::int64_t pad = 0) {
    const std::int64_t columns = std::int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim;
    Tensor wide = Tensor::empty({layout.tokens(), columns + 2 * pad}, DType::bf16, place);
    Tensor qkv = wide.column_range(pad, pad + columns);
    copy(uniform_tensor({layout.tokens(), columns}, DType::bf16, 1), qkv);
    Tape tape;
    tape.want(qkv);
    Tensor y;
    {
        const Recording record(tape);
        y = attention(qkv, layout, shape, 0);
    }
    Both result;
    result.out = cases::matrix_of(y);
    Tensor wide_dout = Tensor::empty({y.rows(), y.columns() + pad}, DType::bf16, place);
    Tensor dout = wide_dout.column_range(0, y.columns());
    copy(uniform_tensor(y.shape(), DType::bf16, 2), dout);
    tape.backward(y, dout);
    result.gradient = cases::matrix_of(tape.gradient(qkv));
    return result;
}

// While it lives the fake library of the emulator sees this variable.
class FakeSetting {
public:
    FakeSetting(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
    ~FakeSetting() { ::unsetenv(name_); }
    FakeSetting(const FakeSetting&) = delete;
    FakeSetting& operator=(const FakeSetting&) = delete;

private:
    const char* name_;
};

class CudaCudnn : public ::testing::Test {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
        if (!cuda::cudnn_is_there()) GTEST_SKIP() << cuda::cudnn_absent();
        poison_new_memory(poisons_memory());
    }
    void TearDown() override {
        poison_new_memory(false);
        cuda::limit_attention_room(cuda::comfortable_attention_room);
        cuda::allow_cudnn(true);
    }

    static Both by_own_kernels(const Layout& layout, const AttentionShape& shape) {
        cuda::allow_cudnn(false);
        Both out = run(layout, shape);
        cuda::allow_cudnn(true);
        return out;
    }
    static bool by_library(const Layout& layout, const AttentionShape& shape) {
        const std::int64_t columns = std::int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim;
        return cuda::attention_calls(layout, shape, DType::bf16, columns).by_library();
    }
    static void expect_agreement(const Both& actual, const Both& expected) {
        EXPECT_LE(cases::relative_error(actual.out, expected.out), 4e-3);
        EXPECT_LE(cases::relative_error(actual.gradient, expected.gradient), 6e-3);
    }
};

TEST_F(CudaCudnn, AgreesWithOurOwnKernelsAndTheCpu) {
    const Lengths documents[] = {{128, 128}, {1}, {3, 1, 33, 64, 7}, {130, 2}};
    const AttentionShape shapes[] = {{4, 2, 16, 0.25f}, {3, 3, 8, 0.3f}, {2, 1, 64, 0.125f}, {2, 2, 96, 0.11f}};
    for (const Lengths& lengths : documents)
        for (const AttentionShape& shape : shapes)
            for (const Layout::Kind kind : {Layout::Kind::causal, Layout::Kind::bidirectional}) {
                SCOPED_TRACE(::testing::Message()
                             << lengths.size() << " documents of " << lengths[0] << ", " << shape.heads << "/"
                             << shape.kv_heads << " heads of " << shape.head_dim);
                const Layout layout = layout_of(lengths, kind);
                if (!by_library(layout, shape)) GTEST_SKIP() << "this device computes it by our own kernels";
                const std::int64_t runs = cuda::cudnn_runs();
                const Both actual = run(layout, shape);
                EXPECT_EQ(cuda::cudnn_runs(), runs + 2);   // it was the library, forward and backward
                expect_agreement(actual, run(layout_of(lengths, kind, Place::cpu()), shape, Place::cpu()));
                if (kind == Layout::Kind::causal) expect_agreement(actual, by_own_kernels(layout, shape));
            }
}

TEST_F(CudaCudnn, LongHeads) {
    for (const AttentionShape& shape : {AttentionShape{2, 1, 128, 0.09f}, AttentionShape{1, 1, 256, 0.06f}}) {
        const Layout layout = layout_of({70, 20});
        if (!by_library(layout, shape)) GTEST_SKIP() << "this device computes it by our own kernels";
        const std::int64_t runs = cuda::cudnn_runs();
        const Both actual = run(layout, shape);
        EXPECT_EQ(cuda::cudnn_runs(), runs + 2);
        expect_agreement(actual, by_own_kernels(layout, shape));
    }
}

// As if documents were too long: by class of length, document and key head.
TEST_F(CudaCudnn, CallsThatAreCutUpGiveTheSame) {
    const AttentionShape shape{6, 3, 16, 0.25f};
    for (const Lengths& lengths : {Lengths{128, 128, 128}, Lengths{140, 9, 128, 30, 1}, Lengths{256}}) {
        const Layout layout = layout_of(lengths);
        if (!by_library(layout, shape)) GTEST_SKIP() << "this device computes it by our own kernels";
        const Both whole = run(layout, shape);
        for (const std::int64_t room : {std::int64_t{1}, std::int64_t{1} << 19}) {
            cuda::limit_attention_room(room);
            const std::int64_t runs = cuda::cudnn_runs();
            const Both cut = run(layout, shape);
            EXPECT_GT(cuda::cudnn_runs(), runs + 2);
            EXPECT_EQ(cut.out.numbers, whole.out.numbers);
            EXPECT_LE(cases::relative_error(cut.gradient, whole.gradient), 1e-3);
            cuda::limit_attention_room(cuda::comfortable_attention_room);
        }
    }
}

TEST_F(CudaCudnn, RowsMayBePartsOfWiderOnes) {
    const AttentionShape shape{4, 2, 32, 0.2f};
    for (const Lengths& lengths : {Lengths{128, 128}, Lengths{7, 50, 1}})
        EXPECT_EQ(run(layout_of(lengths), shape, Place::cuda(), 8), run(layout_of(lengths), shape));
    // 16 bytes are not 3 elements: ours.
    EXPECT_FALSE(cuda::attention_calls(layout_of({128}), shape, DType::bf16, 259).by_library());
    expect_agreement(run(layout_of({128}), shape, Place::cuda(), 3), run(layout_of({128}), shape));
}

TEST_F(CudaCudnn, TheSameCallGivesTheSameBitsWithThePlansOfTheFirst) {
    const AttentionShape shape{4, 2, 40, 0.16f};
    for (const Lengths& lengths : {Lengths{128, 128}, Lengths{9, 70, 30}}) {
        const Both once = run(layout_of(lengths), shape);
        const std::int64_t plans = cuda::cudnn_plans();
        EXPECT_EQ(run(layout_of(lengths), shape), once);
        EXPECT_EQ(cuda::cudnn_plans(), plans);
    }
    run(layout_of({5, 66, 128, 12}), shape);   // as many documents to the power of two, as long to the 128
    const std::int64_t plans = cuda::cudnn_plans();
    run(layout_of({1, 2, 3}), shape);
    EXPECT_EQ(cuda::cudnn_plans(), plans);
}

TEST_F(CudaCudnn, DocumentsDoNotSeeEachOther) {
    const AttentionShape shape{2, 1, 48, 0.14f};
    const Layout layout = layout_of({20, 30});
    Tensor values = uniform_tensor({50, 4 * 48}, DType::bf16, 3);
    Tensor before = on_place(values, Place::cuda()), other = Tensor::empty(values.shape(), DType::bf16, Place::cuda());
    copy(values, other);
    Tensor first = other.row_range(0, 20);
    copy(uniform_tensor({20, 4 * 48}, DType::bf16, 4), first);
    const auto of = [&](const Tensor& qkv) {
        return cases::matrix_of(attention(qkv, layout, shape, 0).row_range(20, 50)).numbers;
    };
    EXPECT_EQ(of(before), of(other));
}

// What no 16-byte word or no version of the library has, other types, and a cache.
TEST_F(CudaCudnn, OurOwnKernelsComputeTheRest) {
    const Layout layout = layout_of({128});
    const auto calls = [&](const AttentionShape& shape, DType dtype = DType::bf16) {
        return cuda::attention_calls(layout, shape, dtype, 512).by_library();
    };
    EXPECT_TRUE(calls({2, 2, 64, 0.1f}));
    EXPECT_FALSE(calls({2, 2, 64, 0.1f}, DType::f32));
    EXPECT_FALSE(calls({2, 2, 10, 0.1f}));
    EXPECT_FALSE(calls({2, 2, 264, 0.1f}));
    KvCache cache;
    Layout cached = layout;
    cached.cache = &cache;
    EXPECT_FALSE(cuda::attention_calls(cached, {2, 2, 64, 0.1f}, DType::bf16, 512).by_library());
}

#ifdef TRAINER_EMULATED

// Plans are kept, so each test has a shape of its own.
TEST_F(CudaCudnn, AnEngineThatWantsMoreThanWasPlannedIsNotUsed) {
    const AttentionShape shape{2, 1, 56, 0.13f};
    const Layout layout = layout_of({100, 28});
    const FakeSetting large("FAKE_CUDNN_WORKSPACE", "1000000000");
    const std::int64_t runs = cuda::cudnn_runs();
    EXPECT_EQ(run(layout, shape), by_own_kernels(layout, shape));
    EXPECT_EQ(cuda::cudnn_runs(), runs);
}

TEST_F(CudaCudnn, WhatTheLibraryRefusesForwardOrBackwardIsOurs) {
    const Layout layout = layout_of({100, 28});
    const std::int64_t runs = cuda::cudnn_runs();
    {
        const FakeSetting refuse("FAKE_CUDNN_REFUSE", "2");
        EXPECT_EQ(run(layout, {2, 1, 72, 0.13f}), by_own_kernels(layout, {2, 1, 72, 0.13f}));
    }
    const FakeSetting refuse("FAKE_CUDNN_REFUSE", "5");   // never one direction by the one, one by the other
    EXPECT_EQ(run(layout, {2, 1, 80, 0.13f}), by_own_kernels(layout, {2, 1, 80, 0.13f}));
    EXPECT_EQ(cuda::cudnn_runs(), runs);
}

TEST_F(CudaCudnn, AFailureIsAnError) {
    const FakeSetting fail("FAKE_CUDNN_FAIL", "1");
    try {
        run(layout_of({100, 28}), {2, 1, 88, 0.13f});
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::system);
        EXPECT_NE(std::string(error.what()).find("cuDNN failed when computing attention"), std::string::npos)
            << error.what();
    }
}

#endif

}   // namespace
}   // namespace trainer
