#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "autograd/parameter.h"

namespace trainer {

// Elements [begin, end) of a parameter, counted row by row.
struct ParameterSlice {
    Parameter* parameter = nullptr;
    std::int64_t begin = 0;
    std::int64_t end = 0;

    std::int64_t elements() const { return end - begin; }
    Tensor value() const { return part_of(parameter->value); }         // a view, one-dimensional
    Tensor gradient() const { return part_of(parameter->gradient); }   // a view; undefined without a gradient
    // The same elements of a contiguous tensor in the parameter's shape.
    Tensor part_of(const Tensor& whole) const;
};

// The elements of a contiguous tensor as they lie in its memory.
std::span<std::byte> bytes_of(const Tensor& tensor);

std::vector<ParameterSlice> whole_slices(const std::vector<Parameter*>& parameters);

}   // namespace trainer
