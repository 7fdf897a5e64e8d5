#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "autograd/nonfinite.h"
#include "autograd/observer.h"
#include "models/causal_lm.h"

namespace trainer {

// Where a number that is not finite was seen first.
struct NumericFinding {
    bool backward = false;
    std::string module;   // hub name of the layer, else of its block; "" outside the blocks
    std::string op;
    std::string tensor;       // "output", "gradient of the input" or "gradient of <parameter>"
    bool activation = true;   // not the gradient of a parameter
    Shape shape;
    NonFinite at;
};

// Looks at every output and gradient that ops make while it observes a leaf, and keeps the first that is not finite.
// The gradients of parameters are undefined when it begins.
class NumericCheck : public OpObserver {
public:
    explicit NumericCheck(CausalLm& model) : model_(model), trainable_(model.parameters().trainable()) {}

    void block(std::int64_t index) override { block_ = index; }
    void made(const OpName& op, const Tensor& output) override;
    void backward_begins(const OpName& op) override { op_ = op; }
    void gradient(const Tensor& term) override;
    void backward_ends() override;

    // After the backward pass: looks again at the gradients of parameters, to some of which several ops have added.
    void finish();
    const std::optional<NumericFinding>& found() const { return found_; }

private:
    void look(const OpName& op, bool backward, const std::string& tensor, const Tensor& x);
    void look_at(const Parameter& parameter);
    std::string module_of(const OpName& op) const;

    CausalLm& model_;
    std::vector<Parameter*> trainable_;
    std::set<const Parameter*> seen_;
    std::int64_t block_ = -1;
    OpName op_;
    std::optional<NumericFinding> found_;
};

}   // namespace trainer
