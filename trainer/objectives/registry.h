#pragma once

#include <memory>

#include "configs/registry.h"
#include "trainer/objectives/objective.h"

namespace trainer {

using MakeObjective = std::unique_ptr<Objective> (*)();

// Objectives by the recipe's task.
const Registry<MakeObjective>& objectives();

}   // namespace trainer
