#include "comm/parameter_slice.h"

namespace trainer {

Tensor ParameterSlice::part_of(const Tensor& whole) const {
    if (!whole.defined()) return {};
    return whole.reshaped(Shape(whole.elements())).row_range(begin, end);
}

std::span<std::byte> bytes_of(const Tensor& tensor) { return {static_cast<std::byte*>(tensor.raw()), tensor.bytes()}; }

std::vector<ParameterSlice> whole_slices(const std::vector<Parameter*>& parameters) {
    std::vector<ParameterSlice> slices;
    for (Parameter* parameter : parameters) slices.push_back({parameter, 0, parameter->shape.elements()});
    return slices;
}

}   // namespace trainer
