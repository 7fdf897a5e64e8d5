#include "models/blocks.h"

#include "autograd/tape.h"

namespace trainer {

namespace {

// x itself; `before` runs when the backward pass reaches this point.
Tensor when_backward(const Tensor& x, std::function<void()> before) {
    Tape* tape = recording({&x});
    if (!tape) return x;
    Tensor y = x.detached();
    tape->record({&y}, [x = x.without_value(), before = std::move(before)](std::span<Tensor> dy, Gradients& gradients) {
        before();
        gradients.add(x, std::move(dy[0]));
    });
    return y;
}

void acquire(const Block& block) {
    for (Weight* weight : block.weights()) weight->acquire();
}

void release(const Block& block) {
    for (Weight* weight : block.weights()) weight->release();
}

}   // namespace

Tensor run_blocks(const std::vector<std::unique_ptr<Block>>& blocks, const Tensor& x, const ForwardContext& context) {
    Tensor out = x;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const Block& block = *blocks[i];
        // Reached in backward once the block is done.
        out = when_backward(out, [&block] { release(block); });
        acquire(block);
        if (context.recompute == Recompute::block) {
            out = recompute([&block, &context](const Tensor& in) { return block.forward(in, context); }, out);
        } else {
            out = block.forward(out, context);
        }
        release(block);
        out = when_backward(out, [&block] { acquire(block); });
    }
    return out;
}

}   // namespace trainer
