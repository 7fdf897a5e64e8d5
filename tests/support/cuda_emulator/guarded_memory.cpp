#include "tests/support/cuda_emulator/guarded_memory.h"

#include <sys/mman.h>

#include <cstring>

#include "configs/error.h"

namespace trainer::emulator {

namespace {

constexpr std::size_t page = 4096;

std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}   // namespace

GuardedBytes::GuardedBytes(std::size_t bytes) : bytes_(bytes), mapped_bytes_(round_up(bytes, page) + 2 * page) {
    void* const mapped = ::mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(mapped != MAP_FAILED, "emulator: {} bytes cannot be mapped", mapped_bytes_);
    mapped_ = static_cast<std::byte*>(mapped);
    begin_ = mapped_ + mapped_bytes_ - page - round_up(bytes, 16);
    open(true);
}

GuardedBytes::~GuardedBytes() { ::munmap(mapped_, mapped_bytes_); }

void GuardedBytes::poison() { std::memset(begin_, 0xFF, bytes_); }

void GuardedBytes::open(bool open) {
    if (mapped_bytes_ == 2 * page) return;
    ::mprotect(mapped_ + page, mapped_bytes_ - 2 * page, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

}   // namespace trainer::emulator
