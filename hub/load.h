#pragma once

#include <string>

#include "autograd/parameter.h"
#include "hub/weight_source.h"

namespace trainer {

// A parameter of the base model without a tensor, a tensor of another shape and a tensor without a parameter are
// errors, all reported at once (bad_data). Looks at names and shapes only. `where` is what messages call the source (a
// path).
void check_parameters(const ParameterSet& parameters, const WeightSource& source, const std::string& where);

// Fills the value of every parameter of the base model (Parameter::in_base) from `source`, in the dtype of its memory
// (f32 or bf16, CPU). One tensor at a time; nothing but the parameters stays in memory. `where` is what messages call
// the source (a path).
//
// check_parameters runs first. Error(diverged) for a value that is NaN or infinite in that dtype.
void load_parameters(ParameterSet& parameters, const WeightSource& source, const std::string& where);

}   // namespace trainer
