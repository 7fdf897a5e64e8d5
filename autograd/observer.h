#pragma once

#include <cstdint>

#include "autograd/parameter.h"

namespace trainer {

// An op as observers are told of it: the name of its function in autograd/ops, and the parameter by which its module
// can be named (null: it has none).
struct OpName {
    const char* name = "";
    const Parameter* weight = nullptr;
    bool stacked = false;   // `weight` is the first of several that are multiplied at once
};

// Sees what the ops of a thread make, forward and backward. What it is given is not to be kept.
class OpObserver {
public:
    virtual ~OpObserver() = default;
    // What follows, forward or backward, belongs to this block of the model; -1: to none.
    virtual void block(std::int64_t index) = 0;
    virtual void made(const OpName& op, const Tensor& output) = 0;
    virtual void backward_begins(const OpName& op) = 0;
    // A term of the gradient of one of the inputs of the op that runs backward.
    virtual void gradient(const Tensor& term) = 0;
    // The op's gradients, those of parameters included, are added.
    virtual void backward_ends() = 0;
};

// While the object lives `observer` sees the ops of this thread. Without one it costs an op the look at a pointer.
class Observing {
public:
    explicit Observing(OpObserver& observer);
    ~Observing();
    Observing(const Observing&) = delete;
    Observing& operator=(const Observing&) = delete;

private:
    OpObserver* before_;
};

// The observer of this thread, or null.
OpObserver* current_observer();

}   // namespace trainer
