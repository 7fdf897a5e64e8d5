// What changes no bit of attention, and what it allocates.
#include "autograd/memory.h"
#include "tests/autograd/attention_twin.h"

namespace trainer::test {
namespace {

using AttentionBits = PoisonedAttention;

TEST_F(AttentionBits, BitsDoNotDependOnThreads) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (Layout::Kind kind : {Layout::Kind::causal, Layout::Kind::bidirectional})
            for (const Lengths& lengths : {Lengths{900}, mixed_lengths}) {
                const Shapes s{6, 2, 32};
                const Layout layout = layout_of(lengths, kind);
                const std::int64_t tokens = layout.tokens();
                const Tensor qkv =
                    tensor_of(random_numbers(tokens * s.columns(), dtype, 5), tokens, s.columns(), dtype);
                const Tensor dout =
                    tensor_of(random_numbers(tokens * s.out_columns(), dtype, 6), tokens, s.out_columns(), dtype);
                omp_set_num_threads(1);
                const AttentionTensors one = run_attention(qkv, dout, layout, s);
                for (int threads : {2, 3, 5, 16}) {
                    omp_set_num_threads(threads);
                    const AttentionTensors many = run_attention(qkv, dout, layout, s);
                    EXPECT_TRUE(same_bits(one.out, many.out)) << threads;
                    EXPECT_TRUE(same_bits(one.gradient, many.gradient)) << threads;
                }
            }
}

TEST_F(AttentionBits, PackedDocumentsAreBitEqualToSingleOnes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const Shapes s{9, 3, 64};
        const Layout layout = layout_of(mixed_lengths);
        const std::int64_t tokens = layout.tokens();
        const Tensor qkv = tensor_of(random_numbers(tokens * s.columns(), dtype, 5), tokens, s.columns(), dtype);
        const Tensor dout =
            tensor_of(random_numbers(tokens * s.out_columns(), dtype, 6), tokens, s.out_columns(), dtype);
        const AttentionTensors packed = run_attention(qkv, dout, layout, s);
        for (std::size_t d = 0; d < mixed_lengths.size(); ++d) {
            const std::int64_t begin = layout.offsets[d];
            const std::int64_t end = layout.offsets[d + 1];
            const AttentionTensors alone =
                run_attention(qkv.row_range(begin, end), dout.row_range(begin, end), layout_of({mixed_lengths[d]}), s);
            EXPECT_TRUE(same_bits(packed.out.row_range(begin, end), alone.out)) << mixed_lengths[d];
            EXPECT_TRUE(same_bits(packed.gradient.row_range(begin, end), alone.gradient)) << mixed_lengths[d];
        }
    }
}

TEST_F(AttentionBits, RowsMayBeStrided) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const Shapes s{4, 2, 32};
        const Layout layout = layout_of({70, 9});
        const Numbers wide = random_numbers(79 * (s.columns() + 24), dtype, 5);
        const Tensor view = tensor_of(wide, 79, s.columns() + 24, dtype).column_range(8, 8 + s.columns());
        const Tensor dense = tensor_of(numbers_of(view), 79, s.columns(), dtype);
        const Numbers wide_gradient = random_numbers(79 * (s.out_columns() + 8), dtype, 6);
        const Tensor dview =
            tensor_of(wide_gradient, 79, s.out_columns() + 8, dtype).column_range(8, 8 + s.out_columns());
        const Tensor ddense = tensor_of(numbers_of(dview), 79, s.out_columns(), dtype);
        const AttentionTensors strided = run_attention(view, dview, layout, s);
        const AttentionTensors expected = run_attention(dense, ddense, layout, s);
        EXPECT_TRUE(same_bits(strided.out, expected.out));
        EXPECT_TRUE(same_bits(strided.gradient, expected.gradient));
    }
}

// The plan counts what the run allocates.
TEST_F(AttentionBits, MetaAllocatesTheSame) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const Shapes s{9, 3, 64};
        const Layout layout = layout_of({300, 20});
        std::size_t peaks[2];
        for (Place place : {Place::cpu(), Place::meta()}) {
            const std::size_t before = memory_use(place).total();
            reset_memory_peak(place);
            Tensor qkv = Tensor::zeros({320, s.columns()}, dtype, place);
            const Tensor dout = Tensor::zeros({320, s.out_columns()}, dtype, place);
            run_attention(qkv, dout, layout, s);
            peaks[place.is_meta()] = memory_use(place).peak_total() - before;
        }
        EXPECT_EQ(peaks[0], peaks[1]);
    }
}

}   // namespace
}   // namespace trainer::test
