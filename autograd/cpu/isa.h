#pragma once

#include <string>
#include <string_view>

namespace trainer {

// Instruction sets our kernels are compiled for: x86-64 levels 2, 3 (AVX2, FMA) and 4 (AVX-512). v4bf16 is level 4
// with the AVX512-BF16 extension; it runs the v4 variants but for kernels written for it (*_bf16.simd.cpp).
// v4amx has AMX for bf16 besides, which only the library of matrix products uses.
enum class Isa : unsigned char { v2, v3, v4, v4bf16, v4amx };

// The set in use, found once: the highest the processor and the operating system support, or the lower one the
// environment variable TRAINER_ISA names. Error(usage) when that names an unknown or unsupported one.
Isa isa();
std::string isa_name();   // "v4", part of the numerics fingerprint

// What isa() is made of: the highest supported set, and the one to use when `wanted` (may be empty) is asked for.
Isa supported_isa();
Isa choose_isa(std::string_view wanted, Isa supported);
std::string_view name_of(Isa isa);

// Tests compare variants by setting another supported set; not while kernels run.
void force_isa(Isa isa);

template <typename Kernel>
Kernel& pick_variant(Kernel& v2, Kernel& v3, Kernel& v4) {
    switch (isa()) {
        case Isa::v2:
            return v2;
        case Isa::v3:
            return v3;
        default:
            return v4;
    }
}

}   // namespace trainer

// Declares a kernel of a .simd.cpp file in the namespace of each variant:
//     TRAINER_VARIANTS(void add_row(float* sum, const float* term, long count))
#define TRAINER_VARIANTS(...) \
    namespace v2 {            \
    __VA_ARGS__;              \
    }                         \
    namespace v3 {            \
    __VA_ARGS__;              \
    }                         \
    namespace v4 {            \
    __VA_ARGS__;              \
    }

// The variant of such a kernel for the set in use: `TRAINER_PICK(add_row)(sum, term, count)`.
#define TRAINER_PICK(kernel) ::trainer::pick_variant(v2::kernel, v3::kernel, v4::kernel)
