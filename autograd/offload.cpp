#include "autograd/offload.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

std::uint64_t OffloadStore::take_room(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto fits = [bytes](const auto& room) { return room.second >= bytes; };
    const auto found = std::find_if(free_.begin(), free_.end(), fits);
    if (found == free_.end()) return std::exchange(end_, end_ + bytes);
    const auto [offset, size] = *found;
    free_.erase(found);
    if (size > bytes) free_[offset + bytes] = size - bytes;
    return offset;
}

void OffloadStore::give_room(std::uint64_t offset, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    auto here = free_.emplace(offset, bytes).first;
    const auto next = std::next(here);
    if (next != free_.end() && here->first + here->second == next->first) {
        here->second += next->second;
        free_.erase(next);
    }
    if (here != free_.begin()) {
        const auto before = std::prev(here);
        if (before->first + before->second == here->first) {
            before->second += here->second;
            free_.erase(here);
            here = before;
        }
    }
    if (here->first + here->second != end_) return;
    end_ = here->first;
    free_.erase(here);
}

Offloaded::Offloaded(OffloadStore& store, const Tensor& like)
    : store_(store), offset_(store.take_room(like.bytes())), counted_(like.bytes(), like.place(), Purpose::offloaded) {}

Offloaded::~Offloaded() { store_.give_room(offset_, bytes()); }

void Offloaded::write(const Tensor& value) {
    check(value.contiguous() && value.bytes() == bytes(), "offload: {} bytes into a room of {}", value.bytes(),
          bytes());
    on(value.place(), [&](Cpu) { store_.write(offset_, {static_cast<const std::byte*>(value.raw()), value.bytes()}); });
}

void Offloaded::read(Tensor& value, std::uint64_t begin) const {
    check(value.contiguous() && begin + value.bytes() <= bytes(), "offload: {} bytes from {} on in a room of {}",
          value.bytes(), begin, bytes());
    on(value.place(), [&](Cpu) {
        store_.read(offset_ + begin, {static_cast<std::byte*>(value.raw()), value.bytes()});
    });
}

void Offloaded::save(const Tensor& value) {
    write(value);
    value.give_memory_back();
}

void Offloaded::load(const Tensor& value) const {
    Tensor memory = Tensor::empty(value.shape(), value.dtype(), value.place());
    read(memory);
    value.take_memory(std::move(memory));
}

void offload_until_backward(Tensor value, OffloadStore& store) {
    if (!current_tape() || value.sole_owner()) return;
    const auto waiting = std::make_shared<Offloaded>(store, value);
    waiting->write(value);
    const auto again = [waiting, shape = value.shape(), dtype = value.dtype(), place = value.place()] {
        Tensor back = Tensor::empty(shape, dtype, place);
        waiting->read(back);
        return back;
    };
    leave_memory(std::move(value), again);
}

}   // namespace trainer
