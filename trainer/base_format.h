#pragma once

#include "hub/snapshot.h"
#include "models/scope.h"
#include "trainer/recipe_sections.h"

namespace trainer {

// The dtype of the base's weights before they are compressed or computed with: the recipe's, else the checkpoint's.
DType base_dtype(const ModelOptions& options, const Snapshot& snapshot);

// Decides which parameters are held compressed (Parameter::packed), before anything is allocated. A format of the
// registry: every linear layer but the output layer and those of quantize.skip, as bitsandbytes does. `stored`: every
// matrix as the base's files hold it. Error(bad_recipe) for a name in skip that fits nothing, a base that is stored
// plainly, and a matrix that is to be trained.
void choose_formats(Declarations& model, const ModelOptions& options, const Snapshot& snapshot);

}   // namespace trainer
