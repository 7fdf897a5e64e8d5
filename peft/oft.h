#pragma once

#include <cstdint>
#include <memory>

#include "peft/method.h"

namespace trainer {

// OFT (Qiu et al., 2023) with the input turned (OFTv2, 2025): y = W (R x) + b, R block-diagonal with nearly orthogonal
// blocks (autograd/ops/block_rotation.h) that begin as the identity.
std::unique_ptr<PeftMethod> make_oft(const AdapterOptions& options);

// The divisor of `size` that is nearest to `wanted`, the smaller of two as near; `size` when `wanted` is not below it.
std::int64_t nearest_divisor(std::int64_t size, std::int64_t wanted);

}   // namespace trainer
