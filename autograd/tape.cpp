#include "autograd/tape.h"

#include <utility>

#include "autograd/cpu/rows.h"
#include "configs/error.h"

namespace trainer {

namespace {

thread_local Tape* tape_of_thread = nullptr;

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
    on(sum.place(), [&](Cpu cpu) { add_rows(cpu, sum, g); });
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
                     Tape inner;
                     Tensor inner_x = x.detached();
                     if (gradients.wants(x)) inner.want(inner_x);
                     Tensor inner_y;
                     {
                         const Recording record(inner);
                         inner_y = function(inner_x);
                     }
                     if (inner_y.slot() < 0) return;   // nothing inside is trainable and x wants no gradient
                     inner.backward(inner_y, std::move(dy[0]));
                     if (gradients.wants(x)) gradients.add(x, inner.gradient(inner_x));
                 },
                 {"recompute"});
    return y;
}

}   // namespace trainer
