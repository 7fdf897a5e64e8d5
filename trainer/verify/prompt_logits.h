#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/tensor.h"
#include "trainer/inputs.h"

namespace trainer {

using TokenSequences = std::vector<std::vector<std::int32_t>>;

// Short texts to ask a model with: the program's own, or the lines of a file, empty ones left out ("": the program's
// own). At most 64 tokens of each. Error(no_input, bad_data) when the file is missing, has no lines or more than 64.
TokenSequences held_out_prompts(const std::string& file, const Tokenizer& tokenizer);

// Logits (tokens, V) f32 of every sequence, computed in f32 by a model that is loaded for it and given back. `adapter`
// is the folder of one, or "". Error(interrupted) when the program is asked to stop (trainer/interrupt.h).
std::vector<Tensor> prompt_logits(const BaseModel& base, const std::string& adapter, const TokenSequences& prompts);

// Two models on the same prompts.
struct LogitGap {
    double largest = 0;           // |difference|
    double share = 0;             // largest |difference| / (max − min of the first model's logits at that position)
    std::int64_t positions = 0;   // compared
    std::int64_t same_likeliest = 0;   // of them, those where both have the same likeliest token
};

// NaN in either makes both gaps infinite.
LogitGap compare_logits(const std::vector<Tensor>& reference, const std::vector<Tensor>& other);

}   // namespace trainer
