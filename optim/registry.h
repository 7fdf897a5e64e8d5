#pragma once

#include <memory>
#include <vector>

#include "configs/registry.h"
#include "optim/optimizer.h"
#include "optim/options.h"

namespace trainer {

using MakeOptimizer = std::unique_ptr<Optimizer> (*)(const AdamWOptions& options, std::vector<ParameterSlice> slices);

const Registry<MakeOptimizer>& optimizers();

}   // namespace trainer
