#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "autograd/layout.h"
#include "autograd/offload.h"

namespace trainer {

// What is not kept for the backward pass but computed again in it. `norms`: the outputs of the norms and of the gated
// activation. `block`: all but each block's input. `automatic`: the least that fits into memory, chosen before a run.
enum class Recompute { none, norms, block, automatic };

// How a forward pass is to run. It and its layout must outlive the tape that records the pass.
struct ForwardContext {
    const Layout& layout;
    bool training = false;   // dropout on
    bool adapters = true;    // false: the base model alone
    Recompute recompute = Recompute::none;
    // Called in the backward pass with a block's index when the gradients of its parameters are complete.
    std::function<void(std::size_t)> block_done = {};
    // Where the inputs of blocks wait for backward, with Recompute::block; null: in memory.
    OffloadStore* offload = nullptr;
    std::int64_t mlp_chunk = 0;   // tokens that a feed-forward layer computes at once; 0: all
};

}   // namespace trainer
