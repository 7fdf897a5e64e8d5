#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "comm/socket.h"

namespace trainer {

// A random number that all ranks of one run share, so that ranks of different runs never talk to each other.
using RunToken = std::array<std::byte, 16>;
RunToken random_token();

// The first bytes on every connection between ranks. Native byte order: ranks run the same program.
struct Greeting {
    std::uint64_t magic = 0x31736b6e61726e74;
    std::uint32_t version = 1;   // of what is said on the connections
    std::int32_t rank = 0;
    std::int32_t size = 0;
    std::int32_t port = 0;   // where this rank listens; 0: nowhere
    std::int32_t process = 0;
    std::uint32_t reserved = 0;
    RunToken token{};        // zeros before rank 0 has handed it out
    char host[64] = {};      // name of the machine
    char address[64] = {};   // where the other ranks reach it, in digits
    char key[64] = {};       // of the launcher, so that strangers cannot join; empty without
};

std::span<const std::byte> bytes_of(const Greeting& greeting);
void copy_text(char (&to)[64], const std::string& text);   // cut to 63 bytes

// Accepts connections until `admit` has agreed to `count` of them; false after the deadline. A connection that says
// something else, says nothing for five seconds, or that `admit` refuses, is closed. An exception of `admit` ends all.
bool collect_greetings(const Socket& listener, std::size_t count, Deadline deadline,
                       const std::function<bool(const Greeting&, Socket&)>& admit);

}   // namespace trainer
