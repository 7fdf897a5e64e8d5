#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/parameter.h"
#include "peft/options.h"

namespace trainer {

// How an A (r, in) and a B (out, r) begin; f32, on the CPU.

// U(−bound, bound), or normal with a standard deviation, keyed by (seed, the parameter's name).
void fill_uniform(Parameter& parameter, float bound, std::uint64_t seed);
void fill_normal(Parameter& parameter, float deviation, std::uint64_t seed);
void fill(Parameter& parameter, float value);

// PiSSA (Meng et al., 2024): scale · B A is the best approximation of the weight (out, in) of A's rank, shared out
// evenly between both. OLoRA (Büyükakyüz, 2024): B and A are the leading columns of Q and rows of R of weight = Q R.
void fill_from_weight(const Tensor& weight, LowRankInit init, float scale, Parameter& a, Parameter& b);

// Bytes that this holds beside its arguments, from above.
std::size_t decomposition_bytes(LowRankInit init, std::int64_t out, std::int64_t in, std::int64_t rank);

// weight (out, in) += scale · B A.
void add_product(Tensor& weight, const Tensor& b, const Tensor& a, float scale);

}   // namespace trainer
