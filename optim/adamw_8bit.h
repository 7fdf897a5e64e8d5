#pragma once

#include <memory>

#include "optim/adamw.h"

namespace trainer {

// AdamW whose state of parameters of at least 4096 elements is kept in blocks of 256 codes of eight bits with a scale
// each, in bitsandbytes' types and under its names: "state1" and "absmax1" (the first mean, signed map), "state2" and
// "absmax2" (the second, unsigned map). Smaller parameters have AdamW's own state. Blocks are counted from the
// beginning of a parameter, and a slice is made of whole ones.
std::unique_ptr<Optimizer> make_adamw_8bit(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices);

}   // namespace trainer
