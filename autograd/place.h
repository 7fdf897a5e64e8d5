#pragma once

#include <cstdint>

namespace trainer {

// Where a tensor lives. `meta` has shapes and no bytes: running the training code on it gives the memory plan.
// A CUDA build adds `cuda` here and a `Cuda` tag below; `index` is then the device.
struct Place {
    enum class Kind : std::uint8_t { cpu, meta };
    Kind kind = Kind::cpu;
    std::uint8_t index = 0;

    static constexpr Place cpu() { return {Kind::cpu, 0}; }
    static constexpr Place meta() { return {Kind::meta, 0}; }
    bool is_meta() const { return kind == Kind::meta; }
    friend bool operator==(Place, Place) = default;
};

// Execution context of a kernel on the CPU. A kernel is a set of overloads on this tag, one per place:
// `void add_forward(Cpu, …)`. Work is spread by OpenMP over omp_get_max_threads() threads, and the split never
// changes a bit of the result.
struct Cpu {};

// Calls `kernel(tag)` with the tag of the place; on meta nothing runs.
template <typename Kernel>
void on(Place place, Kernel&& kernel) {
    if (place.kind == Place::Kind::cpu) kernel(Cpu{});
}

}   // namespace trainer
