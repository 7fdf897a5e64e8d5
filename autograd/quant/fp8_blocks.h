#pragma once

#include <cstdint>
#include <string>

#include "autograd/quant/packed_matrix.h"

namespace trainer {

// The height and width of the rectangle of weights that shares a scale; those at the ends may be smaller.
struct Fp8Block {
    std::int64_t rows = 128;
    std::int64_t columns = 128;
    friend bool operator==(const Fp8Block&, const Fp8Block&) = default;
};

// 8-bit floating-point weights (E4M3 without infinities: 1 sign, 4 exponent, 3 mantissa bits; up to 448) with one f32
// factor for each block, as DeepSeek-V3 (2024) publishes them: value = code · scale_inv of its block, in f32.
class Fp8Matrix final : public PackedMatrix {
public:
    Fp8Matrix(Shape shape, DType dtype, const Fp8Block& block);

    std::string format() const override { return "fp8"; }
    std::string layout() const override;
    void prepare(Place place) override;
    Place place() const override { return codes_.place(); }
    std::size_t bytes() const override { return codes_.bytes() + scales_.bytes(); }
    void unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                    void* out) const override;

    const Fp8Block& block() const { return block_; }
    // Whether the blocks are all of one size, which transformers wants of a file.
    bool is_even() const { return shape().rows() % block_.rows == 0 && shape().columns() % block_.columns == 0; }
    std::int64_t scale_rows() const { return (shape().rows() + block_.rows - 1) / block_.rows; }
    std::int64_t scale_columns() const { return (shape().columns() + block_.columns - 1) / block_.columns; }

    // What files hold, to be read and, when loading, filled; defined after prepare.
    Tensor& codes() { return codes_; }     // u8 (out · in)
    Tensor& scales() { return scales_; }   // f32 (scale_rows · scale_columns), "weight_scale_inv"

protected:
    std::vector<Tensor*> parts() override { return {&codes_, &scales_}; }
    void encode(const Tensor& values) override;
    void unpack_panel(const Panel& panel) const override {
        on(place(), [&](auto where) { decode_panel(where, panel); });
    }

private:
    using PackedMatrix::decode_panel;
    void decode_panel(Cuda, const Panel& panel) const;
    Fp8Block block_;
    Tensor codes_, scales_;
};

// The code nearest to a value of at most 448 in size, ties to even.
std::uint8_t fp8_code(float value);

}   // namespace trainer
