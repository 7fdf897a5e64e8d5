#pragma once

#include <memory>

#include "autograd/quant/four_bit.h"
#include "autograd/quant/options.h"
#include "autograd/quant/packed_matrix.h"
#include "configs/registry.h"

namespace trainer {

// A format that weights are compressed to when they are loaded.
struct QuantisedFormat {
    // `dtype` as in PackedMatrix
    std::shared_ptr<PackedMatrix> (*make)(Shape shape, DType dtype, const QuantizeOptions& options);
    bool has_blocks;   // whether block_size and double_quant choose its form
};

const Registry<QuantisedFormat>& quantisations();

// block_size and double_quant as FourBitMatrix takes them.
FourBitOptions four_bit_options(const QuantizeOptions& options, FourBitCode code);

}   // namespace trainer
