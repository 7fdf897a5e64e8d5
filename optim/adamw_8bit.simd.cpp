#include <algorithm>
#include <iterator>

#include "autograd/cpu/vector.h"
#include "optim/adamw_8bit_kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace trainer::TRAINER_ISA {

namespace {

using Bytes = std::uint8_t __attribute__((vector_size(lanes)));

// The numbers of a block, whole vectors of them.
struct alignas(64) Numbers {
    float at[state_block];
};

// With all lanes of a mask: g++ 12 takes the forms without one for uses of something uninitialised.
Floats look_up(const float* table, Integers index) {
#if defined(__AVX512F__)
    return reinterpret_cast<Floats>(
        _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xFFFF, reinterpret_cast<__m512i>(index), table, 4));
#elif defined(__AVX2__)
    return reinterpret_cast<Floats>(_mm256_i32gather_ps(table, reinterpret_cast<__m256i>(index), 4));
#else
    Floats out;
    for (int i = 0; i < lanes; ++i) out[i] = table[index[i]];
    return out;
#endif
}

Integers look_up(const std::int32_t* table, Integers index) {
#if defined(__AVX512F__)
    return reinterpret_cast<Integers>(
        _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xFFFF, reinterpret_cast<__m512i>(index), table, 4));
#elif defined(__AVX2__)
    return reinterpret_cast<Integers>(_mm256_i32gather_epi32(table, reinterpret_cast<__m256i>(index), 4));
#else
    Integers out;
    for (int i = 0; i < lanes; ++i) out[i] = table[index[i]];
    return out;
#endif
}

Floats size_of_each(Floats values) { return reinterpret_cast<Floats>(reinterpret_cast<Words>(values) & 0x7FFFFFFFu); }

Floats decode(const CodedBlock& block, std::int64_t i) {
    Bytes bytes;
    __builtin_memcpy(&bytes, block.code + i, sizeof bytes);
    return look_up(block.codes.map.data(), __builtin_convertvector(bytes, Integers)) * *block.scale;
}

// Numbers from −1 to 1; any code for what is no number.
Integers codes_of(const DynamicCodes& codes, Floats x) {
    const Integers bits = reinterpret_cast<Integers>(x);
    Integers key = (bits & 0x7FFFFFFF) >> 16;
    key = key < DynamicCodes::first_key ? integers(DynamicCodes::first_key) : key;
    key = key > DynamicCodes::last_key ? integers(DynamicCodes::last_key) : key;
    key = key - DynamicCodes::first_key + ((bits >> 31) & DynamicCodes::keys);
    const Integers entry = look_up(codes.entries.data(), key);
    const Integers beyond = (bits & 0xFFFF) > (entry & 0xFFFF);   // a true comparison is −1
    return (entry >> 16) + (beyond & ((bits >> 31) | 1));
}

// Whole vectors; what lies behind `count` must be 0.
void encode(const Numbers& numbers, float largest, const CodedBlock& block, std::int64_t count) {
    const float inverse = 1.0f / std::max(largest, 1e-38f);
    for (std::int64_t i = 0; i < count; i += lanes) {
        const Bytes bytes = __builtin_convertvector(codes_of(block.codes, load(numbers.at + i) * inverse), Bytes);
        __builtin_memcpy(block.code + i, &bytes, sizeof bytes);
    }
    *block.scale = largest;
}

void whole_vectors(const AdamWConstants& step, const float* gradient, float* value, const CodedBlock& mean,
                   const CodedBlock& square, std::int64_t count) {
    Numbers means;
    Numbers squares;
    Floats largest_mean = floats(0);
    Floats largest_square = floats(0);
    for (std::int64_t i = 0; i < count; i += lanes) {
        const Floats g = gradient ? load(gradient + i) * step.gradient_scale : floats(0);
        Floats m = decode(mean, i);
        m = m + step.take1 * (g - m);
        const Floats v = step.beta2 * decode(square, i) + step.take2 * g * g;
        largest_mean = largest_mean > size_of_each(m) ? largest_mean : size_of_each(m);
        largest_square = largest_square > v ? largest_square : v;
        store(means.at + i, m);
        store(squares.at + i, v);
    }
    const float root_scale = 1.0f / step.root_correction;
    for (std::int64_t i = 0; i < count; ++i) {
        const float denominator = __builtin_sqrtf(squares.at[i]) * root_scale + step.eps;
        value[i] = value[i] * step.keep - step.step_size * means.at[i] / denominator;
    }
    encode(means, max_of(largest_mean), mean, count);
    encode(squares, max_of(largest_square), square, count);
}

// Runs `kernel` on copies of the codes that are whole vectors long.
template <typename Kernel>
void padded(const CodedBlock& block, std::int64_t count, const Kernel& kernel) {
    std::uint8_t code[state_block];   // behind the end zero, which goes into no scale
    std::fill(std::begin(code), std::end(code), block.codes.code_of_zero);
    __builtin_memcpy(code, block.code, static_cast<std::size_t>(count));
    kernel(CodedBlock{block.codes, code, block.scale});
    __builtin_memcpy(block.code, code, static_cast<std::size_t>(count));
}

std::int64_t whole(std::int64_t count) { return (count + lanes - 1) / lanes * lanes; }

}   // namespace

void adamw_8bit_block(const AdamWConstants& step, const float* gradient, float* value, const CodedBlock& mean,
                      const CodedBlock& square, std::int64_t count) {
    if (count % lanes == 0) return whole_vectors(step, gradient, value, mean, square, count);
    const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
    Numbers gradients{};
    Numbers values{};
    if (gradient) __builtin_memcpy(gradients.at, gradient, bytes);
    __builtin_memcpy(values.at, value, bytes);
    padded(mean, count, [&](const CodedBlock& means) {
        padded(square, count, [&](const CodedBlock& squares) {
            whole_vectors(step, gradients.at, values.at, means, squares, whole(count));
        });
    });
    __builtin_memcpy(value, values.at, bytes);
}

}   // namespace trainer::TRAINER_ISA
