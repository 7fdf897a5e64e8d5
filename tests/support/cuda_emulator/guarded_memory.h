#pragma once

#include <cstddef>

namespace trainer::emulator {

// Bytes between two pages that nobody may touch; they end where the second begins, but for what is missing to 16.
class GuardedBytes {
public:
    explicit GuardedBytes(std::size_t bytes);
    ~GuardedBytes();
    GuardedBytes(const GuardedBytes&) = delete;
    GuardedBytes& operator=(const GuardedBytes&) = delete;
    std::byte* begin() const { return begin_; }
    std::size_t bytes() const { return bytes_; }
    void poison();          // NaN patterns
    void open(bool open);   // whether anybody may touch them

private:
    std::size_t bytes_;
    std::size_t mapped_bytes_;
    std::byte* mapped_ = nullptr;
    std::byte* begin_ = nullptr;
};

}   // namespace trainer::emulator
