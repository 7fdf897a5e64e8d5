#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/parameter.h"
#include "autograd/quant/weight.h"

namespace trainer {

// A frozen weight of stacked parameters of which some or all are compressed (Parameter::packed); the others are held in
// the compute dtype. A product unpacks the rows or columns that it is about to use into a panel, or 256 of them where
// they are longer: of 2 M elements on the CPU, which stay in the cache while they are multiplied, and of 64 M on a GPU,
// where a product of less leaves multiprocessors without work. There is never a dense copy of the whole model, and only
// for weights that fit into one panel of a whole weight. The products are those of a dense weight with the unpacked
// values.
class PackedWeight : public Weight {
public:
    // Prepares the compressed matrices and allocates the others. All parameters have the same number of columns.
    PackedWeight(std::vector<Parameter*> parameters, DType compute, Place place);

    std::int64_t out_features() const override { return rows_; }
    std::int64_t in_features() const override { return parameters_.front()->shape.columns(); }
    Place place() const override { return place_; }
    void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y, bool accumulate) const override;
    bool forward_with_bias(const Tensor& x, const Tensor& bias, Tensor& y) const override;
    void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                         bool accumulate) const override;
    void rows(const Tensor& ids, Tensor& y) const override;
    Tensor dense(DType dtype) const override;
    std::size_t bytes() const override;
    std::uint64_t version() const override;

private:
    // out = W[row …, column …]
    void unpack(std::int64_t row, std::int64_t column, Tensor& out) const;
    // part(columns of y, unpacked rows of W that make them, the first of these within [begin, end))
    template <typename Part>
    void each_panel(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y, Part&& part) const;

    std::vector<Parameter*> parameters_;
    std::int64_t rows_ = 0;
    Place place_;
};

// The weight that multiplies by these parameters, stacked: dense in `storage` dtype, or packed when any of them is
// compressed.
std::unique_ptr<Weight> make_weight(const std::vector<Parameter*>& parameters, DType storage, DType compute,
                                    Place place);

}   // namespace trainer
