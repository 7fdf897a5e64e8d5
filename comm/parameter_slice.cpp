#include "comm/parameter_slice.h"

namespace trainer {

Tensor ParameterSlice::part_of(const Tensor& whole) const {
    if (!whole.defined()) return {};
    return whole.reshaped(Shape(whole.elements())).row_range(begin, end);
}

std::vector<ParameterSlice> whole_slices(const std::vector<Parameter*>& parameters) {
    std::vector<ParameterSlice> slices;
    for (Parameter* parameter : parameters) slices.push_back({parameter, 0, parameter->shape.elements()});
    return slices;
}

}   // namespace trainer
