#pragma once

#include <memory>

#include "autograd/quant/four_bit.h"
#include "autograd/quant/fp8_blocks.h"
#include "autograd/quant/options.h"
#include "autograd/quant/packed_matrix.h"
#include "configs/registry.h"

namespace trainer {

// A format that weights are compressed to when they are loaded.
struct QuantisedFormat {
    // `dtype` as in PackedMatrix
    std::shared_ptr<PackedMatrix> (*make)(Shape shape, DType dtype, const QuantizeOptions& options);
    std::int64_t block_size;   // by default; 0: it has no blocks to choose
    bool double_quant;         // whether it knows double quantisation
};

const Registry<QuantisedFormat>& quantisations();

// block_size and double_quant as the matrices take them.
FourBitOptions four_bit_options(const QuantizeOptions& options, FourBitCode code);
Fp8Block fp8_block(const QuantizeOptions& options);

}   // namespace trainer
