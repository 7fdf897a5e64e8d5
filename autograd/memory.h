#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "autograd/place.h"

namespace trainer {

// What memory is for; every allocation is counted under one purpose. What is offloaded (autograd/offload.h) takes no
// memory: it is counted, but is no part of any total.
enum class Purpose : unsigned char { weights, gradients, optimizer, activations, workspace, data, offloaded };
inline constexpr std::size_t purpose_count = 7;
constexpr std::string_view name_of(Purpose purpose) {
    constexpr std::string_view names[] = {"weights",   "gradients", "optimizer", "activations",
                                          "workspace", "data",      "offloaded"};
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

// Bytes in use by tensors of a place, rounded up to the allocator's size classes, on a device to multiples of 256. The
// CPU's pool may hand out a free block up to half as large again than what is counted here: the numbers are the same
// for every run of a plan, and on meta, while the process may hold more.
struct MemoryUse {
    std::array<std::size_t, purpose_count> bytes{};        // now
    std::array<std::size_t, purpose_count> peak_bytes{};   // at the moment of the highest total; offloaded: the most
    std::size_t total() const;
    std::size_t peak_total() const;
    std::size_t peak_offloaded() const { return peak_bytes[static_cast<std::size_t>(Purpose::offloaded)]; }
};

// On meta that of the calling thread: a plan is made by one.
MemoryUse memory_use(Place place);
void reset_memory_peak(Place place);   // the peak becomes what is in use now

// Returns cached free blocks of the pools to the system and the device.
void release_cached_memory();
// The CPU pool returns them by itself before it holds more than so many bytes, used and cached.
void limit_pool(std::size_t bytes);
// Called by the CPU pool, on the thread that asks it for memory, when the system has no more to give: what else is held
// may be given back, without any memory of the pool. Any thread may set it; the last one counts.
void ask_for_room(void (*give_room)());

// Has the system back memory with pages now instead of at its first use; what it holds stays. Any thread may do it
// while others use the memory. Where the system cannot, nothing happens.
void populate_memory(std::span<std::byte> memory);

// Bytes that count under a purpose while the object lives, wherever they are.
class CountedBytes {
public:
    CountedBytes(std::size_t bytes, Place place, Purpose purpose);
    ~CountedBytes();
    CountedBytes(const CountedBytes&) = delete;
    CountedBytes& operator=(const CountedBytes&) = delete;
    std::size_t bytes() const { return bytes_; }

private:
    std::size_t bytes_;
    Place place_;
    Purpose purpose_;
};

// New tensors are filled with NaN patterns instead of being left as they are (tests).
void poison_new_memory(bool on);
// The device's memory is held from now on, so much of it as can be had up to `bytes`, in one piece: what is taken and
// given back in it leaves the fewest holes. What is held beyond what is used stays for later.
void reserve_device_memory(std::size_t bytes);
std::size_t held_device_memory();
// Blocks of the device's memory are exactly as large as asked for and are given back at once, so that a kernel which
// leaves its tensor is found (tests). While no block of the device is in use.
void keep_device_blocks_exact(bool on);

// One block of memory at a place, counted under the purpose that was current when it was made. On meta `data` is null.
// CPU blocks are 64-byte aligned and come from a caching pool, those of a device (256) from an arena.
// Error(out_of_memory) names bytes and purpose.
class Storage {
public:
    Storage(std::size_t bytes, Place place);
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    Place place() const { return place_; }

    // Gives the memory back and forgets what it held; everything that shares this storage is without a value until
    // `take_memory`.
    void give_memory_back();
    // Has the memory of `other` instead, which is of the same size and place and is without afterwards.
    void take_memory(Storage& other);

private:
    void* data_ = nullptr;
    std::size_t bytes_;
    std::size_t counted_bytes_;     // what the accounting sees; 0: the memory is given back
    std::size_t block_bytes_ = 0;   // of the CPU's pool's block
    Place place_;
    Purpose purpose_;
};

}   // namespace trainer
