#pragma once

#include <string>
#include <string_view>

#include "configs/error.h"
#include "hub/snapshot.h"
#include "models/scope.h"
#include "trainer/recipe_sections.h"

namespace trainer {

// The dtype of the base's weights before they are compressed or computed with: the recipe's, else the checkpoint's.
DType base_dtype(const ModelOptions& options, const Snapshot& snapshot);

// Who asks for a format, for messages: by default a recipe.
struct FormatRequest {
    Exit code = Exit::bad_recipe;
    std::string_view skip = "model.quantize.skip";
    std::string_view remedy = "skip fewer layers, or leave model.quantize out";
};

// Decides which parameters are held compressed (Parameter::packed), before anything is allocated. A format of the
// registry: every linear layer but the output layer and those of quantize.skip, as bitsandbytes does. `stored`: every
// matrix as the base's files hold it. Error(bad_recipe) for a base that is stored plainly and a matrix that is to
// be trained; Error(request.code) for a name in skip that fits nothing, and when nothing is left to compress.
void choose_formats(Declarations& model, const ModelOptions& options, const Snapshot& snapshot,
                    const FormatRequest& request = {});

// "Q8_0, Q4_1" or "nf4": of the matrices that the base's files hold in fewer bits; "" when none is.
std::string stored_format(const ParameterSet& parameters, const Snapshot& snapshot);

// Of formats that were chosen: a sentence when the base's files hold a matrix in another, whose rounded values will be
// rounded again; else "".
std::string rounded_twice(const ParameterSet& parameters, const Snapshot& snapshot);

}   // namespace trainer
