#include "trainer/objectives/next_token.h"

#include "autograd/ops/linear_cross_entropy.h"

namespace trainer {

namespace {

class NextToken : public Objective {
public:
    std::int64_t count(const Batch& batch) const override { return batch.trained_tokens; }

    LeafSums forward(const CausalLm& model, const Batch& batch, const ForwardContext& context) const override {
        const Tensor x = model.embed(batch.ids, context);   // (N, C)
        const Tensor hidden = model.hidden(x, context);     // (N, C)
        const CrossEntropySums sums =
            linear_cross_entropy(hidden, model.head(context), batch.targets, batch.layout, context.training);
        return {sums.loss, sums.correct, sums.entropy};
    }
};

}   // namespace

std::unique_ptr<Objective> make_next_token() { return std::make_unique<NextToken>(); }

}   // namespace trainer
