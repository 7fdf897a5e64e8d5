#include "optim/adamw_8bit.h"

#include <algorithm>

#include "optim/adamw_8bit_kernels.h"

namespace trainer {

namespace {

constexpr std::int64_t smallest_coded = 4096;

bool is_coded(const Parameter& parameter) { return parameter.shape.elements() >= smallest_coded; }

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
        on(value.place(), [&](Cpu) {
            const AdamWConstants step(options_, update);
            const float* given = values_of_gradient(gradient);
            auto* values = value.data<float>();
            auto* codes1 = state.at("state1").data<std::uint8_t>();
            auto* codes2 = state.at("state2").data<std::uint8_t>();
            auto* scales1 = state.at("absmax1").data<float>();
            auto* scales2 = state.at("absmax2").data<float>();
            const std::int64_t elements = value.elements();
            const auto kernel = &TRAINER_PICK(adamw_8bit_block);
            const DynamicCodes& means = signed_dynamic_codes();
            const DynamicCodes& squares = unsigned_dynamic_codes();
#pragma omp parallel for schedule(static)
            for (std::int64_t begin = 0; begin < elements; begin += state_block) {
                const std::int64_t block = begin / state_block;
                kernel(step, given ? given + begin : nullptr, values + begin, {means, codes1 + begin, scales1 + block},
                       {squares, codes2 + begin, scales2 + block}, std::min(state_block, elements - begin));
            }
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
