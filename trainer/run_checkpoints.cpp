#include "trainer/run_checkpoints.h"

#include <system_error>

#include "autograd/cpu/signals_blocked.h"
#include "comm/collective.h"
#include "comm/together.h"
#include "configs/error.h"
#include "configs/json.h"
#include "configs/yaml.h"
#include "hub/output_file.h"
#include "trainer/checkpoint/store.h"
#include "trainer/evaluation_values.h"
#include "trainer/run_options.h"
#include "trainer/version.h"

namespace trainer {

namespace {

constexpr std::uint64_t small_files = 64 << 10;                           // card, configuration, recipe, states
constexpr std::uint64_t bytes_of_step = 800, bytes_of_evaluation = 400;   // metrics.jsonl and trainer_state.json
constexpr double slow_disk = 50e6;                                        // bytes a second

std::string shared_run_id(Communicator& ranks) { return gather_texts(ranks, ranks.rank() == 0 ? new_run_id() : "")[0]; }

}   // namespace

RunCheckpoints::RunCheckpoints(Run run, std::string parent, std::int64_t best_step)
    : run_(std::move(run)),
      folder_(run_.inputs.recipe.output),
      slices_(run_.stepper.layout().owned(run_.ranks.rank())),
      run_id_(shared_run_id(run_.ranks)),
      other_bytes_(ModelOutput{run_.inputs, run_.model, run_.peft, {}}.bytes() + small_files),
      writer_(run_.ranks, folder_, run_id_),
      first_seconds_(static_cast<double>(bytes()) / slow_disk),
      parent_(std::move(parent)),
      best_step_(best_step) {
    const auto first = first_checkpoint(run_.inputs);
    if (!first || *first >= run_.inputs.total_steps) return;   // none, or one when training has ended
    copy_ = make_copy();
    const SignalsBlocked blocked;
    try {
        populating_ = std::jthread([copy = copy_.get()](const std::stop_token& stop) { copy->populate(stop); });
    } catch (const std::system_error&) {   // then the first checkpoint takes longer
    }
}

std::shared_ptr<StateCopy> RunCheckpoints::make_copy() const {
    return std::make_shared<StateCopy>(run_.optimizer, slices_,
                                       copied_whole(run_.model.parameters(), run_.ranks.rank()));
}

std::uint64_t RunCheckpoints::bytes() const {
    return state_layout(run_.model.parameters().trainable(), run_.optimizer).file_size() + other_bytes_;
}

std::uint64_t RunCheckpoints::bytes_of_run() const {
    const Inputs& inputs = run_.inputs;
    const CheckpointOptions& options = inputs.recipe.checkpoint;
    const std::int64_t steps = inputs.total_steps;
    std::uint64_t checkpoints = 0;
    if (const auto first = first_checkpoint(inputs)) {
        // The newest is there before the oldest goes.
        const std::int64_t most = (steps - *first) / *first + 1;
        checkpoints = static_cast<std::uint64_t>(std::min(most, options.keep + 1 + (options.best ? 1 : 0)));
    }
    const std::int64_t evaluations = steps / steps_between(inputs.recipe.eval.every, *inputs.plan, steps) *
                                     static_cast<std::int64_t>(inputs.valid.size());
    // With eval.patience a run may end at any evaluation, so that what all steps would need says nothing.
    const std::uint64_t metrics = inputs.recipe.eval.patience
                                      ? 0
                                      : static_cast<std::uint64_t>(steps) * bytes_of_step +
                                            static_cast<std::uint64_t>(evaluations) * bytes_of_evaluation;
    return checkpoints * (bytes() + metrics) + ModelOutput{inputs, run_.model, run_.peft, {}}.bytes() + metrics;
}

std::function<void(const std::filesystem::path&)> RunCheckpoints::file_writer(const TrainingState& state,
                                                                              const std::string& trainer_state,
                                                                              const std::string& metrics,
                                                                              std::shared_ptr<const StateCopy> copy,
                                                                              ValueCopies evaluated) const {
    if (run_.ranks.rank() != 0) return {};
    return [this, state, trainer_state, metrics, copy = std::move(copy),
            evaluated = std::move(evaluated)](const std::filesystem::path& folder) {
        const ModelOutput model{run_.inputs, run_.model, run_.peft, [&](const Parameter& parameter) {
                                    const auto other = evaluated.find(&parameter);
                                    return other == evaluated.end() ? copy->value_of(parameter) : other->second;
                                }};
        model.write(folder);
        write_file(folder / "recipe.yaml", to_yaml(resolved(run_.inputs.recipe)));
        write_file(folder / "trainer_state.json", trainer_state);
        write_file(folder / "metrics.jsonl", metrics);
        write_file(folder / "training_state.json", to_json(write_fields(state), {.indent = 2}) + "\n");
    };
}

Manifest RunCheckpoints::manifest(std::int64_t step) const {
    Manifest manifest;
    manifest.step = step;
    manifest.run_id = run_id_;
    manifest.world_size = run_.ranks.size();
    manifest.trainer_version = version_text;
    manifest.parent = parent_;
    manifest.digests = run_.identity;
    return manifest;
}

std::optional<std::string> RunCheckpoints::save(const TrainingState& state, const std::string& trainer_state,
                                                const std::string& metrics) {
    std::optional<std::string> before = poll(true);
    CheckpointWriter::Content content;
    content.name = checkpoint_name(state.step);
    content.manifest = manifest(state.step);
    content.layout = state_layout(run_.model.parameters().trainable(), run_.optimizer);
    const std::shared_ptr<StateCopy> copy = copy_ ? copy_ : make_copy();
    copy->take();
    content.state = copy;
    content.write_files =
        file_writer(state, trainer_state, metrics, copy,
                    copy_evaluation_values(run_.model, run_.optimizer, run_.stepper, run_.ranks.rank() == 0));
    content.other_bytes = other_bytes_ + trainer_state.size() + metrics.size();
    writing_ = content.name;
    best_step_ = state.best_step;
    writer_.start(std::move(content));
    return before;
}

std::optional<std::string> RunCheckpoints::poll(bool wait) {
    if (!writer_.poll(wait)) return std::nullopt;
    parent_ = writing_;
    tidy();
    return writing_;
}

void RunCheckpoints::tidy() {
    const auto newest = checkpoint_step(parent_);
    if (!newest) return;
    together(run_.ranks, [&] {
        const CheckpointOptions& options = run_.inputs.recipe.checkpoint;
        std::set<std::int64_t> always;
        if (options.best && best_step_ > 0) always.insert(best_step_);
        if (run_.lock) rotate_checkpoints(*run_.lock, *newest, options.keep, always);
    });
}

}   // namespace trainer
