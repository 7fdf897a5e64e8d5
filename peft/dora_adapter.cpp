#include "peft/dora_adapter.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/cpu/gemm.h"
#include "autograd/ops/add.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/scale_columns.h"
#include "peft/dora_adapter_cuda.h"

namespace trainer {

namespace {

// squares (out) = Σ W² of each row, summed in double
void sum_squares(Cpu, const Tensor& weight, Tensor& squares) {
    auto* to = squares.data<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t o = 0; o < weight.rows(); ++o) {
        const auto* row = weight.data<float>() + o * weight.stride();
        double sum = 0;
        for (std::int64_t i = 0; i < weight.columns(); ++i)
            sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
        to[o] = static_cast<float>(sum);
    }
}

// norms² = ‖W‖² + 2 s B (A Wᵀ) + s² B (A Aᵀ) Bᵀ, row by row; through (r, out) = A Wᵀ, gram (r, r) = A Aᵀ
void add_up(Cpu, const Tensor& squares, const Tensor& through, const Tensor& gram, const Tensor& b, float scale,
            Tensor& norms) {
    const std::int64_t rank = b.columns(), out = b.rows();
    const auto* square = squares.data<float>();
    const auto* cross = through.data<float>();
    const auto* own = gram.data<float>();
    auto* to = norms.data<float>();
    const auto s = static_cast<double>(scale);
#pragma omp parallel for schedule(static)
    for (std::int64_t o = 0; o < out; ++o) {
        const auto* row = b.data<float>() + o * rank;
        double mixed = 0, added = 0;
        for (std::int64_t k = 0; k < rank; ++k) {
            double inner = 0;
            for (std::int64_t l = 0; l < rank; ++l)
                inner += static_cast<double>(own[k * rank + l]) * static_cast<double>(row[l]);
            mixed += static_cast<double>(row[k]) * static_cast<double>(cross[k * out + o]);
            added += static_cast<double>(row[k]) * inner;
        }
        const double sum = static_cast<double>(square[o]) + 2 * s * mixed + s * s * added;
        to[o] = std::max(static_cast<float>(std::sqrt(std::max(sum, 0.0))), std::numeric_limits<float>::min());
    }
}

}   // namespace

DoraAdapter::DoraAdapter(const Linear& linear, const LowRankOptions& options, ParameterSet& parameters)
    : LowRankAdapter(linear, options, parameters),
      magnitude_(declare_trained(parameters, adapter_parameter_name(linear.name, "lora_magnitude_vector"),
                                 Shape(linear.out_features))) {}

AdapterForm DoraAdapter::form() const {
    return General{[this](const Tensor& x, const LinearTerms& bare, const ForwardContext& context) {
        return apply(x, bare, context);
    }};
}

void DoraAdapter::prepare(Place place) {
    LowRankAdapter::prepare(place);
    magnitude_.value = Tensor::empty(magnitude_.shape, magnitude_.trained_dtype, place);
    squares_ = norms_ = Tensor();
    const std::int64_t out = layer().out_features;
    terms_ = {layer().rows.get(), {{0, out, layer().weight, nullptr}}, {}};
    terms_.low_rank.push_back({0, out, &a(), &b(), low_rank().scale, 0, 0});
}

void DoraAdapter::merge_weight(Tensor& weight) const {
    LowRankAdapter::merge_weight(weight);
    Tensor square = Tensor::empty(weight.rows(), DType::f32);
    sum_squares(Cpu{}, weight, square);
    for (std::int64_t o = 0; o < weight.rows(); ++o) {
        const float norm = std::max(std::sqrt(square.data<float>()[o]), std::numeric_limits<float>::min());
        const float factor = magnitude_.value.data<float>()[o] / norm;
        auto* row = weight.data<float>() + o * weight.stride();
        for (std::int64_t i = 0; i < weight.columns(); ++i) row[i] *= factor;
    }
}

void DoraAdapter::initialise(std::uint64_t seed) {
    LowRankAdapter::initialise(seed);
    magnitude_.set([&](float* magnitude) {   // B is zero
        const std::vector<float> square = squares().to_vector<float>();
        std::transform(square.begin(), square.end(), magnitude, [](float sum) { return std::sqrt(sum); });
    });
}

const Tensor& DoraAdapter::squares() const {
    const Weight& weight = *layer().rows;
    if (squares_.defined() && squares_version_ == weight.version()) return squares_;
    if (!squares_.defined()) {
        const PurposeScope purpose(Purpose::weights);
        squares_ = Tensor::empty(weight.out_features(), DType::f32, weight.place());
    }
    const PurposeScope purpose(Purpose::workspace);
    const Tensor dense = weight.dense(DType::f32);
    on(weight.place(), [&](auto place) { sum_squares(place, dense, squares_); });
    squares_version_ = weight.version();
    return squares_;
}

Tensor DoraAdapter::row_norms(DType compute) const {
    const Weight& weight = *layer().rows;
    // versions only grow, so that their sum tells
    const std::uint64_t version = weight.version() + a().version() + b().version();
    if (norms_.defined() && norms_version_ == version) return norms_;
    {
        const PurposeScope purpose(Purpose::weights);
        norms_ = Tensor::empty(weight.out_features(), DType::f32, weight.place());   // a tape may hold the one before
    }
    const std::int64_t rank = a().shape.rows();
    const Tensor own_a = a().in(compute);
    const PurposeScope purpose(Purpose::workspace);
    Tensor through = Tensor::empty({rank, weight.out_features()}, DType::f32, weight.place());
    Tensor gram = Tensor::empty({rank, rank}, DType::f32, weight.place());
    weight.forward(own_a, through, false);
    const Tensor& square = squares();
    const Tensor computed_b = converted(b().in(compute), DType::f32);
    product(gram, own_a, false, own_a, true, false);
    on(weight.place(), [&](auto place) { add_up(place, square, through, gram, computed_b, low_rank().scale, norms_); });
    norms_version_ = version;
    return norms_;
}

Tensor DoraAdapter::apply(const Tensor& x, const LinearTerms& bare, const ForwardContext& context) const {
    const Tensor norms = row_norms(x.dtype());
    const LowRank low = low_rank();
    if (!context.training || low.dropout == 0)
        return scale_columns(linear(x, terms_, context.layout, false), magnitude_, norms, bare.dense.front().bias);
    const Tensor dropped = dropout(x, low.dropout, low.site, context.layout);
    const Tensor rest = linear(subtract(x, dropped), bare, context.layout, false);
    return add(rest, scale_columns(linear(dropped, terms_, context.layout, false), magnitude_, norms));
}

}   // namespace trainer
