#pragma once

#include <cstddef>
#include <string>
#include <vector>

// What tests ask of the emulator besides what trainer asks of a GPU.
namespace trainer::emulator {

// In which order the threads of a block get their turns: results that depend on it are a race.
enum class Order { ascending, descending, shuffled };
void set_order(Order order);

// The device's memory that can still be had; how much there is in all.
void set_memory(std::size_t bytes);

// Whether device memory is closed to the host but for kernels and copies, so that a host which touches it dies of a
// segmentation fault. Off, it costs half the time.
void close_memory(bool on);
// What emulates a library opens it while it computes.
class OpenMemory {
public:
    OpenMemory();
    ~OpenMemory();
    OpenMemory(const OpenMemory&) = delete;
    OpenMemory& operator=(const OpenMemory&) = delete;
};

// Kernels that ran since the last call, by name.
std::vector<std::string> launched();

}   // namespace trainer::emulator

// The same for libraries that are opened at run time.
extern "C" void trainer_emulator_open_memory(bool open);
