#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "configs/error.h"
#include "optim/grain_sum.h"
#include "optim/grain_sum_cuda.h"

namespace trainer {

namespace {

void squares_of_grains(const std::vector<GrainsOf>& tensors, double* out) {
    constexpr std::int64_t grain = ShardLayout::grain_elements;
    for (const auto& [tensor, elements] : tensors) {
        const std::int64_t grains = grains_in(elements);
        const float* values = tensor.defined() ? tensor.data<float>() : nullptr;
#pragma omp parallel for schedule(static) if (grains > 64)
        for (std::int64_t i = 0; i < grains; ++i)
            out[i] = values ? squares_of_grain(values + i * grain, std::min(grain, elements - i * grain)) : 0;
        out += grains;
    }
}

}   // namespace

std::vector<double> squares_of(const std::vector<ParameterSlice>& slices, const std::vector<Tensor>& gradients) {
    check(gradients.size() == slices.size(), "squares: {} gradients for {} slices", gradients.size(), slices.size());
    std::vector<GrainsOf> all;
    std::int64_t grains = 0;
    Place place = Place::meta();
    for (std::size_t i = 0; i < slices.size(); ++i) {
        all.push_back({gradients[i], slices[i].elements()});
        grains += ShardLayout::grains(slices[i]);
        if (gradients[i].defined()) place = gradients[i].place();
    }
    std::vector<double> squares(static_cast<std::size_t>(grains));
    const PurposeScope purpose(Purpose::workspace);
    const Tensor there = place.on_device() ? Tensor::empty(grains, DType::u64, place) : Tensor();
    on(place, [&](auto tag) {
        if constexpr (std::is_same_v<decltype(tag), Cpu>) {
            squares_of_grains(all, squares.data());
        } else {
            squares_of_grains(tag, all, there);
            const std::vector<std::uint64_t> bits = there.template to_vector<std::uint64_t>();
            std::memcpy(squares.data(), bits.data(), there.bytes());
        }
    });
    return squares;
}

double norm_of(const std::vector<double>& squares) {
    double total = 0;
    for (const double square : squares) total += square;
    return std::sqrt(total);
}

float clip_coefficient(double norm, double limit) {
    if (limit == 0) return 1.0f;
    return static_cast<float>(std::min(1.0, limit / (norm + 1e-6)));
}

}   // namespace trainer
