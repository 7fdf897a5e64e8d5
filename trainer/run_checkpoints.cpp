#include "trainer/run_checkpoints.h"

#include "comm/collective.h"
#include "comm/together.h"
#include "configs/error.h"
#include "configs/json.h"
#include "configs/yaml.h"
#include "hub/output_file.h"
#include "trainer/checkpoint/store.h"
#include "trainer/version.h"

namespace trainer {

namespace {

constexpr std::uint64_t small_files = 64 << 10;   // card, recipe, states
constexpr double slow_disk = 50e6;                // bytes a second

std::string shared_run_id(Communicator& ranks) { return gather_texts(ranks, ranks.rank() == 0 ? new_run_id() : "")[0]; }

}   // namespace

RunCheckpoints::RunCheckpoints(Run run, std::string parent, std::int64_t best_step)
    : run_(std::move(run)),
      folder_(run_.inputs.recipe.output),
      slices_(run_.stepper.layout().owned(run_.ranks.rank())),
      run_id_(shared_run_id(run_.ranks)),
      writer_(run_.ranks, folder_, run_id_),
      first_seconds_(static_cast<double>(bytes()) / slow_disk),
      parent_(std::move(parent)),
      best_step_(best_step) {}

std::uint64_t RunCheckpoints::bytes() const {
    const ModelOutput model{run_.inputs, run_.model, run_.peft, {}};
    const auto trained = static_cast<std::uint64_t>(run_.model.parameters().elements(true));
    return trained * sizeof(float) * (1 + run_.optimizer.state_names().size()) + model.bytes() + small_files;
}

std::function<void(const std::filesystem::path&)> RunCheckpoints::file_writer(const TrainingState& state,
                                                                              const std::string& trainer_state,
                                                                              const std::string& metrics,
                                                                              ValueCopies values) const {
    if (run_.ranks.rank() != 0) return {};
    return [this, state, trainer_state, metrics, values = std::move(values)](const std::filesystem::path& folder) {
        const ModelOutput model{run_.inputs, run_.model, run_.peft,
                                [&](const Parameter& parameter) { return values.at(&parameter).data<float>(); }};
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
    content.layout = state_layout(run_.model.parameters().trainable(), run_.optimizer.state_names());
    ValueCopies values;
    if (run_.ranks.rank() == 0) values = copy_values(run_.model.parameters().trainable());
    content.state = copy_state(run_.optimizer, slices_, values);
    content.write_files = file_writer(state, trainer_state, metrics, std::move(values));
    content.other_bytes = ModelOutput{run_.inputs, run_.model, run_.peft, {}}.bytes() + small_files;
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
