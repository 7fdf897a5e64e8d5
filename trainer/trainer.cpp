#include "trainer/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "autograd/cuda/cudnn.h"
#include "comm/together.h"
#include "configs/error.h"
#include "configs/file.h"
#include "configs/yaml.h"
#include "hub/load.h"
#include "hub/output_file.h"
#include "hub/trainer_state.h"
#include "optim/schedule.h"
#include "trainer/base_format.h"
#include "trainer/checkpoint/state_file.h"
#include "trainer/checkpoint/store.h"
#include "trainer/evaluation_values.h"
#include "trainer/interrupt.h"
#include "trainer/largest_leaf.h"
#include "trainer/log.h"
#include "trainer/memory_choice.h"
#include "trainer/model_output.h"
#include "trainer/objectives/registry.h"
#include "trainer/receipt.h"
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

// Says where memory could not be had.
template <typename Work>
auto in_phase(const std::string& phase, Work&& work) {
    try {
        return work();
    } catch (const AgreedError&) {
        throw;
    } catch (const Error& error) {
        if (error.code() != Exit::out_of_memory) throw;
        throw Error(error.code(), phase + ": " + error.what());
    }
}

}   // namespace

void round_frozen(ParameterSet& parameters, DType dtype) {
    for (const auto& parameter : parameters.all()) {
        if (parameter->trainable || !parameter->in_base || !parameter->value.defined() ||
            parameter->value.dtype() != DType::f32)
            continue;
        round_values(parameter->value, dtype);
        parameter->changed();
    }
}

Trainer::Trainer(const Inputs& inputs, DataPath& path, OutputFolder* output,
                 std::map<std::string, std::string> identity, std::uint64_t offloaded)
    : inputs_(inputs),
      ranks_(path.ranks()),
      output_(output),
      declared_(declare_model(inputs.recipe, inputs.base.snapshot)),
      requests_(path.ranks(), inputs.recipe.output),
      identity_(std::move(identity)) {
    const Recipe& recipe = inputs.recipe;
    const Offload offload = recipe.training.offload;
    if (offload != Offload::none) open_store(offloaded);
    CausalLm& model = *declared_.model;
    model.prepare(inputs.place, compute_dtype(recipe), longest_document(inputs));
    load_parameters(model.parameters(), *inputs.base.snapshot.weights, inputs.base.snapshot.base);
    round_frozen(model.parameters(), base_dtype(recipe.model, inputs.base.snapshot));
    if (declared_.peft) declared_.peft->initialise(static_cast<std::uint64_t>(recipe.training.seed));
    objective_ = objectives().at(enum_name(recipe.task))();
    StepperOptions options = stepper_options(recipe);
    if (offload == Offload::activations) options.offload = store_.get();
    stepper_ = std::make_unique<Stepper>(model, *objective_, path, options);
    optimizer_ = make_optimizer(recipe.optimizer, stepper_->slices(), static_cast<std::uint64_t>(recipe.training.seed));
    optimizer_->prepare(offload == Offload::optimizer ? store_.get() : nullptr);
    state_.optimizer_numbers = optimizer_->numbers();
    if (recipe.training.precision == Precision::f16)
        state_.loss_scaler = LossScaler{.scale = recipe.training.loss_scale.value_or(LossScaler::first_scale)};
}

// A file has all its bytes from now on, so that what is left for checkpoints is counted without them.
void Trainer::open_store(std::uint64_t bytes) {
    if (inputs_.place.is_cuda()) {
        const MemoryLeft left = memory_left_for(ranks_);
        together(ranks_, [&] {
            require(bytes <= left.usable(), Exit::out_of_memory,
                    "out of memory: training.offload keeps {} in the host's memory, and {} leaves {}",
                    bytes_text(bytes), left.bound, bytes_text(left.usable()));
            store_ = make_pinned_store(bytes);
        });
        return;
    }
    const std::filesystem::path folder = inputs_.recipe.output;
    together(ranks_, [&] {
        require_free_space(folder, bytes);
        store_ = make_file_store(folder, bytes);
    });
}

void Trainer::resume(const ResumePoint& point) {
    read_state(point.folder / state_file_name, declared_.model->parameters().trainable(), *optimizer_);
    state_ = point.state;
    optimizer_->set_steps(state_.updates);
    optimizer_->set_numbers(state_.optimizer_numbers);
    metrics_ = speaks() ? std::make_unique<Metrics>(metrics_file(), read_text_file(point.folder / "metrics.jsonl"),
                                                    point.history)
                        : std::make_unique<Metrics>("", "", point.history);
    for (const Node& entry : point.history.as_list())
        if (const Node* seconds = entry.find("eval_runtime"))
            longest_evaluation_ = std::max(longest_evaluation_, seconds->as_number());
    parent_ = checkpoint_name(state_.step);
    safe_step_ = state_.step;
    if (speaks()) output_->keep();
}

void Trainer::say(const std::string& line) const {
    if (progress_) progress_->line(line);
}

std::filesystem::path Trainer::metrics_file() const { return speaks() ? output_->path() / "metrics.jsonl" : ""; }

void Trainer::start() {
    if (!metrics_) metrics_ = std::make_unique<Metrics>(metrics_file());
    if (speaks()) {
        output_->write("recipe.yaml", to_yaml(resolved(inputs_.recipe)));
        // A bar among the lines of several ranks, or in a launcher's own terminal, would be in the way.
        progress_ = std::make_unique<Progress>(inputs_.total_steps, inputs_.recipe.logging.every, ranks_.size() == 1);
    }
    checkpoints_ = std::make_unique<RunCheckpoints>(
        RunCheckpoints::Run{inputs_, ranks_, *declared_.model, declared_.peft.get(), *optimizer_, *stepper_, identity_,
                            speaks() ? output_->lock() : nullptr},
        parent_, state_.best_step);
}

// A full disk is better found now than at the end.
void Trainer::check_disk() const {
    together(ranks_, [&] {
        if (speaks() && parent_.empty()) require_free_space(output_->path(), checkpoints_->bytes_of_run());
    });
}

// A leaf that does not fit, or a kernel that fails, is better met now than in the middle of an epoch.
void Trainer::rehearse() {
    in_phase("before the first step, on the longest leaf", [&] {
        const auto seed = static_cast<std::uint64_t>(inputs_.recipe.training.seed);
        stepper_->rehearse(LargestLeaf::of_training(inputs_).made(seed, inputs_.place));
    });
    if (const std::string why = cuda::first_cudnn_refusal(); speaks() && !why.empty())
        log_warning("some attention is computed by own kernels, which are slower, since cuDNN refuses it: " + why);
}

Trainer::Outcome Trainer::run() {
    const InterruptGuard guard;
    start();
    check_disk();
    if (inputs_.place.is_cuda()) rehearse();
    after_step();
    outcome_.stop = after_requests();
    while (state_.step < inputs_.total_steps && outcome_.stop < Stop::preempted && !patience_over()) {
        train_step();
        after_step();
        outcome_.stop = after_requests();
    }
    outcome_.memory = memory_use(inputs_.place);
    // A signal may have kept the last evaluation from being made; a resumed run makes it.
    const bool done = patience_over() || (state_.step >= inputs_.total_steps && !evaluation_due());
    if (outcome_.stop < Stop::preempted || done) {
        finish();
        outcome_.stop = Stop::no;
    } else if (state_.step > 0) {
        if (safe_step_ != state_.step) save();
        announce(checkpoints_->poll(true));
        outcome_.checkpoint = checkpoint_name(state_.step);
    }
    outcome_.patience_ended = patience_over() && state_.step < inputs_.total_steps;
    outcome_.state = state_;
    progress_.reset();
    return outcome_;
}

void Trainer::train_step() {
    const Recipe& recipe = inputs_.recipe;
    const StepPlan::Step planned = inputs_.plan->step(state_.step);
    const double rate =
        recipe.optimizer.lr * schedule_factor(recipe.schedule, state_.updates, inputs_.total_steps, state_.plateau);
    std::optional<double> loss_scale;
    if (state_.loss_scaler) loss_scale = state_.loss_scaler->scale;
    const auto begin = Clock::now();
    const Stepper::Result result = in_phase(format("in step {}", state_.step + 1), [&] {
        return stepper_->step(
            static_cast<std::int64_t>(planned.leaves.size()),
            [&](std::int64_t leaf) { return make_leaf(inputs_, planned, leaf); }, *optimizer_, rate,
            loss_scale.value_or(1));
    });
    const double seconds = seconds_since(begin);
    longest_step_ = std::max(longest_step_, seconds);

    ++state_.step;
    state_.epoch = state_.step / inputs_.plan->steps_per_epoch();
    state_.index = state_.step % inputs_.plan->steps_per_epoch();
    state_.input_tokens += result.sums.input_tokens;
    state_.trained_tokens += result.sums.count;
    outcome_.training_seconds += seconds;
    outcome_.input_tokens += result.sums.input_tokens;
    if (speaks()) output_->keep();
    metrics_->step({state_.step, planned.epoch_after, result, rate, loss_scale, state_.input_tokens, seconds,
                    memory_use(inputs_.place), ranks_.size()});
    if (progress_)
        progress_->step({state_.step, result.sums.mean_loss(), rate, result.gradient_norm,
                         static_cast<double>(result.sums.input_tokens) / seconds, seconds});
    if (result.applied) {
        ++state_.updates;
        state_.optimizer_numbers = optimizer_->numbers();
        state_.skipped_in_a_row = 0;
    } else {
        ++state_.skipped;
        complain_of_skipped_step(result);
    }
    if (state_.loss_scaler) state_.loss_scaler->update(std::isfinite(result.gradient_norm));
}

bool Trainer::evaluation_due() const {
    if (inputs_.valid.empty() || state_.evaluated_step >= state_.step) return false;
    const std::int64_t interval = steps_between(inputs_.recipe.eval.every, *inputs_.plan, inputs_.total_steps);
    return state_.step % interval == 0 || state_.step == inputs_.total_steps;
}

void Trainer::after_step() {
    const bool evaluated = evaluation_due();
    if (evaluated) evaluate();
    const bool better = evaluated && state_.best_step == state_.step && state_.evaluated_step == state_.step;
    if (checkpoint_due(better)) save();
}

void Trainer::evaluate() {
    const auto begin = Clock::now();
    const EvaluationValues values(*declared_.model, *optimizer_, *stepper_);
    Metrics::Evaluation record{state_.step, epoch(), {}, 0};
    Sums all;
    for (const ValidationSet& set : inputs_.valid) {
        const auto sums = evaluate(set);
        if (!sums) return;
        all.add(*sums);
        record.sets.emplace_back(set.name, *sums);
    }
    record.seconds = seconds_since(begin);
    longest_evaluation_ = std::max(longest_evaluation_, record.seconds);
    outcome_.evaluation_seconds += record.seconds;
    metrics_->evaluation(record);
    std::string text = format("validation at step {}:", state_.step);
    for (const auto& [name, sums] : record.sets)
        text +=
            format(" {}loss {} ({} tokens)", name.empty() ? "" : name + " ", four_digits(sums.mean_loss()), sums.count);
    say(text);
    note_loss(all.mean_loss());
}

std::optional<Sums> Trainer::evaluate(const ValidationSet& set) {
    const auto leaves = leaves_in_order(static_cast<std::int64_t>(set.rows.size()), evaluation_batch(inputs_.recipe));
    const LeafRange range = leaves_of_rank(static_cast<std::int64_t>(leaves.size()), ranks_.rank(), ranks_.size());
    LeafTable mine(static_cast<std::size_t>(range.size()), inputs_.place);
    for (std::int64_t i = range.begin; i < range.end && !StopRequests::signalled(); ++i) {
        const Batch batch =
            make_batch(set.data.examples, set.rows, leaves[static_cast<std::size_t>(i)], 0, 0, inputs_.place);
        mine.add(i, evaluate_leaf(*declared_.model, *objective_, batch, inputs_.recipe.training.mlp_chunk.value_or(0)),
                 objective_->count(batch), batch);
    }
    const std::vector<LeafResult> all = gather_results(ranks_, mine.read());
    if (all.size() < leaves.size()) return std::nullopt;
    Sums sums;
    for (const LeafResult& one : all) sums.add(one.sums);
    return sums;
}

void Trainer::note_loss(double loss) {
    state_.evaluated_step = state_.step;
    safe_step_ = -1;
    note_evaluation(inputs_.recipe.schedule, loss, state_.plateau);
    const bool finite = std::isfinite(loss);
    if (finite && !state_.first_validation_loss) state_.first_validation_loss = loss;
    if (finite) state_.last_validation_loss = loss;
    if (finite && (!state_.best_validation_loss || loss < *state_.best_validation_loss)) {
        state_.best_validation_loss = loss;
        state_.best_step = state_.step;
        state_.evaluations_since_best = 0;
    } else {
        ++state_.evaluations_since_best;
    }
}

bool Trainer::checkpoint_due(bool better) const {
    const CheckpointOptions& options = inputs_.recipe.checkpoint;
    if (state_.step == 0 || safe_step_ == state_.step || !options.every) return false;
    if (better && options.best) return true;
    return state_.step % steps_between(*options.every, *inputs_.plan, inputs_.total_steps) == 0;
}

void Trainer::save() {
    safe_step_ = state_.step;
    metrics_->flush();
    announce(checkpoints_->save(state_, trainer_state_text(), speaks() ? read_text_file(metrics_file()) : ""));
}

void Trainer::announce(const std::optional<std::string>& checkpoint) const {
    if (checkpoint) say(format("saved {}", *checkpoint));
}

bool Trainer::patience_over() const {
    const auto patience = inputs_.recipe.eval.patience;
    return patience && state_.evaluations_since_best >= *patience;
}

Stop Trainer::after_requests() {
    announce(checkpoints_->poll(false));
    const Stop stop = requests_.agreed(seconds_to_safety(), state_.step > 0);
    if (stop == Stop::save && safe_step_ != state_.step) save();
    return stop;
}

// Until the checkpoint of the next step is safe: that step and its evaluation, one checkpoint that is waited for and
// one that is written, each as long as the longest so far.
double Trainer::seconds_to_safety() const {
    return longest_step_ + longest_evaluation_ + 2 * checkpoints_->expected_seconds();
}

double Trainer::epoch() const { return state_.step == 0 ? 0 : inputs_.plan->step(state_.step - 1).epoch_after; }

std::string Trainer::trainer_state_text() const {
    const Recipe& recipe = inputs_.recipe;
    TrainerState state;
    if (state_.best_validation_loss && state_.best_step > 0) {
        state.best_global_step = state_.best_step;
        state.best_metric = state_.best_validation_loss;
        if (recipe.checkpoint.best && recipe.checkpoint.every)
            state.best_model_checkpoint =
                (std::filesystem::path(recipe.output) / checkpoint_name(state_.best_step)).string();
    }
    state.epoch = epoch();
    state.eval_steps = steps_between(recipe.eval.every, *inputs_.plan, inputs_.total_steps);
    state.global_step = state_.step;
    state.log_history = metrics_->history();
    state.logging_steps = 1;
    state.max_steps = inputs_.total_steps;
    state.num_input_tokens_seen = state_.input_tokens;
    state.num_train_epochs = static_cast<std::int64_t>(
        std::ceil(static_cast<double>(inputs_.total_steps) / static_cast<double>(inputs_.plan->steps_per_epoch())));
    state.save_steps = recipe.checkpoint.every
                           ? steps_between(*recipe.checkpoint.every, *inputs_.plan, inputs_.total_steps)
                           : inputs_.total_steps;
    state.should_training_stop = state_.step == inputs_.total_steps;
    const CausalLmShape& shape = declared_.model->shape();
    const auto without_embeddings = declared_.model->parameters().elements(false) - shape.vocabulary * shape.hidden;
    state.total_flos = 6.0 * static_cast<double>(state_.input_tokens) * static_cast<double>(without_embeddings);
    state.train_batch_size = recipe.training.micro_batch.rows;
    return trainer::trainer_state_text(state);
}

void Trainer::finish() {
    announce(checkpoints_->poll(true));
    checkpoints_->tidy();
    const EvaluationValues values(*declared_.model, *optimizer_, *stepper_);
    together(ranks_, [&] {
        if (!speaks()) return;
        StagedFolder staged(output_->path(), "final", new_run_id());
        const ModelOutput model{inputs_, *declared_.model, declared_.peft.get(),
                                [](const Parameter& parameter) { return parameter.value; }};
        staged.reserve(model.bytes());
        model.write(staged.path());
        write_file(staged.path() / "trainer_state.json", trainer_state_text());
        metrics_->flush();
        write_file(staged.path() / receipt_name, receipt_text(inputs_, identity_, staged.path(), state_));
        staged.move_into_parent({"trainer_state.json", receipt_name});
    });
}

}   // namespace trainer
