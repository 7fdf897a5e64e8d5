#pragma once

#include <memory>

#include "trainer/objectives/objective.h"

namespace trainer {

// Cross-entropy of the next token over the trained tokens (task: sft).
std::unique_ptr<Objective> make_next_token();

}   // namespace trainer
