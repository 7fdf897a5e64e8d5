#include "autograd/quant/registry.h"

#include "autograd/quant/int8_rows.h"

namespace trainer {

namespace {

template <FourBitCode code>
std::shared_ptr<PackedMatrix> make_four_bit(Shape shape, DType dtype, const QuantizeOptions& options) {
    return std::make_shared<FourBitMatrix>(shape, dtype, four_bit_options(options, code));
}

std::shared_ptr<PackedMatrix> make_int8(Shape shape, DType dtype, const QuantizeOptions&) {
    return std::make_shared<Int8Matrix>(shape, dtype);
}

std::shared_ptr<PackedMatrix> make_fp8(Shape shape, DType dtype, const QuantizeOptions& options) {
    return std::make_shared<Fp8Matrix>(shape, dtype, fp8_block(options));
}

constexpr std::int64_t four_bit_block = 64, fp8_block_side = 128;

}   // namespace

FourBitOptions four_bit_options(const QuantizeOptions& options, FourBitCode code) {
    return {.code = code, .block = options.block_size.value_or(four_bit_block), .double_quant = options.double_quant};
}

Fp8Block fp8_block(const QuantizeOptions& options) {
    const std::int64_t side = options.block_size.value_or(fp8_block_side);
    return {.rows = side, .columns = side};
}

const Registry<QuantisedFormat>& quantisations() {
    static const Registry<QuantisedFormat> table(
        "format of quantised weights",
        {
            {"nf4",
             "4 bits, 16 values spread like a normal distribution (QLoRA)",
             {make_four_bit<FourBitCode::nf4>, four_bit_block, true}},
            {"fp4", "4 bits, a tiny floating-point number", {make_four_bit<FourBitCode::fp4>, four_bit_block, true}},
            {"int8", "8 bits, one scale a row (LLM.int8)", {make_int8, 0, false}},
            {"fp8",
             "8 bits, a floating-point number (E4M3), one scale a square of weights",
             {make_fp8, fp8_block_side, false}},
        });
    return table;
}

}   // namespace trainer
