#include "trainer/stepper.h"

#include <cmath>

#include "autograd/tape.h"
#include "configs/error.h"
#include "optim/clip.h"

namespace trainer {

namespace {

Tensor scalar(float value, Place place) {
    Tensor out = Tensor::empty(1, DType::f32, place);
    on(place, [&](Cpu) { *out.data<float>() = value; });
    return out;
}

double value_of(const Tensor& scalar) {
    double value = 0;
    on(scalar.place(), [&](Cpu) { value = *scalar.data<float>(); });
    return value;
}

void add_sums(const LeafSums& leaf, std::int64_t count, const Batch& batch, Sums& sums) {
    sums.loss += value_of(leaf.loss);
    sums.correct += value_of(leaf.correct);
    sums.entropy += value_of(leaf.entropy);
    sums.count += count;
    sums.input_tokens += batch.layout.tokens();
}

}   // namespace

Stepper::Stepper(CausalLm& model, const Objective& objective, Optimizer& optimizer, StepperOptions options)
    : model_(model),
      objective_(objective),
      optimizer_(optimizer),
      options_(options),
      trainable_(model.parameters().trainable()),
      leaf_sum_(trainable_) {}

void Stepper::leaf(const Batch& batch, std::int64_t step_count, Sums& sums) {
    const ForwardContext context{batch.layout, true, true, options_.recompute};
    Tape tape;
    LeafSums leaf;
    {
        const Recording record(tape);
        leaf = objective_.forward(model_, batch, context);
    }
    add_sums(leaf, objective_.count(batch), batch, sums);
    const float weight = step_count > 0 ? 1.0f / static_cast<float>(step_count) : 0.0f;
    tape.backward(leaf.loss, scalar(weight, leaf.loss.place()));
}

Stepper::Result Stepper::step(std::span<const Batch> leaves, double learning_rate) {
    Result result;
    std::int64_t step_count = 0;
    for (const Batch& batch : leaves) step_count += objective_.count(batch);
    for (const Batch& batch : leaves) {
        leaf(batch, step_count, result.sums);
        if (options_.strict) leaf_sum_.add_leaf();
    }
    if (options_.strict) leaf_sum_.finish();

    result.gradient_norm = gradient_norm(trainable_);
    require(std::isfinite(result.sums.loss) && std::isfinite(result.gradient_norm), Exit::diverged,
            "the run diverged: loss {}, gradient norm {}; lower optimizer.lr or check the data",
            result.sums.mean_loss(), result.gradient_norm);
    optimizer_.step(static_cast<float>(learning_rate), clip_coefficient(result.gradient_norm, options_.clip_norm));
    for (Parameter* parameter : trainable_) parameter->gradient = Tensor();
    return result;
}

void evaluate_leaf(const CausalLm& model, const Objective& objective, const Batch& batch, Sums& sums) {
    const NotRecording pause;
    const ForwardContext context{batch.layout};
    add_sums(objective.forward(model, batch, context), objective.count(batch), batch, sums);
}

}   // namespace trainer
