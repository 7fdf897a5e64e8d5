#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "comm/communicator.h"
#include "trainer/inputs.h"
#include "trainer/machine_memory.h"
#include "trainer/memory_plan.h"

namespace trainer {

// What this rank can take: memory_left, shared with the ranks of the same machine. Collective.
MemoryLeft memory_left_for(Communicator& ranks, const std::filesystem::path& root = "/");

// What must be left for a plan to be chosen: what it holds, and 64 MiB for what is no tensor (stacks, buffers, the text
// of metrics).
std::size_t needed_for(const MemoryPlan& plan);

// Decides what the recipe leaves open, in place: with recompute: auto the least of none, norms and block with which any
// micro_batch fits, then with micro_batch: auto the largest that does, up to the rows of a full step for each rank,
// rounded down, so that every rank has a leaf; as if there were at least `as_ranks` ranks. Plans are made on the meta
// place. Returns this rank's plan of what it is then. What is chosen fits at every rank, with the margin; what the
// recipe says itself is refused only when the plan alone is larger than `left`; where that sets bytes apart, with room
// for libraries beside both. Collective. AgreedError: out_of_memory when nothing fits, bad_recipe when ranks would be
// without a leaf.
MemoryPlan choose_memory(Inputs& inputs, Communicator& ranks, const MemoryLeft& left, int as_ranks = 1);

// From now on the pool of tensors gives free blocks back rather than take more than that.
void keep_pool_within(const MemoryLeft& left);

// Whether there is something to decide.
bool leaves_memory_open(const Recipe& recipe);
// "recompute none, micro_batch 8", as decided.
std::string memory_choice_text(const Recipe& recipe);

}   // namespace trainer
