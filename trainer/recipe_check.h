#pragma once

#include "trainer/recipe.h"

namespace trainer {

// The rules across keys: complaints for what cannot run, recipe.warnings for what looks like a mistake. Settles what
// depends on other keys (steps when neither steps nor epochs is given, micro_batch when only batch is given).
// `document` is what the recipe was read from; it knows which keys were written and where.
void check_recipe(Recipe& recipe, const Node& document, Complaints& complaints);

}   // namespace trainer
