#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace trainer {

// Bytes that can still be had, and what bounds them.
struct MemoryLeft {
    std::size_t bytes = 0;
    std::string bound;           // "the machine's free memory"
    std::size_t set_apart = 0;   // of the bytes: what a process takes without using it

    std::size_t usable() const { return bytes > set_apart ? bytes - set_apart : 0; }
};

// What this process can take beyond what it has: the least of what the machine has available, of what every control
// group (version 1 or 2) that it is in leaves, each shared by `processes` that start now, and of its own limits of
// address space and data (ulimit -v, -d), of which 64 MiB are set apart. Memory that only caches files counts as free.
// `root`: where /proc and /sys are (tests).
MemoryLeft memory_left(int processes, const std::filesystem::path& root = "/");

}   // namespace trainer
