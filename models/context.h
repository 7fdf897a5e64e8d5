#pragma once

#include <cstddef>
#include <functional>

#include "autograd/layout.h"

namespace trainer {

// What is kept for the backward pass. `block`: only each block's input; the block runs again in backward.
enum class Recompute { none, block };

// How a forward pass is to run. It and its layout must outlive the tape that records the pass.
struct ForwardContext {
    const Layout& layout;
    bool training = false;   // dropout on
    bool adapters = true;    // false: the base model alone
    Recompute recompute = Recompute::none;
    // Called in the backward pass with a block's index when the gradients of its parameters are complete.
    std::function<void(std::size_t)> block_done = {};
};

}   // namespace trainer
