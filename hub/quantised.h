#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/quant/options.h"
#include "hub/safetensors.h"
#include "hub/weight_source.h"

namespace trainer {

// Safetensors whose weights a library compressed: bitsandbytes (hub/bitsandbytes.h) or fp8 (hub/fine_grained_fp8.h),
// as quantization_config of config.json says.

// The weights under their own names with their own shapes; `stored` itself when there is no quantization_config.
// Error(bad_data) for another library.
std::unique_ptr<WeightSource> open_quantised_weights(std::unique_ptr<WeightSource> stored, const Node& config,
                                                     const std::string& folder);

// The formats of autograd/quant/registry.cpp that a library reads, by what config.json calls it.
std::vector<std::string> formats_of_library(std::string_view quant_method);

// The tensors of a compressed weight in its library's form. They point into the matrix.
std::vector<TensorToWrite> quantised_tensors(const std::string& name, PackedMatrix& matrix);

// quantization_config for weights compressed by these options out of `dtype`; `skipped`: modules that are not.
Node quantisation_config(const QuantizeOptions& options, DType dtype, const std::vector<std::string>& skipped);

}   // namespace trainer
