#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/trainer/promises/project.h"

namespace trainer::test {

// What goes together in any way: one choice of each axis.
struct Choice {
    const char* name;
    Words overrides;
    Words preparation = {};   // a command before the runs
};

struct Axis {
    const char* name;
    std::vector<Choice> choices;
};

inline constexpr std::size_t axis_count = 5;
const std::array<Axis, axis_count>& axes();

using Combination = std::array<std::size_t, axis_count>;   // index of a choice for each axis

const Choice& choice_of(const Combination& one, std::size_t axis);
std::string name_of(const Combination& one);

// What the program says of a combination that cannot work; "" when it can.
std::string refusal(const Combination& one);

// Few combinations in which every pair of choices of two axes occurs: of those that work, and of those that are
// refused.
std::vector<Combination> covering_array();

}   // namespace trainer::test
