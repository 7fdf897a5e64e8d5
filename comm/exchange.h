#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "comm/socket.h"

namespace trainer {

// What goes in front of every message: ranks that do not make the same calls in the same order are found by it.
struct MessageHead {
    std::uint32_t kind = 0;    // of the call
    std::uint32_t call = 0;    // its number, modulo 2^32
    std::uint64_t bytes = 0;   // that follow
};

enum class Transfer { moving, done, lost };

// One direction of one connection during one call.
class Sending {
public:
    Sending(const Socket& socket, const MessageHead& head, std::span<const std::byte> data)
        : descriptor_(socket.descriptor()), head_(head), data_(data) {}
    Transfer advance();   // as much as goes without waiting, but not so much that the others starve

private:
    int descriptor_;
    MessageHead head_;
    std::span<const std::byte> data_;
    std::size_t sent_ = 0;   // of head and data
};

class Receiving {
public:
    Receiving(const Socket& socket, const MessageHead& expected, std::span<std::byte> data)
        : descriptor_(socket.descriptor()), expected_(expected), data_(data) {}
    Transfer advance();
    // The head has come and is another than expected: nothing more is read.
    bool contradicts() const { return contradicts_; }
    const MessageHead& head() const { return head_; }

private:
    int descriptor_;
    MessageHead expected_;
    MessageHead head_;
    std::span<std::byte> data_;
    std::size_t received_ = 0;   // of head and data
    bool contradicts_ = false;
};

}   // namespace trainer
