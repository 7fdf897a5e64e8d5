#pragma once

#include <cstdint>
#include <string>

#include "autograd/quant/block_format.h"
#include "autograd/quant/packed_matrix.h"

namespace trainer {

// A matrix in a block format of ggml, as a GGUF file holds it. It is only read: hub/gguf_weights fills the blocks.
class BlockMatrix final : public PackedMatrix {
public:
    BlockMatrix(Shape shape, DType dtype, BlockFormat format);   // columns: a multiple of the block

    std::string format() const override { return std::string(name_of(format_)); }
    void prepare(Place place) override;
    Place place() const override { return blocks_.place(); }
    std::size_t bytes() const override { return blocks_.bytes(); }
    void unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                    void* out) const override;

    std::int64_t row_bytes() const { return shape().columns() / block_elements(format_) * block_bytes(format_); }
    Tensor& blocks() { return blocks_; }   // u8 (out · row_bytes), row after row

protected:
    std::vector<Tensor*> parts() override { return {&blocks_}; }
    void encode(const Tensor& values) override;
    void unpack_panel(const Panel& panel) const override {
        on(place(), [&](auto where) { decode_panel(where, panel); });
    }

private:
    using PackedMatrix::decode_panel;
    void decode_panel(Cuda, const Panel& panel) const;
    BlockFormat format_;
    Tensor blocks_;
};

}   // namespace trainer
