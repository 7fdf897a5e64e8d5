#include <algorithm>

#include "autograd/cpu/vector.h"
#include "optim/stochastic_rounding.h"

namespace trainer::TRAINER_ISA {

namespace {

constexpr int blocks = 16;   // of eight elements, with one call of philox each

// The words of philox(key, {first_block + b, 0, 0}) for all b, block by block: trainer::philox, many at once.
void draw(std::uint64_t key, std::uint64_t first_block, std::uint32_t* out) {
    std::uint32_t word[4][blocks];
    for (int b = 0; b < blocks; ++b) {
        const std::uint64_t block = first_block + static_cast<std::uint64_t>(b);
        word[0][b] = static_cast<std::uint32_t>(block);
        word[1][b] = static_cast<std::uint32_t>(block >> 32);
        word[2][b] = word[3][b] = 0;
    }
    auto key0 = static_cast<std::uint32_t>(key);
    auto key1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        for (int b = 0; b < blocks; ++b) {
            const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * word[0][b];
            const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * word[2][b];
            word[0][b] = static_cast<std::uint32_t>(product1 >> 32) ^ word[1][b] ^ key0;
            word[2][b] = static_cast<std::uint32_t>(product0 >> 32) ^ word[3][b] ^ key1;
            word[1][b] = static_cast<std::uint32_t>(product1);
            word[3][b] = static_cast<std::uint32_t>(product0);
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    for (int b = 0; b < blocks; ++b)
        for (int w = 0; w < 4; ++w) out[b * 4 + w] = word[w][b];
}

// trainer::rounded_stochastically
Words rounded(Floats value, Words noise) {
    const Words word = reinterpret_cast<Words>(value);
    const Words size = word & 0x7FFFFFFFu;
    const Words sum = (size + noise) >> 16;
    const Words finite = sum > 0x7F7Fu ? words(0x7F7Fu) : sum;
    const Words other = size > 0x7F800000u ? (size >> 16) | 0x40u : words(0x7F80u);
    return (size < 0x7F800000u ? finite : other) | ((word >> 16) & 0x8000u);
}

}   // namespace

void round_stochastically_elements(std::uint64_t key, std::int64_t first, const float* from, bf16* to,
                                   std::int64_t elements) {
    constexpr std::int64_t at_once = blocks * 8;
    for (std::int64_t begin = 0; begin < elements; begin += at_once) {
        std::uint32_t drawn[blocks * 4];
        draw(key, static_cast<std::uint64_t>((first + begin) / 8), drawn);
        std::uint16_t noise[at_once];   // the lower half of a word first
        for (int i = 0; i < blocks * 4; ++i) {
            noise[2 * i] = static_cast<std::uint16_t>(drawn[i]);
            noise[2 * i + 1] = static_cast<std::uint16_t>(drawn[i] >> 16);
        }
        const std::int64_t end = std::min(begin + at_once, elements);
        for (std::int64_t i = begin; i < end; i += lanes) {
            const std::int64_t count = std::min<std::int64_t>(lanes, end - i);
            Halves halves;
            __builtin_memcpy(&halves, noise + (i - begin), sizeof halves);
            const Floats value = count == lanes ? load(from + i) : load_some(from + i, count);
            const Words bits = rounded(value, __builtin_convertvector(halves, Words));
            halves = __builtin_convertvector(bits, Halves);
            __builtin_memcpy(static_cast<void*>(to + i), &halves, static_cast<unsigned long>(count) * sizeof(bf16));
        }
    }
}

}   // namespace trainer::TRAINER_ISA
