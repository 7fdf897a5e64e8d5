#pragma once

#include <cstdint>
#include <string>

#include "autograd/quant/packed_matrix.h"

namespace trainer {

// 8-bit weights as bitsandbytes stores them for LLM.int8 (Dettmers et al., 2022): one scale a row, value = code ·
// absmax / 127. The matrix is read as f16 before it is compressed. Only the weights are in 8 bits here; activations
// keep their precision, so there are no outlier columns.
class Int8Matrix final : public PackedMatrix {
public:
    using PackedMatrix::PackedMatrix;

    std::string format() const override { return "int8"; }
    void prepare(Place place) override;
    Place place() const override { return codes_.place(); }
    std::size_t bytes() const override { return codes_.bytes() + absmax_.bytes(); }
    bool can_pack(const Tensor& values) const override;   // nothing that is infinite in f16
    void unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                    void* out) const override;

    // What files hold, to be read and, when loading, filled; defined after prepare.
    Tensor& codes() { return codes_; }     // i8 kept as u8, (out · in)
    Tensor& absmax() { return absmax_; }   // f32 (out)

protected:
    std::vector<Tensor*> parts() override { return {&codes_, &absmax_}; }
    void encode(const Tensor& values) override;
    void unpack_panel(const Panel& panel) const override {
        on(place(), [&](auto where) { decode_panel(where, panel); });
    }

private:
    using PackedMatrix::decode_panel;
    void decode_panel(Cuda, const Panel& panel) const;
    Tensor codes_, absmax_;
};

}   // namespace trainer
