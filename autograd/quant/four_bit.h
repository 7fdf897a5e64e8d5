#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/quant/dynamic_map.h"
#include "autograd/quant/packed_matrix.h"

namespace trainer {

enum class FourBitCode { nf4, fp4 };
std::string_view name_of(FourBitCode code);   // "nf4"
// The 16 values a code stands for: NF4 of Dettmers et al. (2023), "QLoRA", or FP4 (sign, codes in bit order).
const std::array<float, 16>& values_of(FourBitCode code);

struct FourBitOptions {
    FourBitCode code = FourBitCode::nf4;
    std::int64_t block = 64;    // elements that share a scale; blocks run on from row to row
    bool double_quant = true;   // the scales are 8-bit codes themselves, in blocks of `nested_block`
    std::int64_t nested_block = 256;
    friend bool operator==(const FourBitOptions&, const FourBitOptions&) = default;
};

// 4-bit weights as bitsandbytes stores them: two codes a byte, the first one in the high half; value = code · absmax of
// its block, in f32. With double quantisation absmax = map[code] · nested_absmax + offset.
class FourBitMatrix final : public PackedMatrix {
public:
    FourBitMatrix(Shape shape, DType dtype, const FourBitOptions& options);

    std::string format() const override { return std::string(name_of(options_.code)); }
    std::string layout() const override;
    void prepare(Place place) override;
    Place place() const override { return codes_.place(); }
    std::size_t bytes() const override;
    void unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                    void* out) const override;

    const FourBitOptions& options() const { return options_; }
    std::int64_t blocks() const { return (shape().elements() + options_.block - 1) / options_.block; }
    std::int64_t nested_blocks() const { return (blocks() + options_.nested_block - 1) / options_.nested_block; }

    // What files hold, to be read and, when loading, filled; defined after prepare. The maps of a file replace ours.
    Tensor& codes() { return codes_; }                   // u8, half the elements rounded up
    Tensor& absmax() { return absmax_; }                 // f32, or u8 codes with double quantisation; one a block
    Tensor& nested_absmax() { return nested_absmax_; }   // f32, one a nested block
    std::array<float, 16>& map() { return map_; }
    DynamicMap& nested_map() { return nested_map_; }
    float& offset() { return offset_; }

protected:
    std::vector<Tensor*> parts() override;
    void encode(const Tensor& values) override;
    void unpack_panel(const Panel& panel) const override {
        on(place(), [&](auto where) { decode_panel(where, panel); });
    }

private:
    using PackedMatrix::decode_panel;
    void decode_panel(Cuda, const Panel& panel) const;
    float scale_of(std::int64_t block) const;
    void pack_scales(const std::vector<float>& absmax);

    FourBitOptions options_;
    std::array<float, 16> map_;
    DynamicMap nested_map_;
    Tensor codes_, absmax_, nested_absmax_;
    float offset_ = 0;
};

}   // namespace trainer
