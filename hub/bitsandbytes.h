#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/quant/four_bit.h"
#include "autograd/quant/int8_rows.h"
#include "configs/node.h"
#include "hub/safetensors.h"
#include "hub/weight_source.h"

namespace trainer {

// Weights that bitsandbytes compressed, as transformers stores them in safetensors (bitsandbytes/functional.py,
// QuantState.as_dict): beside "P.weight" (bytes) its scales and maps, and for 4 bits a JSON text of the rest.

// Shows such weights under their own names with their own shapes, to be read compressed or unpacked. Error(bad_data)
// naming the tensor when the parts of a weight are missing or do not agree.
std::unique_ptr<WeightSource> open_bitsandbytes_weights(std::unique_ptr<WeightSource> stored,
                                                        const std::string& folder);

// The tensors of a compressed weight, which must live until they are written. `name`: "P.weight".
std::vector<TensorToWrite> bitsandbytes_tensors(const std::string& name, FourBitMatrix& matrix);
std::vector<TensorToWrite> bitsandbytes_tensors(const std::string& name, Int8Matrix& matrix);

// What config.json says of such weights; `skipped`: the modules that are not compressed.
Node bitsandbytes_config(const FourBitOptions& options, DType compute, const std::vector<std::string>& skipped);
Node bitsandbytes_int8_config(const std::vector<std::string>& skipped);

}   // namespace trainer
