#include "trainer/leaf_sum.h"

#include <utility>

#include "autograd/cpu/rows.h"

namespace trainer {

void LeafSum::add_leaf() {
    Partial leaf{0, {}};
    for (Parameter* parameter : parameters_) leaf.sums.push_back(std::exchange(parameter->gradient, Tensor()));
    partials_.push_back(std::move(leaf));
    while (partials_.size() > 1 && partials_[partials_.size() - 2].level == partials_.back().level) merge_last_two();
}

void LeafSum::finish() {
    while (partials_.size() > 1) merge_last_two();
    if (partials_.empty()) return;
    for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i]->gradient = std::move(partials_[0].sums[i]);
    partials_.clear();
}

void LeafSum::merge_last_two() {
    Partial right = std::move(partials_.back());
    partials_.pop_back();
    Partial& left = partials_.back();
    for (std::size_t i = 0; i < left.sums.size(); ++i) {
        Tensor& sum = left.sums[i];
        if (!right.sums[i].defined()) continue;
        if (!sum.defined())
            sum = std::move(right.sums[i]);
        else
            on(sum.place(), [&](Cpu cpu) { add_rows(cpu, sum, right.sums[i]); });
    }
    ++left.level;
}

}   // namespace trainer
