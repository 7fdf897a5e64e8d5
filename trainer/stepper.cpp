#include "trainer/stepper.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/tape.h"
#include "comm/collective.h"
#include "configs/error.h"
#include "optim/clip.h"
#include "trainer/backward_update.h"

namespace trainer {

void Sums::add(const Sums& other) {
    loss += other.loss;
    correct += other.correct;
    entropy += other.entropy;
    count += other.count;
    input_tokens += other.input_tokens;
}

Stepper::Stepper(CausalLm& model, const Objective& objective, DataPath& path, const StepperOptions& options)
    : model_(model),
      objective_(objective),
      ranks_(path.ranks()),
      options_(options),
      place_(path.place()),
      gradients_(make_gradient_sum(model.trainable_by_block(), path, options.sums, options.sharding)) {}

LeafSums forward_backward(const CausalLm& model, const Objective& objective, const Batch& batch,
                          const ForwardContext& context, std::int64_t step_count, double loss_scale,
                          const std::function<void(double)>& before_backward) {
    Tape tape;
    LeafSums leaf;
    {
        const Recording record(tape);
        leaf = objective.forward(model, batch, context);
    }
    if (before_backward) before_backward(value_of(leaf.loss));
    const float weight = step_count > 0 ? static_cast<float>(loss_scale) / static_cast<float>(step_count) : 0.0f;
    tape.backward(leaf.loss, scalar(weight, leaf.loss.place()));
    return leaf;
}

ForwardContext Stepper::training_context(const Batch& batch, std::function<void(std::size_t)> block_done) const {
    return {batch.layout, true, true, options_.recompute, std::move(block_done), options_.offload, options_.mlp_chunk};
}

Stepper::Result Stepper::step(std::int64_t leaves, const std::function<Batch(std::int64_t)>& leaf, Optimizer& optimizer,
                              double learning_rate, double loss_scale) {
    if (options_.in_backward) {
        check(leaves == 1 && ranks_.size() == 1 && loss_scale == 1,
              "in_backward: {} leaves for {} ranks, loss scale {}", leaves, ranks_.size(), loss_scale);
        return step_in_backward(leaf(0), optimizer, learning_rate);
    }
    const std::vector<std::int64_t> indices = gradients_->leaves_of(leaves);
    std::vector<Batch> batches;
    std::int64_t count = 0;
    for (const std::int64_t index : indices) count += objective_.count(batches.emplace_back(leaf(index)));
    const std::int64_t step_count = sum(ranks_, count);

    Result result;
    LeafTable mine(indices.size(), place_);
    gradients_->begin(leaves);
    for (std::size_t i = 0; i < indices.size(); ++i) {
        const ForwardContext context =
            training_context(batches[i], [this](std::size_t block) { gradients_->unit_done(block); });
        const LeafSums leaf_sums = forward_backward(model_, objective_, batches[i], context, step_count, loss_scale);
        mine.add(indices[i], leaf_sums, objective_.count(batches[i]), batches[i]);
        result.local_tokens += batches[i].layout.tokens();
        gradients_->add_leaf();
    }
    gradients_->finish();
    result.gradient_norm = gradients_->norm() / loss_scale;
    for (const LeafResult& one : gather_results(ranks_, mine.read())) result.sums.add(one.sums);
    result.applied = std::isfinite(result.sums.loss) && std::isfinite(result.gradient_norm);
    if (result.applied) {
        const float clip = clip_coefficient(result.gradient_norm, options_.clip_norm);
        optimizer.step(gradients_->gradients(), learning_rate, clip / static_cast<float>(loss_scale));
        gradients_->share_values();
    }
    gradients_->forget_gradients();
    return result;
}

void Stepper::rehearse(const Batch& batch) {
    const auto units = model_.trainable_by_block();
    const auto forget = [&units](std::size_t unit) {
        for (Parameter* parameter : units[unit]) parameter->gradient = Tensor();
    };
    const bool leave_early = options_.in_backward || (options_.sharding == Sharding::gradients && ranks_.size() > 1);
    const ForwardContext context =
        training_context(batch, leave_early ? std::function<void(std::size_t)>(forget) : nullptr);
    const LeafSums sums = forward_backward(model_, objective_, batch, context, objective_.count(batch));
    gradients_->forget_gradients();
    value_of(sums.loss);   // what went wrong on a device is known now
}

Stepper::Result Stepper::step_in_backward(const Batch& batch, Optimizer& optimizer, double learning_rate) {
    BackwardUpdate update(model_.trainable_by_block(), optimizer, learning_rate);
    const ForwardContext context = training_context(batch, [&update](std::size_t block) { update.unit_done(block); });
    const std::int64_t count = objective_.count(batch);
    LeafTable table(1, place_);
    table.add(0,
              forward_backward(model_, objective_, batch, context, count, 1,
                               [&update](double loss) { update.begin(std::isfinite(loss)); }),
              count, batch);
    update.finish();
    Result result;
    result.sums = table.read().front().sums;
    result.local_tokens = result.sums.input_tokens;
    result.gradient_norm = update.norm();
    result.applied = update.applied();
    result.spoiled = update.spoiled();
    return result;
}

LeafSums evaluate_leaf(const CausalLm& model, const Objective& objective, const Batch& batch, std::int64_t mlp_chunk) {
    const NotRecording pause;
    ForwardContext context{batch.layout};
    context.mlp_chunk = mlp_chunk;
    return objective.forward(model, batch, context);
}

LeafTable::LeafTable(std::size_t leaves, Place place) {
    const PurposeScope purpose(Purpose::workspace);
    values_ = Tensor::empty(static_cast<std::int64_t>(3 * leaves), DType::f32, place);
}

void LeafTable::add(std::int64_t leaf, const LeafSums& sums, std::int64_t count, const Batch& batch) {
    auto at = static_cast<std::int64_t>(3 * leaves_.size());
    for (const Tensor* sum : {&sums.loss, &sums.correct, &sums.entropy}) {
        Tensor kept = values_.row_range(at, at + 1);
        copy(*sum, kept);
        ++at;
    }
    leaves_.push_back({leaf, {0, 0, 0, count, batch.layout.tokens()}});
}

std::vector<LeafResult> LeafTable::read() const {
    std::vector<LeafResult> all = leaves_;
    if (values_.place().is_meta() || all.empty()) return all;
    const std::vector<float> values = values_.to_vector<float>();
    for (auto next = values.begin(); LeafResult & one : all) {
        one.sums.loss = *next++;
        one.sums.correct = *next++;
        one.sums.entropy = *next++;
    }
    return all;
}

std::vector<LeafResult> gather_results(Communicator& ranks, const std::vector<LeafResult>& mine) {
    constexpr std::size_t width = 6;
    std::vector<double> values;
    for (const auto& [leaf, sums] : mine)
        values.insert(values.end(), {static_cast<double>(leaf), sums.loss, sums.correct, sums.entropy,
                                     static_cast<double>(sums.count), static_cast<double>(sums.input_tokens)});
    const std::vector<double> all = gather_values(ranks, values);
    std::vector<LeafResult> results;
    for (std::size_t i = 0; i + width <= all.size(); i += width)
        results.push_back({static_cast<std::int64_t>(all[i]),
                           {all[i + 1], all[i + 2], all[i + 3], static_cast<std::int64_t>(all[i + 4]),
                            static_cast<std::int64_t>(all[i + 5])}});
    std::sort(results.begin(), results.end(), [](const auto& a, const auto& b) { return a.leaf < b.leaf; });
    return results;
}

}   // namespace trainer
