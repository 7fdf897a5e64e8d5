#pragma once

#include <memory>

#include "autograd/quant/four_bit.h"
#include "autograd/quant/options.h"
#include "autograd/quant/packed_matrix.h"
#include "configs/registry.h"

namespace trainer {

// Makes a matrix that is compressed when it is loaded; `dtype` as in PackedMatrix.
using MakePackedMatrix = std::shared_ptr<PackedMatrix> (*)(Shape shape, DType dtype, const QuantizeOptions& options);

const Registry<MakePackedMatrix>& quantisations();

// block_size and double_quant as FourBitMatrix takes them.
FourBitOptions four_bit_options(const QuantizeOptions& options, FourBitCode code);

}   // namespace trainer
