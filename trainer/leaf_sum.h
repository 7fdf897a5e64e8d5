#pragma once

#include <vector>

#include "autograd/parameter.h"

namespace trainer {

// Sums the gradients of a step's leaves by one binary tree over the leaf index, so that the bits do not depend on how
// leaves are spread over ranks. For k leaves at most ⌊log2 k⌋ + 1 partial sums are held.
class LeafSum {
public:
    explicit LeafSum(std::vector<Parameter*> parameters) : parameters_(std::move(parameters)) {}

    // Takes the parameters' gradients away as those of the next leaf.
    void add_leaf();
    // Gives the sum back as the parameters' gradients; the tree is empty afterwards.
    void finish();

private:
    struct Partial {
        int level;                  // sum of 2^level leaves
        std::vector<Tensor> sums;   // per parameter; undefined for zero
    };
    void merge_last_two();

    std::vector<Parameter*> parameters_;
    std::vector<Partial> partials_;
};

}   // namespace trainer
