#pragma once

#include <cstdint>
#include <source_location>
#include <type_traits>

namespace trainer {

// Where a tensor lives. `meta` has shapes and no bytes: running the training code on it gives the memory plan of the
// place that it stands for. `index` is the device of `cuda`.
struct Place {
    enum class Kind : std::uint8_t { cpu, cuda, meta };
    Kind kind = Kind::cpu;
    std::uint8_t index = 0;
    Kind stands_for = Kind::cpu;   // of meta

    static constexpr Place cpu() { return {}; }
    static constexpr Place cuda(std::uint8_t index = 0) { return {Kind::cuda, index, Kind::cpu}; }
    static constexpr Place meta(Kind stands_for = Kind::cpu) { return {Kind::meta, 0, stands_for}; }
    bool is_cpu() const { return kind == Kind::cpu; }
    bool is_cuda() const { return kind == Kind::cuda; }
    bool is_meta() const { return kind == Kind::meta; }
    // A device, or meta that stands for one.
    bool on_device() const { return is_cuda() || stands_for == Kind::cuda; }
    // Where the host keeps what goes with tensors of this place.
    Place host() const { return is_meta() ? meta() : cpu(); }
    friend bool operator==(Place, Place) = default;
};

// Execution context of a kernel on the CPU. A kernel is a set of overloads on this tag, one per place:
// `void add_forward(Cpu, …)`. Work is spread by OpenMP over omp_get_max_threads() threads, and the split never
// changes a bit of the result.
struct Cpu {};

// The same on a GPU: kernels and copies run in order on the device's one stream (autograd/cuda/runtime.h).
struct Cuda {};

// Error(bad_recipe): what stands there has no kernel for a GPU.
[[noreturn]] void refuse_cuda(const std::source_location& where);

// Calls `kernel(tag)` with the tag of the place; on meta nothing runs. What takes only Cpu is refused on cuda, and on
// meta that stands for it: before the first step.
template <typename Kernel>
void on(Place place, Kernel&& kernel, std::source_location where = std::source_location::current()) {
    if (place.kind == Place::Kind::cpu) kernel(Cpu{});
#ifdef TRAINER_CUDA
    if (place.is_cuda() || place.stands_for == Place::Kind::cuda) {
        if constexpr (std::is_invocable_v<Kernel, Cuda>) {
            if (place.is_cuda()) kernel(Cuda{});
        } else {
            refuse_cuda(where);
        }
    }
#else
    static_cast<void>(where);
#endif
}

}   // namespace trainer
