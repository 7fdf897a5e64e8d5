// Attention over a key/value cache.
#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/autograd/attention_twin.h"

namespace trainer::test {
namespace {

using AttentionCache = PoisonedAttention;

KvCache cache_of(const Shapes& s, int layers, std::int64_t capacity, DType dtype) {
    KvCache cache;
    cache.capacity = capacity;
    for (int layer = 0; layer < layers; ++layer) {
        cache.keys.push_back(Tensor::empty({capacity, s.kv_heads * s.head_dim}, dtype));
        cache.values.push_back(Tensor::empty({capacity, s.kv_heads * s.head_dim}, dtype));
    }
    return cache;
}

// A prompt, some tokens at once, then one at a time: the same as all at once without a cache.
TEST_F(AttentionCache, AgreesWithTheWhole) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (const Shapes& s : {Shapes{9, 3, 64}, Shapes{4, 4, 16}, Shapes{20, 1, 80}}) {
            const int tokens = 300;
            const Tensor qkv = tensor_of(random_numbers(tokens * s.columns(), dtype, 5), tokens, s.columns(), dtype);
            const Numbers whole = numbers_of(attention(qkv, layout_of({tokens}), s.shape(), 0));
            KvCache cache = cache_of(s, 2, tokens + 7, dtype);
            Numbers pieces;
            for (int count : {140, 30, 2, 1, 1, 1, 100, 1, 1, 23}) {
                Layout layout = layout_of({count});
                layout.cache = &cache;
                const Tensor out = attention(qkv.row_range(cache.length, cache.length + count), layout, s.shape(), 1);
                const Numbers numbers = numbers_of(out);
                pieces.insert(pieces.end(), numbers.begin(), numbers.end());
                cache.length += count;
            }
            ASSERT_EQ(cache.length, tokens);
            EXPECT_LT(relative_error(pieces, whole), dtype == DType::f32 ? 1e-6 : 4e-3);
        }
}

TEST_F(AttentionCache, RefusesWhatItCannotHold) {
    const Shapes s{2, 1, 16};
    KvCache cache = cache_of(s, 1, 8, DType::f32);
    cache.length = 6;
    Layout layout = layout_of({3});
    layout.cache = &cache;
    const Tensor qkv = tensor_of(random_numbers(3 * s.columns(), DType::f32, 5), 3, s.columns(), DType::f32);
    EXPECT_THROW(attention(qkv, layout, s.shape(), 0), Error);   // 9 tokens of 8
    layout = layout_of({1, 1});
    layout.cache = &cache;
    EXPECT_THROW(attention(qkv.row_range(0, 2), layout, s.shape(), 0), Error);   // two documents
    layout = layout_of({2});
    layout.cache = &cache;
    EXPECT_THROW(attention(qkv.row_range(0, 2), layout, s.shape(), 1), Error);   // no such layer
    Tape tape;
    const Recording record(tape);
    Tensor wanted = qkv.row_range(0, 2);
    tape.want(wanted);
    EXPECT_THROW(attention(wanted, layout, s.shape(), 0), Error);   // no gradient through a cache
}

}   // namespace
}   // namespace trainer::test
