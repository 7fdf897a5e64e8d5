#pragma once

#include <cstdlib>

#include "autograd/cuda/runtime.h"
#include "autograd/memory.h"
#include "configs/error.h"

#ifdef TRAINER_EMULATED
#include "tests/support/cuda_emulator/emulator.h"
#endif

namespace trainer {

// What compute-sanitizer could not see otherwise: new memory counts as unwritten, unless tests fill it with NaN.
inline bool poisons_memory() { return std::getenv("TRAINER_SANITIZED") == nullptr; }

// Opens the device, or the emulator, once; with TRAINER_REQUIRE_GPU set it must be there. On the emulator no block is
// larger than what was asked for, and the host may not touch any.
inline bool device_is_there() {
    if (cuda::device_count() == 0) {
        check(std::getenv("TRAINER_REQUIRE_GPU") == nullptr, "TRAINER_REQUIRE_GPU is set, and {}", cuda::why_absent());
        return false;
    }
    if (!cuda::opened_device()) {
        cuda::open_device(0);
        if (std::getenv("TRAINER_SANITIZED")) keep_device_blocks_exact(true);
#ifdef TRAINER_EMULATED
        keep_device_blocks_exact(true);
        emulator::close_memory(true);
#endif
    }
    return true;
}

// While it lives the threads of the emulator take turns in another order; a device has its own.
class OtherOrder {
public:
    explicit OtherOrder([[maybe_unused]] int which) {
#ifdef TRAINER_EMULATED
        emulator::set_order(which == 0 ? emulator::Order::descending : emulator::Order::shuffled);
#endif
    }
    ~OtherOrder() {
#ifdef TRAINER_EMULATED
        emulator::set_order(emulator::Order::ascending);
#endif
    }
    OtherOrder(const OtherOrder&) = delete;
    OtherOrder& operator=(const OtherOrder&) = delete;
};

}   // namespace trainer
