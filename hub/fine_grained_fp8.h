#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/quant/fp8_blocks.h"
#include "configs/node.h"
#include "hub/safetensors.h"
#include "hub/weight_source.h"

namespace trainer {

// Weights in 8-bit floating point with a factor a block, as DeepSeek and Qwen publish them and transformers stores them
// (integrations/finegrained_fp8.py): "P.weight" in F8_E4M3 and "P.weight_scale_inv" in F32, BF16 or F8_E8M0.

// Shows such weights, to be read compressed or unpacked. `quantisation`: config.json's quantization_config.
// Error(bad_data) naming the tensor when a weight and its factors do not agree, or for another float8 type.
std::unique_ptr<WeightSource> open_fp8_weights(std::unique_ptr<WeightSource> stored, const Node& quantisation,
                                               const std::string& folder);

// The tensors of a compressed weight in whole blocks (Fp8Matrix::is_even: transformers opens no others), which must
// live until they are written. `name`: "P.weight".
std::vector<TensorToWrite> fp8_tensors(const std::string& name, Fp8Matrix& matrix);

// What config.json says of such weights; `skipped`: the modules that are not compressed.
Node fp8_config(const Fp8Block& block, const std::vector<std::string>& skipped);

}   // namespace trainer
