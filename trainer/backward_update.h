#pragma once

#include <vector>

#include "optim/optimizer.h"

namespace trainer {

// One optimizer step inside the backward pass of its only leaf (optimizer.in_backward): a unit's parameters are updated
// when its gradients are complete, which are freed then. The same bits as an update afterwards without clipping.
class BackwardUpdate {
public:
    // `units` as in trainer/gradient_sum.h; the optimizer's slices are their parameters, whole and in that order.
    BackwardUpdate(std::vector<std::vector<Parameter*>> units, Optimizer& optimizer, double learning_rate);

    // Before the backward pass; without `apply` nothing is updated.
    void begin(bool apply) { apply_ = apply; }
    // For each unit but the last as soon as its gradients are complete, and `finish` for that one.
    void unit_done(std::size_t unit);
    void finish() { unit_done(units_.size() - 1); }

    // After `finish`: what GradientSum::norm says.
    double norm() const;
    bool applied() const { return apply_; }   // to all parameters
    // A gradient was not finite, and others had been applied before.
    bool spoiled() const { return !apply_ && begun_; }

private:
    std::vector<std::vector<Parameter*>> units_;
    std::vector<std::size_t> first_slice_;       // by unit
    std::vector<std::vector<double>> squares_;   // by unit, of its grains
    Optimizer& optimizer_;
    double learning_rate_;
    bool apply_ = true;    // nothing found so far speaks against it
    bool begun_ = false;   // something is updated
};

}   // namespace trainer
