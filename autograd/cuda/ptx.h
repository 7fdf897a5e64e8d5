#pragma once

#include <cstdint>

// Instructions that C++ has no words for. Each has a twin for the emulator (tests/support/cuda_emulator/ptx.h).
namespace trainer::cuda {

#ifdef __CUDACC__

// c (16, 8) f32 += a (16, 16) · b (16, 8) of bf16 pairs, by a whole warp. With g = lane / 4 and t = lane % 4 a lane has
//     a: rows g (a[0], a[2]) and g + 8 (a[1], a[3]), columns 2 t and 2 t + 1 of the first (a[0], a[1]) and second eight
//     b: rows 2 t and 2 t + 1 of the first (b[0]) and second eight (b[1]), column g
//     c: row g (c[0], c[1]) and g + 8 (c[2], c[3]), columns 2 t and 2 t + 1
// (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type").
__device__ inline void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
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

// Two numbers as bf16, to nearest even; `low` in the lower half.
__device__ inline std::uint32_t bf16_pair(float low, float high) {
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

#endif

}   // namespace trainer::cuda
