#include "autograd/arena.h"

#include <algorithm>
#include <iterator>

#include "configs/error.h"

namespace trainer {

namespace {

constexpr std::size_t smallest_slab = std::size_t{32} << 20;

}   // namespace

Arena::~Arena() {
    for (const auto& [address, block] : blocks_)
        if (block.first) source_.free(address);
}

void* Arena::take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (exact_) return source_.fresh(bytes);
    bytes = counted(bytes);
    if (void* const found = take_free(bytes)) return found;
    if (!add_slab(std::max(bytes, smallest_slab))) {
        release_empty();
        if (!add_slab(std::max(bytes, smallest_slab)) && !add_slab(bytes)) return nullptr;
    }
    return take_free(bytes);
}

void Arena::give(void* address) {
    const std::lock_guard lock(mutex_);
    if (exact_) return source_.free(address);
    auto block = blocks_.find(static_cast<std::byte*>(address));
    check(block != blocks_.end() && !block->second.free, "arena: a block is given back that was not taken");
    set_free(block, true);
    const auto next = std::next(block);
    if (next != blocks_.end() && next->second.free && !next->second.first) join_next(block);
    if (block->second.first) return;
    const auto before = std::prev(block);
    if (before->second.free) join_next(before);
}

void Arena::reserve(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (exact_ || bytes <= held_) return;
    std::size_t wanted = counted(bytes - held_);
    while (!add_slab(wanted) && wanted > smallest_slab) wanted = counted(wanted - wanted / 64);
}

void Arena::release() {
    const std::lock_guard lock(mutex_);
    release_empty();
}

std::size_t Arena::held() const {
    const std::lock_guard lock(mutex_);
    return held_;
}

void Arena::keep_exact(bool exact) {
    const std::lock_guard lock(mutex_);
    release_empty();
    exact_ = exact;
}

bool Arena::add_slab(std::size_t bytes) {
    auto* const slab = static_cast<std::byte*>(source_.fresh(bytes));
    if (!slab) return false;
    blocks_[slab] = {bytes, true, true};
    free_.emplace(bytes, slab);
    held_ += bytes;
    return true;
}

void* Arena::take_free(std::size_t bytes) {
    const auto found = free_.lower_bound({bytes, nullptr});
    if (found == free_.end()) return nullptr;
    const auto block = blocks_.find(found->second);
    set_free(block, false);
    if (block->second.bytes > bytes) {
        const auto rest = blocks_.emplace(block->first + bytes, Block{block->second.bytes - bytes, false, false}).first;
        block->second.bytes = bytes;
        set_free(rest, true);
    }
    return block->first;
}

void Arena::release_empty() {
    for (auto block = blocks_.begin(); block != blocks_.end();) {
        const auto next = std::next(block);
        if (block->second.free && block->second.first && (next == blocks_.end() || next->second.first)) {
            set_free(block, false);
            source_.free(block->first);
            held_ -= block->second.bytes;
            blocks_.erase(block);
        }
        block = next;
    }
}

void Arena::set_free(Blocks::iterator block, bool free) {
    if (free)
        free_.emplace(block->second.bytes, block->first);
    else
        free_.erase({block->second.bytes, block->first});
    block->second.free = free;
}

void Arena::join_next(Blocks::iterator block) {
    const auto next = std::next(block);
    set_free(next, false);
    set_free(block, false);
    block->second.bytes += next->second.bytes;
    blocks_.erase(next);
    set_free(block, true);
}

}   // namespace trainer
