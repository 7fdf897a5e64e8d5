#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "configs/node.h"

namespace trainer {

// trainer_state.json as transformers' Trainer writes and reads it (TrainerState). Exactly these keys.
struct TrainerState {
    std::optional<std::int64_t> best_global_step;
    std::optional<double> best_metric;
    std::string best_model_checkpoint;   // "" is null
    double epoch = 0;
    std::int64_t eval_steps = 500;
    std::int64_t global_step = 0;
    Node log_history = Node::list();   // a list of maps
    std::int64_t logging_steps = 500;
    std::int64_t max_steps = 0;
    std::int64_t num_input_tokens_seen = 0;
    std::int64_t num_train_epochs = 0;
    std::int64_t save_steps = 500;
    bool should_save = true;             // of the control object
    bool should_training_stop = false;   // true in the last checkpoint
    double total_flos = 0;
    std::int64_t train_batch_size = 1;   // rows of one device
};

std::string trainer_state_text(const TrainerState& state);
void write_trainer_state(const std::filesystem::path& path, const TrainerState& state);

}   // namespace trainer
