#include "peft/method.h"

namespace trainer {

std::vector<AdapterTensor> PeftMethod::tensors(const std::function<const float*(const Parameter&)>& values) const {
    std::vector<AdapterTensor> all;
    for (const Parameter* parameter : parameters())
        all.push_back({parameter->name, parameter->shape.sizes(), values(*parameter), {}});
    for (const Parameter* parameter : frozen())
        all.push_back({parameter->name, parameter->shape.sizes(), parameter->value.data<float>(), {}});
    return all;
}

}   // namespace trainer
