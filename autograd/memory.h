#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "autograd/place.h"

namespace trainer {

// What memory is for; every allocation is counted under one purpose.
enum class Purpose : unsigned char { weights, gradients, optimizer, activations, workspace, data };
inline constexpr std::size_t purpose_count = 6;
constexpr std::string_view name_of(Purpose purpose) {
    constexpr std::string_view names[] = {"weights", "gradients", "optimizer", "activations", "workspace", "data"};
    return names[static_cast<std::size_t>(purpose)];
}

// Allocations made on this thread while the object lives count under `purpose` (default: activations).
class PurposeScope {
public:
    explicit PurposeScope(Purpose purpose);
    ~PurposeScope();
    PurposeScope(const PurposeScope&) = delete;
    PurposeScope& operator=(const PurposeScope&) = delete;

private:
    Purpose before_;
};
Purpose current_purpose();

// Bytes in use by tensors of a place, rounded up to the allocator's size classes. The CPU's pool may hand out a free
// block up to half as large again than what is counted here: the numbers are the same for every run of a plan, and on
// meta, while the process may hold more.
struct MemoryUse {
    std::array<std::size_t, purpose_count> bytes{};        // now
    std::array<std::size_t, purpose_count> peak_bytes{};   // at the moment of the highest total
    std::size_t total() const;
    std::size_t peak_total() const;
};

MemoryUse memory_use(Place place);
void reset_memory_peak(Place place);   // the peak becomes what is in use now

// Returns cached free blocks of the CPU pool to the system.
void release_cached_memory();

// Has the system back memory with pages now instead of at its first use; what it holds stays. Any thread may do it
// while others use the memory. Where the system cannot, nothing happens.
void populate_memory(std::span<std::byte> memory);

// New CPU tensors are filled with NaN patterns instead of being left as they are (tests).
void poison_new_memory(bool on);

// One block of memory at a place, counted under the purpose that was current when it was made. On meta `data` is null.
// CPU blocks are 64-byte aligned and come from a caching pool. Error(out_of_memory) names bytes and purpose.
class Storage {
public:
    Storage(std::size_t bytes, Place place);
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    Place place() const { return place_; }

private:
    void* data_ = nullptr;
    std::size_t bytes_;
    std::size_t counted_bytes_;     // its size class, what the accounting sees
    std::size_t block_bytes_ = 0;   // of the pool's block
    Place place_;
    Purpose purpose_;
};

}   // namespace trainer
