#include "optim/stochastic_rounding.h"

#include <algorithm>

#include "configs/error.h"
#include "optim/stochastic_rounding_cuda.h"

namespace trainer {

namespace {

void round_elements(Cpu, std::uint64_t key, std::int64_t first, const Tensor& from, Tensor& to) {
    constexpr std::int64_t part = 4096;
    const auto kernel = &TRAINER_PICK(round_stochastically_elements);
    const auto* values = from.data<float>();
    auto* stored = to.data<bf16>();
#pragma omp parallel for schedule(static)
    for (std::int64_t begin = 0; begin < from.elements(); begin += part)
        kernel(key, first + begin, values + begin, stored + begin, std::min(part, from.elements() - begin));
}

}   // namespace

void round_stochastically(std::uint64_t key, std::int64_t first, const Tensor& from, Tensor& to) {
    check(from.elements() == to.elements() && first % 8 == 0, "stochastic rounding: {} into {}, from element {}",
          from.shape().text(), to.shape().text(), first);
    on(from.place(), [&](auto place) { round_elements(place, key, first, from, to); });
}

}   // namespace trainer
