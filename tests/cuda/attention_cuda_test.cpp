// Attention on the device beside the CPU's: shapes that the table of ops does not have, and a cache.
#include "autograd/ops/attention.h"

#include <gtest/gtest.h>

#include "autograd/tape.h"
#include "tests/cuda/device.h"
#include "tests/cuda/uniform_tensor.h"
#include "tests/support/op_check.h"

namespace trainer {
namespace {

Layout layout_of(const std::vector<std::int32_t>& lengths, Layout::Kind kind, Place place) {
    Layout out = cases::World{Place::cpu(), DType::f32, {}}.layout(lengths);
    out.kind = kind;
    return on_place(out, place);
}

struct Both {
    cases::Matrix out;
    cases::Matrix gradient;
};

// Of inputs that `rounded` holds, computed in `dtype`.
Both run(const std::vector<std::int32_t>& lengths, const AttentionShape& shape, Layout::Kind kind, DType rounded,
         DType dtype, Place place) {
    const Layout layout = layout_of(lengths, kind, place);
    const std::int64_t columns = std::int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim;
    const auto input = [&](Shape shape_of_it, std::uint64_t key) {
        return on_place(converted(converted(uniform_tensor(shape_of_it, rounded, key), DType::f32), dtype), place);
    };
    Tensor qkv = input({layout.tokens(), columns}, 1);
    Tape tape;
    tape.want(qkv);
    Tensor y;
    {
        const Recording record(tape);
        y = attention(qkv, layout, shape, 0);
    }
    Both out;
    out.out = cases::matrix_of(y);
    tape.backward(y, input(y.shape(), 2));
    out.gradient = cases::matrix_of(tape.gradient(qkv));
    return out;
}

class CudaAttention : public ::testing::Test {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
        poison_new_memory(poisons_memory());
    }
    void TearDown() override { poison_new_memory(false); }
};

TEST_F(CudaAttention, KernelAgreesWithTheCpu) {
    const std::vector<std::vector<std::int32_t>> documents = {{1}, {40}, {3, 1, 33, 64, 7}, {31, 32, 33}};
    const AttentionShape shapes[] = {{4, 2, 16, 0.25f},  {3, 1, 10, 0.3f},  {2, 2, 130, 0.1f}, {2, 1, 256, 0.0625f},
                                     {2, 1, 64, 0.125f}, {2, 2, 72, 0.12f}, {4, 1, 128, 0.09f}};
    for (const auto& lengths : documents)
        for (const AttentionShape& shape : shapes)
            for (const Layout::Kind kind : {Layout::Kind::causal, Layout::Kind::bidirectional})
                for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
                    SCOPED_TRACE(::testing::Message() << lengths.size() << " documents of " << lengths[0]
                                                      << ", head_dim " << shape.head_dim << ", " << name_of(dtype));
                    const DType of_cpu = dtype == DType::f16 ? DType::f32 : dtype;   // which does not compute in f16
                    const Both expected = run(lengths, shape, kind, dtype, of_cpu, Place::cpu());
                    const Both actual = run(lengths, shape, kind, dtype, dtype, Place::cuda());
                    const double bound = dtype == DType::f32 ? 1e-5 : dtype == DType::f16 ? 5e-4 : 4e-3;
                    EXPECT_LE(cases::relative_error(actual.out, expected.out), bound);
                    EXPECT_LE(cases::relative_error(actual.gradient, expected.gradient), 1.5 * bound);
                }
}

// A change in one document changes no bit of another.
TEST_F(CudaAttention, DocumentsDoNotSeeEachOther) {
    const AttentionShape shape{2, 1, 16, 0.25f};
    const Layout layout = layout_of({20, 30}, Layout::Kind::causal, Place::cuda());
    Tensor here = uniform_tensor({50, 64}, DType::f32, 3);
    const Tensor before = attention(on_place(here, Place::cuda()), layout, shape, 0);
    here = owned(here);
    for (std::int64_t i = 0; i < 20 * 64; ++i) here.data<float>()[i] += 1;
    Tensor changed = Tensor::empty({50, 64}, DType::f32, Place::cuda());
    copy(here, changed);
    const Tensor after = attention(changed, layout, shape, 0);
    EXPECT_EQ(before.row_range(20, 50).to_vector<float>(), after.row_range(20, 50).to_vector<float>());
    EXPECT_NE(before.row_range(0, 20).to_vector<float>(), after.row_range(0, 20).to_vector<float>());
}

TEST_F(CudaAttention, ACacheGivesWhatTheWholeSequenceGives) {
    const AttentionShape shape{4, 2, 16, 0.25f};
    const Tensor qkv = on_place(uniform_tensor({37, 128}, DType::f32, 4), Place::cuda());
    const Tensor whole = attention(qkv, layout_of({37}, Layout::Kind::causal, Place::cuda()), shape, 0);
    KvCache cache;
    cache.keys = {Tensor::empty({40, 32}, DType::f32, Place::cuda())};
    cache.values = {Tensor::empty({40, 32}, DType::f32, Place::cuda())};
    cache.capacity = 40;
    std::vector<float> found;
    for (const auto& [begin, end] : {std::pair(0, 20), std::pair(20, 21), std::pair(21, 37)}) {
        Layout layout = layout_of({end - begin}, Layout::Kind::causal, Place::cuda());
        layout.cache = &cache;
        const Tensor part = attention(qkv.row_range(begin, end), layout, shape, 0);
        cache.length = end;
        const std::vector<float> numbers = part.to_vector<float>();
        found.insert(found.end(), numbers.begin(), numbers.end());
    }
    const std::vector<float> expected = whole.to_vector<float>();
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-5);
}

}   // namespace
}   // namespace trainer
