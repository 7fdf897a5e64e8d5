#pragma once

#include <cstdint>
#include <cstring>

#include "autograd/dtype.h"

// The twins of autograd/cuda/ptx.h, which has their contracts.
namespace trainer::cuda {

namespace emulated {

using Lanes = ::trainer::emulator::WarpValues;

inline Lanes of_all_lanes(std::uint32_t low, std::uint32_t high) {
    return ::trainer::emulator::exchange(0xFFFFFFFFu, low | static_cast<std::uint64_t>(high) << 32);
}
template <typename Element>
float element(const Lanes& lanes, unsigned lane, unsigned high, unsigned which) {
    Element value;
    value.bits = static_cast<std::uint16_t>(lanes.values[lane] >> (32 * high + 16 * which));
    return static_cast<float>(value);
}

}   // namespace emulated

template <typename Element>
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    const emulated::Lanes first = emulated::of_all_lanes(a[0], a[1]), second = emulated::of_all_lanes(a[2], a[3]);
    const emulated::Lanes rows = emulated::of_all_lanes(b[0], b[1]);
    const unsigned lane = ::trainer::emulator::lane(), g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned lower = i / 2, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 16; ++k) {
            const emulated::Lanes& half = k < 8 ? first : second;
            c[i] += emulated::element<Element>(half, 4 * g + k % 8 / 2, lower, k % 2) *
                    emulated::element<Element>(rows, 4 * column + k % 8 / 2, k / 8, k % 2);
        }
    }
}

inline void load_transposed(std::uint32_t (&b)[2], const void* row) {
    std::uint64_t address = 0;
    std::memcpy(&address, &row, sizeof row);
    const emulated::Lanes addresses = ::trainer::emulator::exchange(0xFFFFFFFFu, address);
    const unsigned lane = ::trainer::emulator::lane(), g = lane / 4, t = lane % 4;
    for (unsigned eight = 0; eight < 2; ++eight) {
        std::uint32_t pair = 0;
        for (unsigned which = 0; which < 2; ++which) {
            const void* from = nullptr;
            std::memcpy(&from, &addresses.values[8 * eight + 2 * t + which], sizeof from);
            pair |= static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(from)[g]) << (16 * which);
        }
        b[eight] = pair;
    }
}

template <typename Element>
std::uint32_t pair_of(float low, float high) {
    return Element(low).bits | static_cast<std::uint32_t>(Element(high).bits) << 16;
}

}   // namespace trainer::cuda
