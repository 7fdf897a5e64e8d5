#include "optim/adamw_8bit.h"

#include <algorithm>

#include "optim/adamw_8bit_cuda.h"
#include "optim/adamw_8bit_kernels.h"

namespace trainer {

namespace {

constexpr std::int64_t smallest_coded = 4096;

bool is_coded(const Parameter& parameter) { return parameter.shape.elements() >= smallest_coded; }

void update_coded(Cpu, const AdamWConstants& step, const Tensor& gradient, const Tensor& value, const Rounding&,
                  const CodedTensor& mean, const CodedTensor& square) {
    const float* given = values_of_gradient(gradient);
    auto* values = value.data<float>();
    const auto part = [](const CodedTensor& tensor, std::int64_t begin) -> CodedBlock {
        return {tensor.codes, tensor.code.data<std::uint8_t>() + begin,
                tensor.scale.data<float>() + begin / state_block};
    };
    const auto kernel = &TRAINER_PICK(adamw_8bit_block);
#pragma omp parallel for schedule(static)
    for (std::int64_t begin = 0; begin < value.elements(); begin += state_block)
        kernel(step, given ? given + begin : nullptr, values + begin, part(mean, begin), part(square, begin),
               std::min(state_block, value.elements() - begin));
}

class AdamW8bit : public Optimizer {
public:
    AdamW8bit(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter& parameter) const override {
        if (!is_coded(parameter)) return adamw_state();
        return {{"state1", DType::u8},
                {"state2", DType::u8},
                {"absmax1", DType::f32, state_block},
                {"absmax2", DType::f32, state_block}};
    }

protected:
    void update(const ParameterSlice& slice, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        if (!is_coded(*slice.parameter)) return adamw_update(options_, value, gradient, state, update);
        const CodedTensor mean{signed_dynamic_codes(), state.at("state1"), state.at("absmax1")};
        const CodedTensor square{unsigned_dynamic_codes(), state.at("state2"), state.at("absmax2")};
        on(value.place(), [&](auto place) {
            update_coded(place, {options_, update}, gradient, value, update.rounding, mean, square);
        });
    }

private:
    AdamWOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_adamw_8bit(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<AdamW8bit>(options, slices);
}

}   // namespace trainer
