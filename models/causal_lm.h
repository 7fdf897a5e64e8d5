#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autograd/ops/linear.h"
#include "models/context.h"
#include "models/scope.h"

namespace trainer {

// Sizes that generation, planning and checks need.
struct CausalLmShape {
    std::int64_t vocabulary = 0;
    std::int64_t hidden = 0;
    int layers = 0;
    int heads = 0;
    int kv_heads = 0;
    int head_dim = 0;
    std::int64_t max_positions = 0;
    bool tied_head = false;
};

// A decoder that predicts the next token. The constructor declares; prepare allocates; loading fills.
class CausalLm {
public:
    virtual ~CausalLm() = default;

    // Allocates all parameters at a place: frozen ones in `compute` dtype, trainable ones as f32 masters. Positions up
    // to `longest` can be used afterwards.
    virtual void prepare(Place place, DType compute, std::int64_t longest) = 0;

    virtual Tensor embed(const Tensor& ids, const ForwardContext& context) const = 0;   // (N) i32 → (N, C)
    virtual Tensor hidden(const Tensor& x, const ForwardContext& context) const = 0;    // (N, C), after the last norm
    // logits = hidden · Wᵀ, with the adapters that the context asks for
    virtual const LinearTerms& head(const ForwardContext& context) const = 0;
    virtual const CausalLmShape& shape() const = 0;
    virtual std::string block_scope(std::size_t block) const = 0;   // "model.layers.3"
    virtual DType compute_dtype() const = 0;                        // of activations, as given to prepare

    Declarations& declarations() { return declarations_; }
    ParameterSet& parameters() { return declarations_.parameters; }
    // The trainable parameters of each block, and last those outside the blocks.
    std::vector<std::vector<Parameter*>> trainable_by_block();

protected:
    Declarations declarations_;
};

}   // namespace trainer
