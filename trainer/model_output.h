#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "hub/safetensors.h"
#include "trainer/inputs.h"

namespace trainer {

// What a run leaves: the adapter or the whole model in hub format, with tokenizer files and model card.
struct ModelOutput {
    const Inputs& inputs;
    CausalLm& model;
    const PeftMethod* peft;   // null: the whole model is written
    // The values of a trainable parameter: its own, or those of an earlier moment.
    std::function<Tensor(const Parameter&)> values;

    void write(const std::filesystem::path& folder) const;
    std::uint64_t bytes() const;   // of weights and tokenizer, but no header, card or configuration
};

// The dtype a config.json says its weights are stored in (bf16 when it says nothing we know).
DType stored_dtype(const Node& config);
FileDType saved_dtype(const Node& config);   // the same, of a file

}   // namespace trainer
