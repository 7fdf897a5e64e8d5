#pragma once

#include <string>

#include "autograd/parameter.h"
#include "hub/weight_source.h"

namespace trainer {

// A parameter of the base model without a tensor, a tensor of another shape and a tensor without a parameter are
// errors, all reported at once (bad_data). Looks at names and shapes only. `where` is what messages call the source (a
// path).
void check_parameters(const ParameterSet& parameters, const WeightSource& source, const std::string& where);

// Fills the value of one parameter from `source`, in the dtype of its memory (f32, bf16, for a device f16), or its
// compressed matrix: with what is stored where the formats agree, else by compressing it. `where` is what messages call
// the source. Error(diverged) for a value that is NaN or infinite in that dtype.
void load_parameter(Parameter& parameter, const WeightSource& source, const std::string& where);

// The same for every parameter of the base model (Parameter::in_base), one tensor at a time; nothing but the parameters
// stays in memory. check_parameters runs first.
void load_parameters(ParameterSet& parameters, const WeightSource& source, const std::string& where);

}   // namespace trainer
