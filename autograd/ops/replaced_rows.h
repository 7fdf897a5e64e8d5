#pragma once

#include <cstdint>
#include <vector>

#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// Rows of a weight (V, C) that others stand in for: what multiplies is rows[k] in place of W[ids[k]].
struct ReplacedRows {
    std::vector<std::int32_t> ids;   // distinct, in [0, V)
    Parameter* rows = nullptr;       // (ids, C); receives the gradient when trainable
};

// y (N, C) = base, the rows of W picked by ids (N) i32, with those of `replaced` in place of theirs. The gradient is
// that of the few rows; each is summed in token order whatever the number of threads. `replaced` must outlive the tape.
Tensor replace_rows(const Tensor& base, const Tensor& ids, const ReplacedRows& replaced);

}   // namespace trainer
