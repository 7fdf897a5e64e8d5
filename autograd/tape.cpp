#include "autograd/tape.h"

#include <algorithm>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/cuda/rows.h"
#include "configs/error.h"

namespace trainer {

namespace {

thread_local Tape* tape_of_thread = nullptr;

// Runs the function on x again and backward from dy; parameters get their gradients. Returns that of x, undefined
// unless it is wanted.
Tensor backward_again(const std::function<Tensor(const Tensor&)>& function, Tensor x, bool wanted, Tensor dy) {
    Tape tape;
    if (wanted) tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = function(x);
    }
    if (y.slot() < 0) return Tensor();   // nothing inside is trainable and x wants no gradient
    tape.backward(y, std::move(dy));
    return tape.gradient(x);
}

}   // namespace

void Gradients::add(const Tensor& x, Tensor g) {
    if (!wants(x)) return;
    if (OpObserver* observer = current_observer()) observer->gradient(g);
    check(g.shape() == x.shape(), "tape: gradient {} for {}", g.shape().text(), x.shape().text());
    const auto slot = static_cast<std::size_t>(x.slot());
    if (slot >= by_slot_.size()) by_slot_.resize(slot + 1);
    Tensor& sum = by_slot_[slot];
    if (!sum.defined()) {
        sum = g.detached();
        return;
    }
    sum = owned(std::move(sum));   // the first contribution may also have gone elsewhere
    on(sum.place(), [&](auto place) { add_rows(place, sum, g); });
}

Tensor Gradients::take(Slot slot) {
    const auto index = static_cast<std::size_t>(slot);
    return index < by_slot_.size() ? std::exchange(by_slot_[index], Tensor()) : Tensor();
}

void Tape::record(std::initializer_list<Tensor*> outputs, Backward backward, OpName op) {
    Node node;
    for (Tensor* output : outputs) {
        output->set_slot(slots_++);
        node.outputs.push_back(output->slot());
    }
    node.backward = std::move(backward);
    node.op = op;
    nodes_.push_back(std::move(node));
}

void Tape::want(Tensor& x) { x.set_slot(slots_++); }

void Tape::backward(const Tensor& output, Tensor seed) {
    const NotRecording pause;
    check(output.slot() >= 0, "tape: the output was not recorded");
    gradients_.add(output, std::move(seed));
    while (!nodes_.empty()) {
        Node node = std::move(nodes_.back());
        nodes_.pop_back();
        std::vector<Tensor> output_gradients;
        bool any = node.outputs.empty();
        for (Slot slot : node.outputs) {
            output_gradients.push_back(gradients_.take(slot));
            any = any || output_gradients.back().defined();
        }
        if (!any) continue;
        OpObserver* observer = current_observer();
        if (observer) observer->backward_begins(node.op);
        node.backward(output_gradients, gradients_);
        if (observer) observer->backward_ends();
    }
}

Tensor Tape::gradient(const Tensor& x) { return x.slot() >= 0 ? gradients_.take(x.slot()) : Tensor(); }

Recording::Recording(Tape& tape) : before_(std::exchange(tape_of_thread, &tape)) {}
Recording::~Recording() { tape_of_thread = before_; }
NotRecording::NotRecording() : before_(std::exchange(tape_of_thread, nullptr)) {}
NotRecording::~NotRecording() { tape_of_thread = before_; }

Tape* current_tape() { return tape_of_thread; }

Tape* recording(std::initializer_list<const Tensor*> inputs, bool trainable) {
    if (!tape_of_thread) return nullptr;
    if (trainable) return tape_of_thread;
    for (const Tensor* input : inputs)
        if (input->slot() >= 0) return tape_of_thread;
    return nullptr;
}

void refuse_gradient(const char* op, std::initializer_list<const Tensor*> inputs) {
    check(recording(inputs) == nullptr, "{}: has no gradient, but one is asked for", op);
}

Tensor recompute(std::function<Tensor(const Tensor&)> function, const Tensor& x) {
    Tape* tape = current_tape();
    if (!tape) return function(x);
    Tensor y;
    {
        const NotRecording pause;
        y = function(x.detached()).detached();
    }
    tape->record({&y},
                 [function = std::move(function), x](std::span<Tensor> dy, Gradients& gradients) {
                     Tensor dx = backward_again(function, x.detached(), gradients.wants(x), std::move(dy[0]));
                     if (dx.defined()) gradients.add(x, std::move(dx));
                 },
                 {"recompute"});
    return y;
}

Tensor recompute_by_rows(RowsFunction function, const Tensor& x, std::int64_t rows) {
    Tape* tape = current_tape();
    Tensor y;
    {
        const NotRecording pause;
        for (std::int64_t begin = 0; begin < x.rows(); begin += rows) {
            const std::int64_t end = std::min(x.rows(), begin + rows);
            const Tensor part = function(x.row_range(begin, end), begin, end);
            if (!y.defined()) y = Tensor::empty({x.rows(), part.columns()}, part.dtype(), part.place());
            Tensor there = y.row_range(begin, end);
            copy(part, there);
        }
    }
    if (!tape) return y;
    tape->record({&y},
                 [function = std::move(function), x, rows](std::span<Tensor> dy, Gradients& gradients) {
                     Tensor dx;
                     if (gradients.wants(x)) dx = Tensor::empty(x.shape(), x.dtype(), x.place());
                     for (std::int64_t begin = 0; begin < x.rows(); begin += rows) {
                         const std::int64_t end = std::min(x.rows(), begin + rows);
                         const auto part = [&](const Tensor& in) { return function(in, begin, end); };
                         const Tensor dpart =
                             backward_again(part, x.row_range(begin, end), dx.defined(), dy[0].row_range(begin, end));
                         if (!dx.defined()) continue;
                         Tensor there = dx.row_range(begin, end);
                         copy(dpart, there);
                     }
                     if (dx.defined()) gradients.add(x, std::move(dx));
                 },
                 {"recompute"});
    return y;
}

void leave_memory(Tensor value, std::function<Tensor()> again) {
    Tape* tape = current_tape();
    if (!tape || value.sole_owner()) return;
    value.give_memory_back();
    tape->record({},
                 [value = std::move(value), again = std::move(again)](std::span<Tensor>, Gradients&) {
                     value.take_memory(again());
                 },
                 {"recompute"});
}

}   // namespace trainer
