#pragma once

#include <cstdint>
#include <vector>

#include "autograd/layout.h"
#include "autograd/ops/replaced_rows.h"
#include "autograd/parameter.h"
#include "autograd/quant/weight.h"
#include "autograd/tensor.h"

namespace trainer {

// A dense member of a group: its rows of W and its bias, with the parameters that receive their gradients.
struct DenseTerm {
    std::int64_t row_begin = 0;
    std::int64_t row_end = 0;
    Parameter* weight = nullptr;   // null when W is not dense; gets a gradient when trainable
    Parameter* bias = nullptr;     // (out) or null
};

// scale · dropout(x) Aᵀ Bᵀ added to the columns [row_begin, row_end) of y. A is (r, in), B is (out, r).
// Dropout scales by 1/(1 - p) and draws with key (token key, site) and the column as counter.
struct LowRankTerm {
    std::int64_t row_begin = 0;
    std::int64_t row_end = 0;
    Parameter* a = nullptr;
    Parameter* b = nullptr;
    float scale = 1;
    float dropout = 0;
    std::uint64_t site = 0;
};

struct LinearTerms {
    Weight* weight = nullptr;   // (out, in), all members stacked; outlives every tape that recorded the op
    std::vector<DenseTerm> dense = {};
    std::vector<LowRankTerm> low_rank = {};
    std::vector<ReplacedRows> replaced = {};   // rows of W that do not take part, and those that do instead
    Tensor bias =
        {};   // (out): the values of all members' biases where they lie side by side, for one pass; or undefined
};

// y (N, out) = x (N, in) Wᵀ + bias + low-rank terms, in x's dtype, W with its replaced rows. `layout` is needed for
// dropout keys only; with `training` false dropout is off. A frozen weight without adapters saves nothing of x. `terms`
// must outlive the tape.
Tensor linear(const Tensor& x, const LinearTerms& terms, const Layout& layout, bool training);

}   // namespace trainer
