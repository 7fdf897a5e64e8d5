#pragma once

#include <cstdint>

namespace trainer {
struct bf16;
struct f16;
}   // namespace trainer

// Instructions that C++ has no words for. Each has a twin: for the emulator in tests/support/cuda_emulator/ptx.h, of
// half_bits and half_value the code of autograd/dtype.h.
namespace trainer::cuda {

#ifdef __CUDACC__

// f32 → the bits of f16, to nearest even, infinite beyond its range; and back, exactly.
__device__ inline std::uint16_t half_bits(float value) {
    std::uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ inline float half_value(std::uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// c (16, 8) f32 += a (16, 16) · b (16, 8) of pairs of bf16 or f16, by a whole warp. With g = lane / 4 and t = lane % 4
// a lane has
//     a: rows g (a[0], a[2]) and g + 8 (a[1], a[3]), columns 2 t and 2 t + 1 of the first (a[0], a[1]) and second eight
//     b: rows 2 t and 2 t + 1 of the first (b[0]) and second eight (b[1]), column g
//     c: row g (c[0], c[1]) and g + 8 (c[2], c[3]), columns 2 t and 2 t + 1
// (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type").
template <typename Element>
__device__ void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);
template <>
__device__ inline void multiply_add<bf16>(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ inline void multiply_add<f16>(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// b of multiply_add from shared memory whose rows lie along b's columns: lane i < 16 gives the address of row i's eight
// elements, which is a multiple of 16.
__device__ inline void load_transposed(std::uint32_t (&b)[2], const void* row) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(b[0]), "=r"(b[1])
                 : "r"(address)
                 : "memory");
}

// Two numbers as bf16 or f16, to nearest even; `low` in the lower half.
template <typename Element>
__device__ std::uint32_t pair_of(float low, float high);
template <>
__device__ inline std::uint32_t pair_of<bf16>(float low, float high) {
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
template <>
__device__ inline std::uint32_t pair_of<f16>(float low, float high) {
    std::uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

#endif

}   // namespace trainer::cuda
