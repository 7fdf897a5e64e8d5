#include "models/mlp.h"

#include <gtest/gtest.h>

#include "autograd/quant/dense.h"
#include "tests/models/random_values.h"

namespace trainer {
namespace {

using test::layout_of;
using test::random_tensor;
using test::randomise;

constexpr std::int64_t size = 8;

std::uint64_t key_of_first(const ForwardContext& context) { return *context.layout.token_keys.data<std::uint64_t>(); }

// Looks at the context again in the backward pass, as its contract allows, and writes the first token's key down.
class LookingBack : public Adapter {
public:
    explicit LookingBack(std::vector<std::uint64_t>& seen) : seen_(seen) {}
    AdapterForm form() const override {
        return General{[this](const Tensor& x, const LinearTerms& bare, const ForwardContext& context) {
            const Tensor y = linear(x, bare, context.layout, context.training);
            Tensor z = y.detached();
            if (Tape* tape = current_tape())
                tape->record({&z}, [this, y, &context](std::span<Tensor> dz, Gradients& gradients) {
                    seen_.push_back(key_of_first(context));
                    gradients.add(y, dz[0]);
                });
            return z;
        }};
    }
    void prepare(Place) override {}
    void merge_weight(Tensor&) const override {}

private:
    std::vector<std::uint64_t>& seen_;
};

TEST(GatedMlp, TheContextOfAChunkOutlivesItsTape) {
    Declarations model;
    GatedMlp mlp(Scope(model) / "mlp", size, 2 * size, false);
    std::vector<std::uint64_t> seen;
    model.linears.back()->adapters.push_back(std::make_unique<LookingBack>(seen));
    mlp.prepare(Place::cpu(), DType::f32);
    for (const auto& parameter : model.parameters.all()) randomise(*parameter, 1, 0.3f);
    const Layout layout = layout_of({7});
    const ForwardContext context{.layout = layout, .training = true, .mlp_chunk = 3};
    Tensor x = random_tensor({7, size}, 3);
    Tape tape;
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = mlp(x, context);
    }
    tape.backward(y, random_tensor({7, size}, 4));
    EXPECT_EQ(seen, (std::vector<std::uint64_t>{1000, 1003, 1006}));
}

}   // namespace
}   // namespace trainer
