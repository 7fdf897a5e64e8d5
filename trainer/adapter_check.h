#pragma once

#include "trainer/recipe.h"

namespace trainer {

// The rules of the section `peft`: keys that its method does not read, targets, and `continue_from`, whose adapter's
// options become the recipe's; complaints for keys that contradict them. Errors of AdapterFile when it cannot be read.
void check_adapter(Recipe& recipe, const Node& document, Complaints& complaints);

}   // namespace trainer
