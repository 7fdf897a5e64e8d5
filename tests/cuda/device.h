#pragma once

#include "autograd/cuda/runtime.h"
#include "autograd/memory.h"

#ifdef TRAINER_EMULATED
#include "tests/support/cuda_emulator/emulator.h"
#endif

namespace trainer {

// Opens the device, or the emulator, once. On the emulator no block is larger than what was
// asked for, and the host may not touch any.
inline bool device_is_there() {
    if (cuda::device_count() == 0) return false;
    if (!cuda::opened_device()) {
        cuda::open_device(0);
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
