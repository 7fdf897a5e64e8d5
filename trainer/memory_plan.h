#pragma once

#include <cstdint>
#include <string>

#include "autograd/memory.h"
#include "comm/communicator.h"
#include "configs/node.h"
#include "trainer/inputs.h"

namespace trainer {

// Bytes that a run will hold at its peak, by purpose, found by running its largest step and evaluation leaf on the
// meta place with the very code that trains.
struct MemoryPlan {
    Place place;   // meta
    MemoryUse use;
    std::int64_t parameters = 0;
    std::int64_t trainable = 0;

    std::size_t total() const { return use.peak_total(); }
    // With what is held beside what is used: the CPU's pool hands out blocks up to half as large again, about an
    // eighth in all; the holes in a device's memory were below 0.3 % of the plans that were tried, 1/64 is kept.
    std::size_t held() const;
    Node to_node() const;
    std::string table() const;   // for people, one line a purpose
};

// Of this rank. Not collective: only the size of the communicator and the rank's number matter.
MemoryPlan plan_memory(const Inputs& inputs, const Communicator& ranks);

// "1.25 GiB"
std::string bytes_text(std::size_t bytes);

}   // namespace trainer
