#include "autograd/offload.h"

#include <utility>

#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

Offloaded::Offloaded(OffloadStore& store, const Tensor& like)
    : store_(store), offset_(store.take_room(like.bytes())), counted_(like.bytes(), like.place(), Purpose::offloaded) {}

Offloaded::~Offloaded() { store_.give_room(offset_, bytes()); }

void Offloaded::write(const Tensor& value) {
    check(value.contiguous() && value.bytes() == bytes(), "offload: {} bytes into a room of {}", value.bytes(),
          bytes());
    if (!value.place().is_meta()) store_.write(offset_, value);
}

void Offloaded::read(Tensor& value, std::uint64_t begin) const {
    check(value.contiguous() && begin + value.bytes() <= bytes(), "offload: {} bytes from {} on in a room of {}",
          value.bytes(), begin, bytes());
    if (!value.place().is_meta()) store_.read(offset_ + begin, value);
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
