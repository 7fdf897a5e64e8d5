#pragma once

#include "peft/low_rank_adapter.h"

namespace trainer {

// DoRA (Liu et al., 2024): the weight is m ⊙ (W + s B A) / ‖W + s B A‖ with a trained length m of each row; the norm is
// a constant for the gradient. m starts at ‖W‖, where the layer is as it was. With dropout, as in PEFT, only what is
// added to the layer is dropped: y = W x + b + (m/‖·‖ − 1) W d(x) + m/‖·‖ s B A d(x).
class DoraAdapter : public LowRankAdapter {
public:
    DoraAdapter(const Linear& linear, const LowRankOptions& options, ParameterSet& parameters);

    AdapterForm form() const override;
    void prepare(Place place) override;
    void merge_weight(Tensor& weight) const override;
    void initialise(std::uint64_t seed) override;
    std::vector<Parameter*> trained() const override { return {&a(), &b(), &magnitude_}; }

private:
    Tensor apply(const Tensor& x, const LinearTerms& bare, const ForwardContext& context) const;
    const Tensor& squares() const;   // Σ W² of each row (out) f32
    // ‖W + s B A‖ of each row (out) f32, with A and B in the dtype that computes; kept until one of them changes.
    Tensor row_norms(DType compute) const;

    Parameter& magnitude_;
    LinearTerms terms_;   // W and the low-rank update, without bias and dropout
    mutable Tensor squares_;
    mutable std::uint64_t squares_version_ = 0;
    mutable Tensor norms_;
    mutable std::uint64_t norms_version_ = 0;
};

}   // namespace trainer
