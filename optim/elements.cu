#include "optim/elements_cuda.h"

#include <utility>

#include "autograd/cuda/device.h"
#include "optim/adamw_step.h"
#include "optim/ademamix_step.h"
#include "optim/lion_step.h"
#include "optim/matrix_steps.h"
#include "optim/schedule_free_step.h"
#include "optim/sgd_step.h"
#include "optim/value_packs.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename Rule, typename Value, std::size_t states>
struct Elements {
    Rule rule;
    const float* gradient;   // null: zero
    Value* value;
    float* state[states == 0 ? 1 : states];
    std::int64_t count;
    Rounding rounding;
};

template <typename Rule>
concept OverwritesValue = requires {
    typename Rule::OverwritesValue;
};

// `width` elements from `begin` on.
template <int width, typename Rule, typename Value, std::size_t... states>
__device__ void update_some(const Elements<Rule, Value, sizeof...(states)>& p, std::int64_t begin,
                            std::index_sequence<states...>) {
    Numbers<width> gradient, value, state[sizeof...(states) + 1];
    if (p.gradient) gradient = read<width>(p.gradient + begin);
    if constexpr (!OverwritesValue<Rule>) value = read<width>(p.value + begin);
    ((state[states] = read<width>(p.state[states] + begin)), ...);
    for (int i = 0; i < width; ++i)
        p.rule(p.gradient ? gradient.at[i] * p.rule.gradient_scale : 0.0f, value.at[i], state[states].at[i]...);
    write(value, p.value + begin, p.rounding, begin);
    (write(state[states], p.state[states] + begin), ...);
}

// A thread for `width` elements, the last one alone for what is left.
template <typename Rule, typename Value, int width, std::size_t states>
__global__ void elements_kernel(const __grid_constant__ Elements<Rule, Value, states> p) {
    const std::int64_t begin = grid_thread() * width;
    if (begin + width <= p.count) return update_some<width>(p, begin, std::make_index_sequence<states>());
    for (std::int64_t i = begin; i < p.count; ++i) update_some<1>(p, i, std::make_index_sequence<states>());
}

}   // namespace

template <typename Rule, std::same_as<Tensor>... States>
void update_elements(Cuda place, const Rule& rule, const Tensor& gradient, const Tensor& value,
                     const Rounding& rounding, const States&... states) {
    check(rounding.first % 8 == 0, "update: from element {}", rounding.first);
    with_value_packs(value.dtype(), {&gradient, &value, &states...}, [&](auto element, auto width) {
        using Value = decltype(element);
        constexpr int threads = 256;
        const Elements<Rule, Value, sizeof...(States)> parameters{rule,
                                                                  gradient.defined() ? gradient.data<float>() : nullptr,
                                                                  value.data<Value>(),
                                                                  {states.template data<float>()...},
                                                                  value.elements(),
                                                                  rounding};
        launch(place, {.blocks = blocks_for(value.elements(), threads * width), .threads = threads},
               elements_kernel<Rule, Value, width, sizeof...(States)>, parameters);
    });
}

// By the number of state tensors.
#define WITHOUT_STATE(Rule) \
    template void update_elements(Cuda, const Rule&, const Tensor&, const Tensor&, const Rounding&);
#define WITH_ONE(Rule) \
    template void update_elements(Cuda, const Rule&, const Tensor&, const Tensor&, const Rounding&, const Tensor&);
#define WITH_TWO(Rule)                                                                                             \
    template void update_elements(Cuda, const Rule&, const Tensor&, const Tensor&, const Rounding&, const Tensor&, \
                                  const Tensor&);
#define WITH_THREE(Rule)                                                                                           \
    template void update_elements(Cuda, const Rule&, const Tensor&, const Tensor&, const Rounding&, const Tensor&, \
                                  const Tensor&, const Tensor&);

WITHOUT_STATE(SgdStep)
WITHOUT_STATE(TowardsAverage)
WITHOUT_STATE(TakeGradient)
WITHOUT_STATE(Descent)
WITHOUT_STATE(FoldSquare)
WITH_ONE(SgdStep)
WITH_ONE(LionStep)
WITH_ONE(MuonMomentum)
WITH_TWO(AdamWConstants)
WITH_TWO(ScheduleFreeStep)
WITH_TWO(ApolloMeans)
WITH_THREE(AdemamixStep)

}   // namespace trainer
