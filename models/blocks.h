#pragma once

#include <memory>
#include <vector>

#include "autograd/quant/weight.h"
#include "models/context.h"

namespace trainer {

// One layer of a stack: (N, C) in, (N, C) out.
class Block {
public:
    virtual ~Block() = default;
    virtual Tensor forward(const Tensor& x, const ForwardContext& context) const = 0;
    // The weights that must be acquired while the block runs, forward or backward.
    virtual std::vector<Weight*> weights() const = 0;
};

// The only loop over layers. Recomputation and the gathering of weights happen here, before and after a block's
// forward and backward, and nowhere else. With context.offload, x is without memory until backward is done with it.
Tensor run_blocks(const std::vector<std::unique_ptr<Block>>& blocks, const Tensor& x, const ForwardContext& context);

}   // namespace trainer
