#pragma once

#include <string>

#include "models/linear.h"
#include "peft/options.h"

namespace trainer {

// What the options come to for one module.
struct LowRankOptions {
    std::int64_t rank;
    float scale;   // α/r, or α/√r
    float dropout;
    LowRankInit init;
};

// A and B in the slot of a linear layer.
class LowRankAdapter : public Adapter {
public:
    LowRankAdapter(const Linear& linear, const LowRankOptions& options, ParameterSet& parameters);

    AdapterForm form() const override { return low_rank(); }
    void prepare(Place place) override;
    void merge_weight(Tensor& weight) const override;
    virtual void initialise(std::uint64_t seed);
    // Bytes that `initialise` holds beside tensors while it runs: those of its decomposition.
    std::size_t initial_workspace() const;
    // W (out, in) f32, of this layer alone, on the host.
    Tensor layer_weight() const;
    virtual std::vector<Parameter*> trained() const { return {&a_, &b_}; }

    LowRank low_rank() const;
    Parameter& a() const { return a_; }
    Parameter& b() const { return b_; }
    const Linear& layer() const { return linear_; }

private:
    const Linear& linear_;
    LowRankOptions options_;
    Parameter& a_;
    Parameter& b_;
    Parameter* initial_a_ = nullptr;   // copies of how they began, when that was not zero
    Parameter* initial_b_ = nullptr;
    std::uint64_t site_;
};

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", as PEFT names them.
std::string adapter_parameter_name(const std::string& module, const std::string& part);

// A trainable parameter of an adapter.
Parameter& declare_trained(ParameterSet& parameters, const std::string& name, Shape shape);

}   // namespace trainer
