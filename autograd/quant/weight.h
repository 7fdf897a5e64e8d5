#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/tensor.h"

namespace trainer {

// What a linear layer multiplies by: W of shape (out, in), in some stored format. Nothing here records; the op
// `linear` (autograd/ops/linear.h) does, and its backward holds the Weight, never a materialised copy.
class Weight {
public:
    virtual ~Weight() = default;

    virtual std::int64_t out_features() const = 0;
    virtual std::int64_t in_features() const = 0;
    virtual Place place() const = 0;

    // y (N, out) = [y +] x (N, in) · Wᵀ. y may be strided.
    void forward(const Tensor& x, Tensor& y, bool accumulate) const {
        forward_rows(0, out_features(), x, y, accumulate);
    }
    // y = x · Wᵀ + bias (out) in one pass, rounded once; bias has y's dtype. False, and nothing is done, where a
    // product cannot do that: on the CPU, and in a weight that does not say otherwise.
    virtual bool forward_with_bias(const Tensor& /*x*/, const Tensor& /*bias*/, Tensor& /*y*/) const { return false; }
    // dx (N, in) = [dx +] dy (N, out) · W. dy may be strided.
    void grad_input(const Tensor& dy, Tensor& dx, bool accumulate) const {
        grad_input_rows(0, out_features(), dy, dx, accumulate);
    }
    // The same two products with only the rows [begin, end) of W.
    virtual void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y,
                              bool accumulate) const = 0;
    virtual void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                                 bool accumulate) const = 0;
    // y (N, in) = rows of W picked by ids (N) i32, which are on the host.
    virtual void rows(const Tensor& ids, Tensor& y) const = 0;
    // W as a plain tensor, freshly made or shared.
    virtual Tensor dense(DType dtype) const = 0;

    virtual std::size_t bytes() const = 0;       // held, packed copies included
    virtual std::uint64_t version() const = 0;   // changes when the values change
    // Sharded or packed weights gather before a block runs and let go after it; a plain weight does nothing.
    virtual void acquire() {}
    virtual void release() {}
};

}   // namespace trainer
