#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "configs/fields.h"
#include "hub/adapter.h"

namespace trainer {

// How several LoRAs become one. With s the scale of each (α/r) and w its weight:
// cat: A and B side by side, the exact sum Σ w s B A, of the sum of the ranks.
// The others combine A and B each for itself, every A and B times √|w s| (A also its sign): a sum that has the products
// of different adapters in it too, of the same rank.
// linear: the sum. ties (Yadav et al., 2023): of each tensor the largest `density` of the elements; the sign of their
// sum is elected for each element, and those with that sign are averaged. dare (Yu et al., 2023): random elements are
// kept with probability `density` and divided by it, then linear or ties.
enum class Combination { cat, linear, ties, dare_linear, dare_ties };

template <>
struct EnumTable<Combination> {
    static constexpr std::pair<std::string_view, Combination> names[] = {{"cat", Combination::cat},
                                                                         {"linear", Combination::linear},
                                                                         {"ties", Combination::ties},
                                                                         {"dare_linear", Combination::dare_linear},
                                                                         {"dare_ties", Combination::dare_ties}};
};

struct CombineOptions {
    Combination how = Combination::cat;
    std::vector<double> weights;   // one for each adapter, of either sign
    double density = 0.5;          // share of elements that ties and dare keep
    std::uint64_t seed = 0;        // of dare, whose choice is keyed by (seed, adapter, name of the tensor)
};

struct CombinedAdapter {
    AdapterConfig config;   // targets are the paths of the modules
    std::vector<AdapterTensor> tensors;
};

// As PEFT's add_weighted_adapter, of the tensors that it knows. A module that not all adapters have is combined of
// those that have it; the copy of an embedding that PEFT saves beside its adapter is left out. Errors: those of
// AdapterFile; bad_data when one is not a plain LoRA (DoRA, IA3, trained copies), when its files contradict each other
// (check_modules_are_chosen), when shapes differ, or ranks differ
// where they must not.
CombinedAdapter combine_adapters(const std::vector<std::filesystem::path>& folders, const CombineOptions& options);

}   // namespace trainer
