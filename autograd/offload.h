#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "autograd/tensor.h"

namespace trainer {

// Where values wait that are not needed for a while, so that they take no memory of their place: a CPU's in a file, a
// device's in pinned memory of the host. Values are taken in and given back by Offloaded, from any thread.
class OffloadStore {
public:
    virtual ~OffloadStore() = default;

    // Room for so many bytes, and where it begins.
    virtual std::uint64_t take_room(std::uint64_t bytes) = 0;
    virtual void give_room(std::uint64_t begin, std::uint64_t bytes) = 0;
    // Contiguous tensors. On a device they are copied in the order of what else it is told.
    virtual void write(std::uint64_t begin, const Tensor& value) = 0;
    virtual void read(std::uint64_t begin, Tensor& value) const = 0;
};

// The store of the CPU: a file in `folder` that has no name, so that nothing is left of it when the process ends in
// whatever way. It has `bytes` from the start, so that a full disk shows now, and grows beyond them when asked to.
// Errors: cannot_create when there can be no file, io when there is no room, or writing or reading fails.
std::unique_ptr<OffloadStore> make_file_store(const std::filesystem::path& folder, std::uint64_t bytes);

// The store of the device, the same in pinned memory of the host. Error(out_of_memory) when it cannot be had.
std::unique_ptr<OffloadStore> make_pinned_store(std::uint64_t bytes);

// Room in a store for the value of one tensor, counted as Purpose::offloaded. On meta nothing is written or read.
class Offloaded {
public:
    // For values of `like`'s place and size. The store must outlive it.
    Offloaded(OffloadStore& store, const Tensor& like);
    ~Offloaded();
    Offloaded(const Offloaded&) = delete;
    Offloaded& operator=(const Offloaded&) = delete;

    // Contiguous tensors. `begin`: where in the room, in bytes.
    void write(const Tensor& value);
    void read(Tensor& value, std::uint64_t begin = 0) const;
    std::uint64_t bytes() const { return counted_.bytes(); }

    // The value goes there and its memory is given back; it comes back into memory of its own.
    void save(const Tensor& value);
    void load(const Tensor& value) const;

private:
    OffloadStore& store_;
    std::uint64_t offset_;
    CountedBytes counted_;
};

// leave_memory (autograd/tape.h) with a value that waits in the store instead of being made again.
void offload_until_backward(Tensor value, OffloadStore& store);

}   // namespace trainer
