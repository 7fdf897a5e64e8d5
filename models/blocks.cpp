#include "models/blocks.h"

#include "autograd/tape.h"

namespace trainer {

namespace {

// Keeps the weights of a block acquired while it lives.
class Acquired {
public:
    explicit Acquired(const Block& block) : weights_(block.weights()) {
        for (Weight* weight : weights_) weight->acquire();
    }
    ~Acquired() {
        for (Weight* weight : weights_) weight->release();
    }
    Acquired(const Acquired&) = delete;
    Acquired& operator=(const Acquired&) = delete;

private:
    std::vector<Weight*> weights_;
};

// A block's weights during its backward pass. They are acquired by a node behind the block and released by the node in
// front of it, also when the walk is given up before.
using Held = std::shared_ptr<std::unique_ptr<Acquired>>;

void observe_block(std::int64_t index) {
    if (OpObserver* observer = current_observer()) observer->block(index);
}

Held record_begin(const ForwardContext& context, std::size_t index) {
    auto held = std::make_shared<std::unique_ptr<Acquired>>();
    if (Tape* tape = current_tape())
        tape->record({}, [held, &context, index](std::span<Tensor>, Gradients&) {
            held->reset();
            observe_block(-1);
            if (context.block_done) context.block_done(index);
        });
    return held;
}

Tensor record_end(const Tensor& x, const Block& block, const Held& held, std::int64_t index) {
    Tape* tape = recording({&x});
    if (!tape) return x;
    Tensor y = x.detached();
    tape->record({&y}, [x = x.without_value(), &block, held, index](std::span<Tensor> dy, Gradients& gradients) {
        observe_block(index);
        *held = std::make_unique<Acquired>(block);
        gradients.add(x, std::move(dy[0]));
    });
    return y;
}

}   // namespace

Tensor run_blocks(const std::vector<std::unique_ptr<Block>>& blocks, const Tensor& x, const ForwardContext& context) {
    Tensor out = x;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        const Block& block = *blocks[i];
        const Held held = record_begin(context, i);
        const Acquired now(block);
        observe_block(static_cast<std::int64_t>(i));
        if (context.recompute == Recompute::block) {
            Tensor in = out;
            out = recompute([&block, &context](const Tensor& again) { return block.forward(again, context); }, in);
            if (context.offload) offload_until_backward(std::move(in), *context.offload);
        } else {
            out = block.forward(out, context);
        }
        out = record_end(out, block, held, static_cast<std::int64_t>(i));
        observe_block(-1);
    }
    return out;
}

}   // namespace trainer
