#include "trainer/trainer.h"

#include <chrono>
#include <cmath>
#include <cstdio>

#include "configs/error.h"
#include "configs/yaml.h"
#include "hub/load.h"
#include "hub/trainer_state.h"
#include "optim/registry.h"
#include "optim/schedule.h"
#include "trainer/interrupt.h"
#include "trainer/model_output.h"
#include "trainer/objectives/registry.h"
#include "trainer/run_options.h"

namespace trainer {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string four_digits(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.4f", value);
    return text;
}

}   // namespace

void round_frozen(ParameterSet& parameters, DType dtype) {
    for (const auto& parameter : parameters.all()) {
        if (parameter->trainable || parameter->value.dtype() != DType::f32) continue;
        auto* values = parameter->value.data<float>();
        const std::int64_t elements = parameter->shape.elements();
        if (dtype == DType::bf16) {
#pragma omp parallel for schedule(static)
            for (std::int64_t i = 0; i < elements; ++i) values[i] = static_cast<float>(bf16(values[i]));
        } else if (dtype == DType::f16) {
#pragma omp parallel for schedule(static)
            for (std::int64_t i = 0; i < elements; ++i) values[i] = f16_to_float(float_to_f16(values[i]));
        }
        parameter->changed();
    }
}

Trainer::Trainer(const Inputs& inputs, OutputFolder& output, Communicator& ranks)
    : inputs_(inputs),
      output_(output),
      ranks_(ranks),
      declared_(declare_model(inputs.base.snapshot.config, inputs.recipe.peft)) {
    const Recipe& recipe = inputs.recipe;
    CausalLm& model = *declared_.model;
    model.prepare(Place::cpu(), compute_dtype(recipe), longest_document(inputs));
    load_parameters(model.parameters(), *inputs.base.snapshot.weights, inputs.base.snapshot.base);
    round_frozen(model.parameters(), recipe.model.dtype.value_or(stored_dtype(inputs.base.snapshot.config)));
    if (declared_.peft) declared_.peft->initialise(static_cast<std::uint64_t>(recipe.training.seed));
    objective_ = objectives().at(task_name(recipe.task))();
    stepper_ = std::make_unique<Stepper>(model, *objective_, ranks, stepper_options(recipe), Place::cpu());
    optimizer_ = optimizers().at(recipe.optimizer.name)(recipe.optimizer.adamw, stepper_->slices());
    optimizer_->prepare();
}

std::optional<double> Trainer::evaluate(std::int64_t step, double epoch, Outcome& outcome) {
    const auto begin = Clock::now();
    Metrics::Evaluation record{step, epoch, {}, 0};
    Sums all;
    for (const ValidationSet& set : inputs_.valid) {
        const auto sums = evaluate(set);
        if (!sums) return std::nullopt;
        all.add(*sums);
        record.sets.emplace_back(set.name, *sums);
    }
    record.seconds = seconds_since(begin);
    outcome.evaluation_seconds += record.seconds;
    metrics_->evaluation(record);
    std::string text = format("validation at step {}:", step);
    for (const auto& [name, sums] : record.sets)
        text +=
            format(" {}loss {} ({} tokens)", name.empty() ? "" : name + " ", four_digits(sums.mean_loss()), sums.count);
    progress_->line(text);
    return all.mean_loss();
}

std::optional<Sums> Trainer::evaluate(const ValidationSet& set) {
    const auto leaves = leaves_in_order(static_cast<std::int64_t>(set.rows.size()), evaluation_batch(inputs_.recipe));
    const LeafRange range = leaves_of_rank(static_cast<std::int64_t>(leaves.size()), ranks_.rank(), ranks_.size());
    std::vector<LeafResult> mine;
    for (std::int64_t i = range.begin; i < range.end && !InterruptGuard::requested(); ++i)
        mine.push_back(
            {i, evaluate_leaf(*declared_.model, *objective_,
                              make_batch(set.data.examples, set.rows, leaves[static_cast<std::size_t>(i)], 0, 0))});
    const std::vector<LeafResult> all = gather_results(ranks_, mine);
    if (all.size() < leaves.size()) return std::nullopt;
    Sums sums;
    for (const LeafResult& one : all) sums.add(one.sums);
    return sums;
}

Trainer::Outcome Trainer::run() {
    const Recipe& recipe = inputs_.recipe;
    const InterruptGuard guard;
    output_.create();
    output_.write("recipe.yaml", to_yaml(resolved(recipe)));
    metrics_ = std::make_unique<Metrics>(output_.path() / "metrics.jsonl");
    progress_ = std::make_unique<Progress>(inputs_.total_steps, recipe.logging.every);
    const std::int64_t interval = evaluation_interval(recipe, *inputs_.plan, inputs_.total_steps);

    Outcome outcome;
    double epoch = 0;
    if (!inputs_.valid.empty()) outcome.first_validation_loss = evaluate(0, 0, outcome);
    while (outcome.steps < inputs_.total_steps && !InterruptGuard::requested()) {
        const StepPlan::Step planned = inputs_.plan->step(outcome.steps);
        const double rate =
            recipe.optimizer.adamw.lr * schedule_factor(recipe.schedule, outcome.steps, inputs_.total_steps);
        const auto begin = Clock::now();
        const Stepper::Result result = stepper_->step(
            static_cast<std::int64_t>(planned.leaves.size()),
            [&](std::int64_t leaf) {
                return make_batch(inputs_.train.examples, inputs_.rows, planned.leaves[static_cast<std::size_t>(leaf)],
                                  static_cast<std::uint64_t>(recipe.training.seed), planned.epoch);
            },
            *optimizer_, rate);
        require(result.applied, Exit::diverged,
                "the run diverged: loss {}, gradient norm {}; lower optimizer.lr or check the data",
                result.sums.mean_loss(), result.gradient_norm);
        const double seconds = seconds_since(begin);

        output_.keep();
        ++outcome.steps;
        epoch = planned.epoch_after;
        outcome.training_seconds += seconds;
        outcome.input_tokens += result.sums.input_tokens;
        metrics_->step({outcome.steps, epoch, result, rate, outcome.input_tokens, seconds, memory_use(Place::cpu())});
        progress_->step({outcome.steps, result.sums.mean_loss(), rate, result.gradient_norm,
                         static_cast<double>(result.sums.input_tokens) / seconds, seconds});
        const bool last = outcome.steps == inputs_.total_steps;
        if (!inputs_.valid.empty() && (last || outcome.steps % interval == 0) && !InterruptGuard::requested())
            outcome.last_validation_loss = evaluate(outcome.steps, epoch, outcome);
    }
    outcome.interrupted = outcome.steps < inputs_.total_steps;
    outcome.memory = memory_use(Place::cpu());

    progress_.reset();
    if (!outcome.interrupted) {
        write_model(output_.path());
        write_state(output_.path(), epoch, outcome);
    } else if (outcome.steps > 0) {
        OutputFolder checkpoint((output_.path() / format("checkpoint-{}", outcome.steps)).string());
        checkpoint.create();
        write_model(checkpoint.path());
        write_state(checkpoint.path(), epoch, outcome);
        checkpoint.keep();
    }
    return outcome;
}

void Trainer::write_model(const std::filesystem::path& folder) const {
    const ModelOutput model{inputs_, *declared_.model, declared_.peft.get()};
    model.write(folder);
}

void Trainer::write_state(const std::filesystem::path& folder, double epoch, const Outcome& outcome) const {
    const Recipe& recipe = inputs_.recipe;
    TrainerState state;
    state.epoch = epoch;
    state.eval_steps = evaluation_interval(recipe, *inputs_.plan, inputs_.total_steps);
    state.global_step = outcome.steps;
    state.log_history = metrics_->history();
    state.logging_steps = 1;
    state.max_steps = inputs_.total_steps;
    state.num_input_tokens_seen = outcome.input_tokens;
    state.num_train_epochs = static_cast<std::int64_t>(
        std::ceil(static_cast<double>(inputs_.total_steps) / static_cast<double>(inputs_.plan->steps_per_epoch())));
    state.save_steps = inputs_.total_steps;
    state.should_training_stop = !outcome.interrupted;
    const CausalLmShape& shape = declared_.model->shape();
    const auto without_embeddings = declared_.model->parameters().elements(false) - shape.vocabulary * shape.hidden;
    state.total_flos = 6.0 * static_cast<double>(outcome.input_tokens) * static_cast<double>(without_embeddings);
    state.train_batch_size = recipe.training.micro_batch;
    write_trainer_state(folder / "trainer_state.json", state);
}

}   // namespace trainer
