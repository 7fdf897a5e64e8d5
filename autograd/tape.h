#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "autograd/observer.h"
#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// Gradients of activations while a tape is walked. They are in the dtype of their tensor.
class Gradients {
public:
    // Whether a gradient of x is asked for.
    bool wants(const Tensor& x) const { return x.slot() >= 0; }
    // Adds g to the gradient of x; nothing when x wants none. Takes g over when it is the first.
    void add(const Tensor& x, Tensor g);

private:
    friend class Tape;
    Tensor take(Slot slot);
    std::vector<Tensor> by_slot_;
};

// The nodes of one forward pass in the order they ran. backward walks them once from the end and frees each node, with
// what it saved, as it is consumed. Used by one thread.
class Tape {
public:
    // Receives the gradients of the node's outputs, in the order of `record`; one that nobody contributed to is
    // undefined. At least one is defined, unless there are none at all: such a node is always called.
    using Backward = std::function<void(std::span<Tensor> output_gradients, Gradients& gradients)>;

    // Gives each output a slot and keeps the node. `op` is what observers of the walk are told.
    void record(std::initializer_list<Tensor*> outputs, Backward backward, OpName op = {});

    // Seeds the gradient of `output` with `seed` (same shape) and walks. Gradients of parameters are added to
    // Parameter::gradient. The tape is empty afterwards.
    void backward(const Tensor& output, Tensor seed);

    // A slot for a tensor whose gradient is wanted although nothing on this tape made it.
    void want(Tensor& x);
    // The gradient of such a tensor after backward; undefined when nothing contributed.
    Tensor gradient(const Tensor& x);

    std::size_t size() const { return nodes_.size(); }

private:
    struct Node {
        std::vector<Slot> outputs;
        Backward backward;
        OpName op;
    };
    std::vector<Node> nodes_;
    Slot slots_ = 0;
    Gradients gradients_;
};

// While the object lives, ops of this thread record on the tape. Without one nothing is saved.
class Recording {
public:
    explicit Recording(Tape& tape);
    ~Recording();
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

private:
    Tape* before_;
};

// While the object lives nothing is recorded on this thread.
class NotRecording {
public:
    NotRecording();
    ~NotRecording();
    NotRecording(const NotRecording&) = delete;
    NotRecording& operator=(const NotRecording&) = delete;

private:
    Tape* before_;
};

// The tape an op has to record on: null when there is none or nothing asks for a gradient, that is, no input has a
// slot and `trainable` (a trainable parameter takes part) is false.
Tape* recording(std::initializer_list<const Tensor*> inputs, bool trainable = false);
// The tape of the current Recording, or null.
Tape* current_tape();

// One call of an op: names it where it begins and shows what it made where it ends.
class OpCall {
public:
    // `inputs` and `trainable` as for `recording`.
    OpCall(OpName op, std::initializer_list<const Tensor*> inputs, bool trainable = false)
        : op_(op), tape_(recording(inputs, trainable)) {}

    bool recorded() const { return tape_ != nullptr; }
    // Shows the outputs to the thread's observer and, when the call is recorded, keeps `backward` on the tape.
    template <typename Backward>
    void made(std::initializer_list<Tensor*> outputs, Backward&& backward) const {
        if (OpObserver* observer = current_observer())
            for (const Tensor* output : outputs) observer->made(op_, *output);
        if (tape_) tape_->record(outputs, std::forward<Backward>(backward), op_);
    }

    // Shows the columns of an output that belong to one of several modules, before `made`.
    void show_columns(const Tensor& output, std::int64_t begin, std::int64_t end, const Parameter* weight) const {
        if (OpObserver* observer = current_observer())
            observer->made({op_.name, weight}, output.column_range(begin, end));
    }

private:
    OpName op_;
    Tape* tape_;
};

// y = function(x), saving only x: function runs unrecorded now and once more, on a tape of its own, in backward. It is
// recorded even when x wants no gradient, because trainable weights may sit inside.
Tensor recompute(std::function<Tensor(const Tensor&)> function, const Tensor& x);

// y = function(x), `rows` rows of x at once (begin and end say which), each computed again in backward, so that what
// the function makes never exists for all rows. Gradients of parameters are sums over the parts, in their order.
using RowsFunction = std::function<Tensor(const Tensor& x, std::int64_t begin, std::int64_t end)>;
Tensor recompute_by_rows(RowsFunction function, const Tensor& x, std::int64_t rows);

// Gives back the memory of `value`, which no op needs any more but those that keep it for their backward; `again` makes
// the same bits anew when the walk arrives where this is recorded, just before them. Nothing happens when nobody keeps
// it. What `again` needs must be there in backward.
void leave_memory(Tensor value, std::function<Tensor()> again);

// The op's name in the error thrown when something that has no gradient is asked for one.
void refuse_gradient(const char* op, std::initializer_list<const Tensor*> inputs);

}   // namespace trainer
