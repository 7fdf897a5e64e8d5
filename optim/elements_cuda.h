#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

namespace trainer {

// What an update does to one element where it needs no other: a struct of the update's constants that is called with
// the gradient, the value and its state, each a float. It is constexpr, so that a GPU runs the same function, and has
// `gradient_scale`. One that writes the value without reading it says so by a member type OverwritesValue.
template <typename Rule, typename... States>
concept ElementRule = std::invocable<const Rule&, float, float&, States&...> && requires(const Rule& rule) {
    { rule.gradient_scale } -> std::convertible_to<float>;
};

// Where the noise is from that rounds values kept in bf16 (optim/stochastic_rounding.h): the first is element `first`
// of its parameter.
struct Rounding {
    std::uint64_t key = 0;
    std::int64_t first = 0;   // a multiple of 8
};

// An update of one tensor of values, with as many of state.
template <typename Rule, std::size_t states>
struct ElementsUpdate {
    Rule rule;
    Tensor gradient;   // undefined: zero
    Tensor value;
    Rounding rounding;
    std::array<Tensor, states> state;
};

// All of them, as on the CPU (optim/elements.h); values in f32 or bf16, which are widened and rounded. None needs what
// another writes. The rules that it knows stand in optim/elements.cu.
template <typename Rule, std::size_t states>
void update_elements(Cuda, const std::vector<ElementsUpdate<Rule, states>>& updates);

template <typename Rule, std::same_as<Tensor>... States>
void update_elements(Cuda place, const Rule& rule, const Tensor& gradient, const Tensor& value,
                     const Rounding& rounding, const States&... states) {
    using Updates = std::vector<ElementsUpdate<Rule, sizeof...(States)>>;
    update_elements(place, Updates{{rule, gradient, value, rounding, {states...}}});
}

}   // namespace trainer
