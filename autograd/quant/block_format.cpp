#include "autograd/quant/block_format.h"

#include "autograd/quant/unpack_kernels.h"

namespace trainer {

namespace {

struct Description {
    std::string_view name;
    std::int64_t elements;
    std::int64_t bytes;
};

const Description& description(BlockFormat format) {   // in the order of the enumeration
    static constexpr Description all[] = {{"Q4_0", 32, 18}, {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},
                                          {"Q8_0", 32, 34}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210}};
    return all[static_cast<std::size_t>(format)];
}

}   // namespace

std::span<const BlockFormat> block_formats() {
    static constexpr BlockFormat all[] = {BlockFormat::q4_0, BlockFormat::q4_1, BlockFormat::q5_0, BlockFormat::q5_1,
                                          BlockFormat::q8_0, BlockFormat::q4_k, BlockFormat::q5_k, BlockFormat::q6_k};
    return all;
}

std::string_view name_of(BlockFormat format) { return description(format).name; }
std::int64_t block_elements(BlockFormat format) { return description(format).elements; }
std::int64_t block_bytes(BlockFormat format) { return description(format).bytes; }

void decode_blocks(BlockFormat format, const std::byte* in, std::int64_t count, float* out) {
    TRAINER_PICK(decode_block_run)(format, in, count, out);
}

}   // namespace trainer
