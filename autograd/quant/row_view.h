#pragma once

#include "autograd/quant/weight.h"

namespace trainer {

// Rows [begin, end) of another weight, as a weight. The other one must live longer.
class RowView : public Weight {
public:
    RowView(Weight& whole, std::int64_t begin, std::int64_t end) : whole_(whole), begin_(begin), end_(end) {}

    std::int64_t out_features() const override { return end_ - begin_; }
    std::int64_t in_features() const override { return whole_.in_features(); }
    Place place() const override { return whole_.place(); }
    void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y,
                      bool accumulate) const override {
        whole_.forward_rows(begin_ + begin, begin_ + end, x, y, accumulate);
    }
    void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                         bool accumulate) const override {
        whole_.grad_input_rows(begin_ + begin, begin_ + end, dy, dx, accumulate);
    }
    void rows(const Tensor& ids, Tensor& y) const override;
    Tensor dense(DType dtype) const override { return whole_.dense(dtype).row_range(begin_, end_); }
    std::size_t bytes() const override { return 0; }   // counted by the whole
    std::uint64_t version() const override { return whole_.version(); }
    void acquire() override { whole_.acquire(); }
    void release() override { whole_.release(); }

private:
    Weight& whole_;
    std::int64_t begin_;
    std::int64_t end_;
};

}   // namespace trainer
