#include "optim/elements_cuda.h"

#include <algorithm>
#include <utility>

#include "autograd/cuda/device.h"
#include "autograd/cuda/task_list.h"
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

constexpr int threads = 256;

// A thread for `width` elements, the last one alone for what is left.
template <typename Rule, typename Value, int width, std::size_t states>
__global__ void elements_kernel(const __grid_constant__ TaskList<Elements<Rule, Value, states>> list) {
    const BlockOfTask here = block_of_task(list);
    const Elements<Rule, Value, states>& p = list[here.task];
    const std::int64_t begin = (here.block * threads + threadIdx.x) * width;
    if (begin + width <= p.count) return update_some<width>(p, begin, std::make_index_sequence<states>());
    for (std::int64_t i = begin; i < p.count; ++i) update_some<1>(p, i, std::make_index_sequence<states>());
}

}   // namespace

template <typename Rule, std::size_t states>
void update_elements(Cuda place, const std::vector<ElementsUpdate<Rule, states>>& updates) {
    const auto of_kind = [&](DType dtype, bool packs) {
        with_value_width(dtype, packs, [&](auto element, auto width) {
            using Value = decltype(element);
            using Task = Elements<Rule, Value, states>;
            std::vector<Task> tasks;
            for (const auto& one : updates) {
                std::vector<const Tensor*> tensors{&one.gradient, &one.value};
                for (const Tensor& state : one.state) tensors.push_back(&state);
                if (one.value.dtype() != dtype || begin_at_packs(tensors) != packs) continue;
                check(one.rounding.first % 8 == 0, "update: from element {}", one.rounding.first);
                Task task{one.rule,
                          one.gradient.defined() ? one.gradient.template data<float>() : nullptr,
                          one.value.template data<Value>(),
                          {},
                          one.value.elements(),
                          one.rounding};
                std::transform(one.state.begin(), one.state.end(), task.state,
                               [](const Tensor& state) { return state.data<float>(); });
                tasks.push_back(task);
            }
            const auto blocks_of = [&](const Task& task) { return blocks_for(task.count, threads * width); };
            launch_tasks<Task>(place, tasks, threads, blocks_of, elements_kernel<Rule, Value, width, states>);
        });
    };
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const bool packs : {true, false}) of_kind(dtype, packs);
}

// By the number of state tensors.
#define KNOWN(Rule, states) template void update_elements(Cuda, const std::vector<ElementsUpdate<Rule, states>>&);

KNOWN(SgdStep, 0)
KNOWN(TowardsAverage, 0)
KNOWN(TakeGradient, 0)
KNOWN(Descent, 0)
KNOWN(FoldSquare, 0)
KNOWN(SgdStep, 1)
KNOWN(LionStep, 1)
KNOWN(MuonMomentum, 1)
KNOWN(AdamWConstants, 2)
KNOWN(ScheduleFreeStep, 2)
KNOWN(ApolloMeans, 2)
KNOWN(AdemamixStep, 3)

}   // namespace trainer
