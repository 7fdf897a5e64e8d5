// autograd/cuda/runtime.h on the host: a device whose memory only kernels and copies may touch, and which does at once
// what it is told.
#include "autograd/cuda/runtime.h"

#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "configs/error.h"
#include "tests/support/cuda_emulator/emulator.h"
#include "tests/support/cuda_emulator/guarded_memory.h"

namespace trainer {

namespace {

struct Memory {
    std::mutex mutex;
    std::map<void*, std::unique_ptr<emulator::GuardedBytes>> blocks;
    std::size_t used = 0;
    std::size_t most = std::size_t{8} << 30;
    int openings = 0;
    bool closing = false;

    void open(bool wanted) {
        const std::lock_guard lock(mutex);
        const int before = openings;
        openings += wanted ? 1 : -1;
        if (!closing || (before == 0) == (openings == 0)) return;
        for (auto& [address, block] : blocks) block->open(wanted);
    }
};

Memory& memory() {
    static Memory* instance = new Memory;
    return *instance;
}

std::optional<cuda::Device> device;

}   // namespace

namespace emulator {

void close_memory(bool on) { memory().closing = on; }
void set_memory(std::size_t bytes) { memory().most = bytes; }
OpenMemory::OpenMemory() { memory().open(true); }
OpenMemory::~OpenMemory() { memory().open(false); }

}   // namespace emulator

namespace cuda {

bool built_in() { return true; }
int device_count() { return 1; }
std::string why_absent() { return "the emulator has one"; }

Device open_device(int index) {
    require(index == 0, Exit::system, "there is no GPU {}: the emulator has one", index);
    device = Device{.name = "emulator",
                    .major = 9,
                    .minor = 0,
                    .multiprocessors = 4,
                    .bytes = memory().most,
                    .driver = 13000,
                    .runtime = 13000};
    return *device;
}

const std::optional<Device>& opened_device() { return device; }

std::size_t free_bytes() { return memory().most - memory().used; }

void* allocate(std::size_t bytes) {
    const std::lock_guard lock(memory().mutex);
    if (memory().used + bytes > memory().most) return nullptr;
    auto block = std::make_unique<emulator::GuardedBytes>(bytes);
    if (memory().closing && memory().openings == 0) block->open(false);
    void* const address = block->begin();
    memory().used += bytes;
    memory().blocks[address] = std::move(block);
    return address;
}

void release(void* address) {
    const std::lock_guard lock(memory().mutex);
    const auto found = memory().blocks.find(address);
    check(found != memory().blocks.end(), "emulator: memory is given back that is not the device's");
    memory().used -= found->second->bytes();
    memory().blocks.erase(found);
}

void copy_rows(Direction, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
               std::size_t row_bytes, std::size_t rows) {
    const emulator::OpenMemory open;
    for (std::size_t row = 0; row < rows; ++row)
        std::memmove(static_cast<std::byte*>(to) + row * to_pitch,
                     static_cast<const std::byte*>(from) + row * from_pitch, row_bytes);
}

void fill(void* address, std::uint8_t byte, std::size_t bytes) {
    const emulator::OpenMemory open;
    std::memset(address, byte, bytes);
}

void wait() {}
void* stream() { return nullptr; }

}   // namespace cuda

}   // namespace trainer

extern "C" void trainer_emulator_open_memory(bool open) { trainer::memory().open(open); }
