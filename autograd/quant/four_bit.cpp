#include "autograd/quant/four_bit.h"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "configs/error.h"

namespace trainer {

namespace {

constexpr std::array<std::uint32_t, 16> nf4_bits = {
    0xbf800000, 0xbf3239b1, 0xbf066b30, 0xbeca32a0, 0xbe91a24d, 0xbe3d353f, 0xbdba7871, 0x00000000,
    0x3da2faff, 0x3e24cae3, 0x3e7c04dd, 0x3ead033a, 0x3ee1a4b8, 0x3f1007ab, 0x3f3913b3, 0x3f800000};

std::array<float, 16> nf4_values() {
    std::array<float, 16> values;
    for (std::size_t i = 0; i < 16; ++i) values[i] = std::bit_cast<float>(nf4_bits[i]);
    return values;
}

std::array<float, 16> fp4_values() {
    constexpr float twelfths[8] = {0, 0.0625f, 8, 12, 4, 6, 2, 3};
    std::array<float, 16> values;
    for (std::size_t i = 0; i < 8; ++i) {
        values[i] = twelfths[i] / 12.0f;
        values[i + 8] = -values[i];
    }
    return values;
}

// How a value in [−1, 1] gets its code: the number of bounds below it (ties go to the lower side) picks the code.
struct Rounding {
    std::array<float, 15> bounds;         // midpoints of neighbouring values
    std::array<std::uint8_t, 16> codes;   // in the order of their values

    explicit Rounding(const std::array<float, 16>& values) {
        for (std::size_t i = 0; i < 16; ++i) codes[i] = static_cast<std::uint8_t>(i);
        std::stable_sort(codes.begin(), codes.end(),
                         [&](std::uint8_t a, std::uint8_t b) { return values[a] < values[b]; });
        for (std::size_t i = 0; i < 15; ++i) bounds[i] = (values[codes[i]] + values[codes[i + 1]]) / 2.0f;
    }
    std::uint8_t code(float value) const {
        unsigned below = 0;
        for (const float bound : bounds) below += bound < value ? 1 : 0;
        return codes[below];
    }
};

const Rounding& rounding_of(FourBitCode code) {
    static const Rounding nf4(values_of(FourBitCode::nf4)), fp4(values_of(FourBitCode::fp4));
    return code == FourBitCode::nf4 ? nf4 : fp4;
}

// The smallest scale that is divided by, as bitsandbytes has it: below it a block is all but zero.
constexpr float smallest_scale = 1e-38f;

// Codes of one block, one a byte. A last, short block divides where the others multiply by the reciprocal, and keeps
// the smallest scale: so the reference implementation does it.
float encode_block(const Rounding& rounding, const Tensor& values, std::int64_t begin, std::int64_t end, bool is_short,
                   std::uint8_t* codes) {
    float absmax = 0;
    for (std::int64_t i = begin; i < end; ++i) absmax = std::max(absmax, std::abs(value_at(values, i)));
    const float scale = std::max(absmax, smallest_scale), inverse = 1.0f / scale;
    for (std::int64_t i = begin; i < end; ++i) {
        const float value = value_at(values, i);
        codes[i - begin] = rounding.code(std::clamp(is_short ? value / scale : value * inverse, -1.0f, 1.0f));
    }
    return is_short ? scale : absmax;
}

template <typename Element>
void decode(const std::uint8_t* codes, std::int64_t first, std::int64_t count, const std::array<Element, 16>& values,
            Element* out) {
    std::int64_t i = first;
    const std::int64_t end = first + count;
    if (i < end && (i & 1)) *out++ = values[codes[i++ / 2] & 15u];
    for (; i + 1 < end; i += 2, out += 2) {
        const std::uint8_t pair = codes[i / 2];
        out[0] = values[pair >> 4];
        out[1] = values[pair & 15u];
    }
    if (i < end) *out = values[codes[i / 2] >> 4];
}

}   // namespace

std::string_view name_of(FourBitCode code) { return code == FourBitCode::nf4 ? "nf4" : "fp4"; }

const std::array<float, 16>& values_of(FourBitCode code) {
    static const std::array<float, 16> nf4 = nf4_values(), fp4 = fp4_values();
    return code == FourBitCode::nf4 ? nf4 : fp4;
}

FourBitMatrix::FourBitMatrix(Shape shape, DType dtype, const FourBitOptions& options)
    : PackedMatrix(shape, dtype), options_(options), map_(values_of(options.code)), nested_map_(signed_dynamic_map()) {
    check(options.block > 0 && options.block % 2 == 0, "{}: blocks of {}", format(), options.block);
}

void FourBitMatrix::prepare(Place place) {
    const PurposeScope purpose(Purpose::weights);
    codes_ = Tensor::empty((shape().elements() + 1) / 2, DType::u8, place);
    absmax_ = Tensor::empty(blocks(), options_.double_quant ? DType::u8 : DType::f32, place);
    if (options_.double_quant) nested_absmax_ = Tensor::empty(nested_blocks(), DType::f32, place);
}

std::string FourBitMatrix::layout() const {
    const std::string nested = options_.double_quant ? " " + std::to_string(options_.nested_block) : "";
    return format() + " " + std::to_string(options_.block) + nested;
}

std::vector<Tensor*> FourBitMatrix::parts() {
    std::vector<Tensor*> all = {&codes_, &absmax_};
    if (options_.double_quant) all.push_back(&nested_absmax_);
    return all;
}

std::size_t FourBitMatrix::bytes() const {
    return codes_.bytes() + absmax_.bytes() + (nested_absmax_.defined() ? nested_absmax_.bytes() : 0);
}

void FourBitMatrix::encode(const Tensor& values) {
    const Rounding& rounding = rounding_of(options_.code);
    const std::int64_t elements = shape().elements();
    std::vector<float> absmax(static_cast<std::size_t>(blocks()));
    auto* packed = codes_.data<std::uint8_t>();
    const std::int64_t room = options_.block + 1;   // for the codes of one block on each thread
    std::vector<std::uint8_t> all_codes(static_cast<std::size_t>(omp_get_max_threads() * room));
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks(); ++block) {
        const std::int64_t begin = block * options_.block, end = std::min(begin + options_.block, elements);
        std::uint8_t* codes = all_codes.data() + omp_get_thread_num() * room;
        absmax[static_cast<std::size_t>(block)] =
            encode_block(rounding, values, begin, end, end - begin < options_.block, codes);
        codes[end - begin] = rounding.code(0);   // the missing half of a last byte
        for (std::int64_t i = begin; i < end; i += 2)
            packed[i / 2] = static_cast<std::uint8_t>(codes[i - begin] << 4 | codes[i - begin + 1]);
    }
    pack_scales(absmax);
}

void FourBitMatrix::pack_scales(const std::vector<float>& absmax) {
    if (!options_.double_quant) {
        std::copy(absmax.begin(), absmax.end(), absmax_.data<float>());
        return;
    }
    double sum = 0;
    for (const float scale : absmax) sum += static_cast<double>(scale);
    offset_ = static_cast<float>(sum / static_cast<double>(absmax.size()));
    for (std::int64_t begin = 0; begin < blocks(); begin += options_.nested_block) {
        const std::int64_t end = std::min(begin + options_.nested_block, blocks());
        float largest = 0;
        for (std::int64_t i = begin; i < end; ++i)
            largest = std::max(largest, std::abs(absmax[static_cast<std::size_t>(i)] - offset_));
        nested_absmax_.data<float>()[begin / options_.nested_block] = largest;
        const float inverse = 1.0f / largest;
        for (std::int64_t i = begin; i < end; ++i)
            absmax_.data<std::uint8_t>()[i] =
                largest > 0 ? nearest_code(nested_map_, (absmax[static_cast<std::size_t>(i)] - offset_) * inverse)
                            : std::uint8_t{0};
    }
}

float FourBitMatrix::scale_of(std::int64_t block) const {
    if (!options_.double_quant) return absmax_.data<float>()[block];
    return nested_map_[absmax_.data<std::uint8_t>()[block]] *
               nested_absmax_.data<float>()[block / options_.nested_block] +
           offset_;
}

void FourBitMatrix::unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                               void* out) const {
    const auto* codes = codes_.data<std::uint8_t>();
    std::int64_t at = row * shape().columns() + column;
    const std::int64_t end = at + count;
    auto* bytes = static_cast<std::byte*>(out);
    while (at < end) {
        const std::int64_t block = at / options_.block;
        const std::int64_t part = std::min(end, (block + 1) * options_.block) - at;
        const float scale = scale_of(block);
        std::array<float, 16> wide;
        for (std::size_t i = 0; i < 16; ++i) wide[i] = rounded_to(dtype(), map_[i] * scale);
        if (target == DType::f32) {
            decode(codes, at, part, wide, reinterpret_cast<float*>(bytes));
        } else {
            std::array<bf16, 16> narrow;
            for (std::size_t i = 0; i < 16; ++i) narrow[i] = bf16(wide[i]);
            decode(codes, at, part, narrow, reinterpret_cast<bf16*>(bytes));
        }
        at += part;
        bytes += static_cast<std::size_t>(part) * size_of(target);
    }
}

}   // namespace trainer
