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

}   // namespace

FourBitOptions four_bit_options(const QuantizeOptions& options, FourBitCode code) {
    return {.code = code, .block = options.block_size, .double_quant = options.double_quant};
}

const Registry<QuantisedFormat>& quantisations() {
    static const Registry<QuantisedFormat> table(
        "format of quantised weights",
        {
            {"nf4",
             "4 bits, 16 values spread like a normal distribution (QLoRA)",
             {make_four_bit<FourBitCode::nf4>, true}},
            {"fp4", "4 bits, a tiny floating-point number", {make_four_bit<FourBitCode::fp4>, true}},
            {"int8", "8 bits, one scale a row (LLM.int8)", {make_int8, false}},
        });
    return table;
}

}   // namespace trainer
