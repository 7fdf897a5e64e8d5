#include "hub/trainer_state.h"

#include "configs/json.h"
#include "hub/output_file.h"

namespace trainer {

std::string trainer_state_text(const TrainerState& state) {
    Node control;
    control.set("should_epoch_stop", false);
    control.set("should_evaluate", false);
    control.set("should_log", false);
    control.set("should_save", state.should_save);
    control.set("should_training_stop", state.should_training_stop);
    Node callback;
    callback.set("args", std::move(control));
    callback.set("attributes", Node::map());
    Node callbacks;
    callbacks.set("TrainerControl", std::move(callback));

    Node node;
    node.set("best_global_step", state.best_global_step ? Node(*state.best_global_step) : Node());
    node.set("best_metric", state.best_metric ? Node(*state.best_metric) : Node());
    node.set("best_model_checkpoint", state.best_model_checkpoint.empty() ? Node() : Node(state.best_model_checkpoint));
    node.set("epoch", state.epoch);
    node.set("eval_steps", state.eval_steps);
    node.set("global_step", state.global_step);
    node.set("is_hyper_param_search", false);
    node.set("is_local_process_zero", true);
    node.set("is_world_process_zero", true);
    node.set("log_history", state.log_history);
    node.set("logging_steps", state.logging_steps);
    node.set("max_steps", state.max_steps);
    node.set("num_input_tokens_seen", state.num_input_tokens_seen);
    node.set("num_train_epochs", state.num_train_epochs);
    node.set("save_steps", state.save_steps);
    node.set("stateful_callbacks", std::move(callbacks));
    node.set("total_flos", state.total_flos);
    node.set("train_batch_size", state.train_batch_size);
    node.set("trial_name", nullptr);
    node.set("trial_params", nullptr);
    return to_json(node, {.indent = 2, .ensure_ascii = true, .sort_keys = true, .null_for_nonfinite = true}) + "\n";
}

void write_trainer_state(const std::filesystem::path& path, const TrainerState& state) {
    write_file(path, trainer_state_text(state));
}

}   // namespace trainer
