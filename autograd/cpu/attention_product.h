#pragma once

// The small matrix product of the attention blocks and the forms of its operands. Only for .simd.cpp files.
//
// c (M, N) = [c +] a (M, K) · b (K, N), with scalars of a spread over the lanes and rows of b in vectors. An operand is
// made of 32-bit words: one f32, or two bf16 that are neighbours along K. Element (m, k) of a stands at
// a[m · a_row + k · a_step], row k of b at b + k · b_step, k counting words.

#include <cstdint>

#include "autograd/cpu/vector.h"
#include "autograd/dtype.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace trainer::TRAINER_ISA {
namespace {

using std::int64_t;

// Columns of c and padded sizes are multiples of this.
constexpr int64_t column_step = 16;
constexpr int64_t padded(int64_t count) { return (count + column_step - 1) / column_step * column_step; }

// f32 products. Elements in memory may be f32 or bf16.
template <typename Stored>
struct Plain {
    using Element = Stored;
    using Word = float;
    static constexpr int64_t pair = 1;
    static Floats multiply_add(Floats sum, Word a, const Word* b) { return sum + a * load(b); }
};

#ifdef __AVX512BF16__
// Products of pairs of bf16 with f32 sums.
struct Paired {
    using Element = bf16;
    using Word = std::uint32_t;
    static constexpr int64_t pair = 2;
    static Floats multiply_add(Floats sum, Word a, const Word* b) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(words(a)),
                                reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)));
    }
};
#endif

// Rows of c kept in registers, with two vectors each.
constexpr int block_rows = lanes == 16 ? 12 : lanes == 8 ? 6 : 5;

template <typename Kind, int rows, int vectors>
void product_block(float* c, int64_t c_row, const typename Kind::Word* a, int64_t a_row, int64_t a_step,
                   const typename Kind::Word* b, int64_t b_step, int64_t depth, bool accumulate) {
    Floats sum[rows][vectors];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[r][v] = accumulate ? load(c + r * c_row + v * lanes) : Floats{};
    const typename Kind::Word* thirds[(rows + 2) / 3];   // three rows are reached from each pointer
#pragma GCC unroll 4
    for (int r = 0; r < rows; r += 3) thirds[r / 3] = a + r * a_row;
    for (int64_t k = 0; k < depth; ++k) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
            const typename Kind::Word scalar = thirds[r / 3][r % 3 * a_row];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) sum[r][v] = Kind::multiply_add(sum[r][v], scalar, b + v * lanes);
        }
#pragma GCC unroll 4
        for (auto& pointer : thirds) pointer += a_step;
        b += b_step;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) store(c + r * c_row + v * lanes, sum[r][v]);
}

template <typename Kind, int vectors, int rows = block_rows>
void product_rows(int64_t count, float* c, int64_t c_row, const typename Kind::Word* a, int64_t a_row, int64_t a_step,
                  const typename Kind::Word* b, int64_t b_step, int64_t depth, bool accumulate) {
    if constexpr (rows > 0) {
        if (count == rows) {
            product_block<Kind, rows, vectors>(c, c_row, a, a_row, a_step, b, b_step, depth, accumulate);
        } else {
            product_rows<Kind, vectors, rows - 1>(count, c, c_row, a, a_row, a_step, b, b_step, depth, accumulate);
        }
    }
}

// Rows are cut into nearly equal groups; each element's sum runs in the order of k whatever the cut.
template <typename Kind>
void product(float* c, int64_t c_row, int64_t rows, int64_t columns, const typename Kind::Word* a, int64_t a_row,
             int64_t a_step, const typename Kind::Word* b, int64_t b_step, int64_t depth, bool accumulate) {
    const int64_t groups = (rows + block_rows - 1) / block_rows;
    for (int64_t column = 0; column < columns;) {
        const bool wide = columns - column >= 2 * lanes;
        for (int64_t group = 0, row = 0; group < groups; ++group) {
            const int64_t end = rows * (group + 1) / groups;
            if (wide) {
                product_rows<Kind, 2>(end - row, c + row * c_row + column, c_row, a + row * a_row, a_row, a_step,
                                      b + column, b_step, depth, accumulate);
            } else {
                product_rows<Kind, 1>(end - row, c + row * c_row + column, c_row, a + row * a_row, a_row, a_step,
                                      b + column, b_step, depth, accumulate);
            }
            row = end;
        }
        column += wide ? 2 * lanes : lanes;
    }
}

// One row of `count` elements as words, filled up with zeros to `words` words, a multiple of eight.
template <typename Kind>
void load_row(typename Kind::Word* to, int64_t words, const typename Kind::Element* from, int64_t count) {
    if constexpr (sizeof(typename Kind::Element) * Kind::pair == sizeof(typename Kind::Word)) {
        using Eight = std::uint32_t __attribute__((vector_size(32)));
        const int64_t whole = count / Kind::pair / 8 * 8;
        for (int64_t i = 0; i < whole; i += 8) {
            Eight values;
            __builtin_memcpy(&values, from + i * Kind::pair, sizeof values);
            __builtin_memcpy(to + i, &values, sizeof values);
        }
        for (int64_t i = whole; i < count / Kind::pair; ++i)
            __builtin_memcpy(to + i, from + i * Kind::pair, sizeof *to);
    } else {
        int64_t i = 0;
        for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
        for (; i < count; ++i) to[i] = load_some(from + i, 1)[0];
    }
    for (int64_t i = count / Kind::pair; i < words; ++i) to[i] = 0;
}

// to (columns, rows) = from (rows, columns), words; both sizes are multiples of four.
template <typename Word>
void transpose(Word* to, const Word* from, int64_t rows, int64_t columns) {
    using Four = std::uint32_t __attribute__((vector_size(16)));
    static_assert(sizeof(Word) == 4);
    for (int64_t row = 0; row < rows; row += 4)
        for (int64_t column = 0; column < columns; column += 4) {
            Four in[4];
            for (int i = 0; i < 4; ++i) __builtin_memcpy(&in[i], from + (row + i) * columns + column, sizeof in[i]);
            const Four low01 = __builtin_shuffle(in[0], in[1], Four{0, 4, 1, 5});
            const Four low23 = __builtin_shuffle(in[2], in[3], Four{0, 4, 1, 5});
            const Four high01 = __builtin_shuffle(in[0], in[1], Four{2, 6, 3, 7});
            const Four high23 = __builtin_shuffle(in[2], in[3], Four{2, 6, 3, 7});
            const Four out[4] = {__builtin_shuffle(low01, low23, Four{0, 1, 4, 5}),
                                 __builtin_shuffle(low01, low23, Four{2, 3, 6, 7}),
                                 __builtin_shuffle(high01, high23, Four{0, 1, 4, 5}),
                                 __builtin_shuffle(high01, high23, Four{2, 3, 6, 7})};
            for (int i = 0; i < 4; ++i) __builtin_memcpy(to + (column + i) * rows + row, &out[i], sizeof out[i]);
        }
}

#ifdef __AVX512BF16__
// Two rows of f32 as words of bf16 neighbours: first row in the lower halves.
inline void store_pair(std::uint32_t* to, Floats first, Floats second) {
    using Sixteens = std::uint16_t __attribute__((vector_size(64)));
    constexpr Sixteens order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const Sixteens both = __builtin_shuffle(reinterpret_cast<Sixteens>(_mm512_cvtne2ps_pbh(second, first)), order);
    __builtin_memcpy(to, &both, sizeof both);
}

// One row as bf16.
inline void store_halves(std::uint32_t* to, Floats values) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
}

// Rows 2i and 2i + 1 of `from` (rows, columns) woven into row i of `to` (rows/2 rounded up, columns): word j holds
// their elements j. A missing last row counts as zeros. columns: elements, a multiple of 16.
inline void pair_rows(std::uint32_t* to, const std::uint32_t* from, int64_t rows, int64_t columns) {
    constexpr Words low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    constexpr Words high = low + 8;
    const int64_t row_words = columns / 2;
    for (int64_t row = 0; row < rows; row += 2)
        for (int64_t j = 0; j < row_words; j += lanes) {
            const bool whole = row_words - j >= lanes;   // else half a vector is left
            const auto bytes = static_cast<unsigned long>(whole ? lanes : lanes / 2) * sizeof(std::uint32_t);
            Words first = {};
            Words second = {};
            __builtin_memcpy(&first, from + row * row_words + j, bytes);
            if (row + 1 < rows) __builtin_memcpy(&second, from + (row + 1) * row_words + j, bytes);
            const Words even = (first & 0xFFFFu) | (second << 16);
            const Words odd = (first >> 16) | (second & 0xFFFF0000u);
            const Words left = __builtin_shuffle(even, odd, low);
            const Words right = __builtin_shuffle(even, odd, high);
            std::uint32_t* out = to + row / 2 * columns + 2 * j;
            __builtin_memcpy(out, &left, sizeof left);
            if (whole) __builtin_memcpy(out + lanes, &right, sizeof right);
        }
}
#endif

}   // namespace
}   // namespace trainer::TRAINER_ISA
