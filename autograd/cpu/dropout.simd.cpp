#include <immintrin.h>

#include "autograd/cpu/dropout_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

// 64-bit products of the even lanes.
Longs even_products(Longs a, Words b) {
#if TRAINER_VECTOR_BYTES == 64
    return reinterpret_cast<Longs>(
        _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif TRAINER_VECTOR_BYTES == 32
    return reinterpret_cast<Longs>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
    return reinterpret_cast<Longs>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
}

struct Product {
    Words high;
    Words low;
};

Product multiply(Words a, std::uint32_t factor) {
    const Words b = words(factor);
    const Longs even = even_products(reinterpret_cast<Longs>(a), b);
    const Longs odd = even_products(reinterpret_cast<Longs>(a) >> 32, b);
    constexpr std::uint64_t upper = 0xFFFFFFFF00000000u;
    return {reinterpret_cast<Words>((even >> 32) | (odd & upper)), a * b};
}

struct Four {
    Words word[4];
};

// autograd/random.h's philox for counters {counter, 0, 0, 0}.
Four philox_words(std::uint64_t key, Words counter) {
    auto key0 = static_cast<std::uint32_t>(key);
    auto key1 = static_cast<std::uint32_t>(key >> 32);
    Words c0 = counter;
    Words c1 = words(0);
    Words c2 = words(0);
    Words c3 = words(0);
    for (int round = 0; round < 10; ++round) {
        const Product product0 = multiply(c0, 0xD2511F53u);
        const Product product1 = multiply(c2, 0xCD9E8D57u);
        c0 = product1.high ^ c1 ^ key0;
        c1 = product1.low;
        c2 = product0.high ^ c3 ^ key1;
        c3 = product0.low;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

Words lane_numbers() {
    Words out = {};
    for (int i = 0; i < lanes; ++i) out[i] = static_cast<std::uint32_t>(i);
    return out;
}

template <typename Element>
void mask_and_scale(const Element* in, Element* out, std::int64_t count, std::uint64_t key, std::uint32_t threshold,
                    float scale) {
    const Words numbers = lane_numbers();
    for (std::int64_t run = 0; run < count; run += 64)
        for (int part = 0; part < 16 && run + part < count; part += lanes) {
            const Four draw = philox_words(key, numbers + static_cast<std::uint32_t>(run / 4 + part));
            for (int w = 0; w < 4; ++w) {
                const std::int64_t i = run + 16 * w + part;
                const auto keep = (draw.word[w] >> 8) >= threshold;
                if (i + lanes <= count) {
                    store(out + i, keep ? load(in + i) * scale : floats(0));
                } else if (i < count) {
                    store_some(out + i, keep ? load_some(in + i, count - i) * scale : floats(0), count - i);
                }
            }
        }
}

}   // namespace

void dropout_row(const void* in, void* out, DType type, std::int64_t count, std::uint64_t key, std::uint32_t threshold,
                 float scale) {
    if (type == DType::f32) {
        mask_and_scale(static_cast<const float*>(in), static_cast<float*>(out), count, key, threshold, scale);
    } else {
        mask_and_scale(static_cast<const bf16*>(in), static_cast<bf16*>(out), count, key, threshold, scale);
    }
}

}   // namespace trainer::TRAINER_ISA
