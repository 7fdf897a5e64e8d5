#pragma once

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
};

}   // namespace trainer
