#pragma once

#include "autograd/quant/dynamic_map.h"
#include "autograd/tensor.h"
#include "optim/adamw_step.h"
#include "optim/elements_cuda.h"

namespace trainer {

// Codes of a state tensor (u8) and its scales, one for each block.
struct CodedTensor {
    const DynamicCodes& codes;
    const Tensor& code;
    const Tensor& scale;
};

void update_coded(Cuda, const AdamWConstants& step, const Tensor& gradient, const Tensor& value,
                  const Rounding& rounding, const CodedTensor& mean, const CodedTensor& square);

}   // namespace trainer
