#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

// All that the program asks of the CUDA runtime besides starting kernels (autograd/cuda/launch.h). The process uses one
// device, on one stream: what is begun there runs in the order it was begun, and memory that is given back may be
// handed out again at once. A build without CUDA, and the emulator of the tests, have functions of their own.
namespace trainer::cuda {

struct Device {
    std::string name;   // "NVIDIA H200"
    std::string uuid;   // "GPU-6b1f…", as nvidia-smi says it: no other has it
    int major = 0;      // compute capability
    int minor = 0;
    int multiprocessors = 0;
    std::size_t bytes = 0;   // of memory
    int driver = 0;          // highest CUDA version that the driver knows, 13000 for 13.0
    int runtime = 0;         // CUDA version of the program
};

// Whether the program can use a device at all.
bool built_in();
// Number of devices that CUDA_VISIBLE_DEVICES and the driver show.
int device_count();
// Why there is none: one sentence without a full stop.
std::string why_absent();
// What the device is; it is the one that everything below uses from here on. Error(system) when it cannot be used:
// names what was found and what is needed.
Device open_device(int index);
// The device that was opened, if one was.
const std::optional<Device>& opened_device();

std::size_t free_bytes();   // of the opened device's memory, now
// Memory of the device, aligned to 256 bytes; null when there is not enough.
void* allocate(std::size_t bytes);
void release(void* memory);
// Memory of the host that the device reads and writes by itself; null when there is not enough.
std::byte* allocate_pinned(std::size_t bytes);
void release_pinned(std::byte* memory);

enum class Direction { to_device, to_host, on_device };
// Begins to copy rows of `row_bytes` bytes, `from_pitch` and `to_pitch` bytes apart. What lies in pinned memory of the
// host must not be changed, or read, until the device has done it; of other memory the call takes what it needs, or
// waits. Tensors are copied by autograd/cuda/copy.h.
void begin_copy(Direction direction, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                std::size_t row_bytes, std::size_t rows);
void fill(void* memory, std::uint8_t byte, std::size_t bytes);

// Waits until the device has done all that was begun. Error(system): what went wrong there since.
void wait();

// A moment in what was begun on the device.
class Event {
public:
    Event();
    ~Event();
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void record();       // it is now
    void wait() const;   // until the device has done what was begun before it; at once when it was never recorded

private:
    void* event_;
};

// The stream, a cudaStream_t.
void* stream();

}   // namespace trainer::cuda
