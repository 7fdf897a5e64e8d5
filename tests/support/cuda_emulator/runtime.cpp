// autograd/cuda/runtime.h on the host: a device whose memory only kernels and copies may touch, and which does at once
// what it is told, but for copies of pinned memory: what comes to the host is there when it was waited for, and what
// goes to the device must not have changed by then.
#include "autograd/cuda/runtime.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

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

    bool has(const void* begin, std::size_t bytes) {
        const std::lock_guard lock(mutex);
        const auto* first = static_cast<const std::byte*>(begin);
        return std::any_of(blocks.begin(), blocks.end(), [&](const auto& entry) {
            const emulator::GuardedBytes& block = *entry.second;
            return first >= block.begin() && first + bytes <= block.begin() + block.bytes();
        });
    }

    bool has(const void* address) {
        const std::lock_guard lock(mutex);
        const auto after = blocks.upper_bound(const_cast<void*>(address));
        if (after == blocks.begin()) return false;
        const auto& [begin, block] = *std::prev(after);
        return static_cast<const std::byte*>(address) < static_cast<const std::byte*>(begin) + block->bytes();
    }

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

// Copies of pinned memory that the host has not waited for.
class Copies {
public:
    std::byte* allocate(std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        auto& block = pinned_.emplace_back(bytes);
        return block.data();
    }

    void release(const std::byte* memory) {
        wait(begun());
        const std::lock_guard lock(mutex_);
        std::erase_if(pinned_, [memory](const auto& block) { return block.data() == memory; });
    }

    bool is_pinned(const void* memory) {
        const std::lock_guard lock(mutex_);
        const auto* address = static_cast<const std::byte*>(memory);
        return std::any_of(pinned_.begin(), pinned_.end(), [address](const auto& block) {
            return block.data() <= address && address < block.data() + block.size();
        });
    }

    void begin(cuda::Direction direction, std::byte* to, const std::byte* from, std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        std::byte* const host = direction == cuda::Direction::to_host ? to : const_cast<std::byte*>(from);
        if (direction == cuda::Direction::to_device) finish(last_to(host, bytes));   // one after the other
        under_way_.push_back({direction, host, {from, from + bytes}});
        ++begun_;
    }

    std::uint64_t begun() {
        const std::lock_guard lock(mutex_);
        return begun_;
    }

    // The first `count` that were ever begun are done.
    void wait(std::uint64_t count) {
        const std::lock_guard lock(mutex_);
        finish(count);
    }

private:
    struct Copy {
        cuda::Direction direction;
        std::byte* host;
        std::vector<std::byte> bytes;   // what is copied
    };

    void finish(std::uint64_t count) {
        while (begun_ - under_way_.size() < count) {
            const Copy copy = std::move(under_way_.front());
            under_way_.pop_front();
            if (copy.direction == cuda::Direction::to_host)
                std::copy(copy.bytes.begin(), copy.bytes.end(), copy.host);
            else
                check(std::equal(copy.bytes.begin(), copy.bytes.end(), copy.host),
                      "emulator: memory of the host changed before it was copied");
        }
    }

    // How many were begun up to the last that writes there; 0: none under way does.
    std::uint64_t last_to(const std::byte* host, std::size_t bytes) const {
        for (std::size_t i = under_way_.size(); i > 0; --i) {
            const Copy& copy = under_way_[i - 1];
            if (copy.direction == cuda::Direction::to_host && copy.host < host + bytes &&
                host < copy.host + copy.bytes.size())
                return begun_ - under_way_.size() + i;
        }
        return 0;
    }

    std::mutex mutex_;
    std::vector<std::vector<std::byte>> pinned_;
    std::deque<Copy> under_way_;
    std::uint64_t begun_ = 0;
};

Copies& copies() {
    static Copies* instance = new Copies;
    return *instance;
}

}   // namespace

namespace emulator {

void close_memory(bool on) { memory().closing = on; }
void set_memory(std::size_t bytes) { memory().most = bytes; }
OpenMemory::OpenMemory() { memory().open(true); }
OpenMemory::~OpenMemory() { memory().open(false); }

namespace {

// EMULATED_GPUS: how many devices this machine has, of which CUDA_VISIBLE_DEVICES shows those with its numbers, or all;
// without it there is one.
std::vector<std::string> visible_devices() {
    const char* const count = std::getenv("EMULATED_GPUS");
    if (!count) return {"0"};
    std::vector<std::string> devices;
    for (int i = 0; i < std::atoi(count); ++i) devices.push_back(std::to_string(i));
    const char* const shown = std::getenv("CUDA_VISIBLE_DEVICES");
    if (!shown) return devices;
    std::vector<std::string> chosen;
    std::istringstream list(shown);
    for (std::string number; std::getline(list, number, ',');)
        if (std::find(devices.begin(), devices.end(), number) != devices.end()) chosen.push_back(number);
    return chosen;
}

}   // namespace

}   // namespace emulator

namespace cuda {

bool built_in() { return true; }
int device_count() { return static_cast<int>(emulator::visible_devices().size()); }
std::string why_absent() { return "the emulator was told to have none"; }

Device open_device(int index) {
    require(index < device_count(), Exit::system, "there is no GPU {}: the emulator has {}", index, device_count());
    device = Device{.name = "emulator",
                    .uuid = "GPU-emulated-" + emulator::visible_devices()[static_cast<std::size_t>(index)],
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

std::byte* allocate_pinned(std::size_t bytes) { return copies().allocate(bytes); }
void release_pinned(std::byte* pinned) { copies().release(pinned); }

void begin_copy(Direction direction, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                std::size_t row_bytes, std::size_t rows) {
    const emulator::OpenMemory open;
    const bool later =
        direction != Direction::on_device && copies().is_pinned(direction == Direction::to_host ? to : from);
    if (row_bytes == 0 || rows == 0) return;
    check((direction == Direction::to_host || memory().has(to)) &&
              (direction == Direction::to_device || memory().has(from)),
          "emulator: a copy of memory that is not the device's");
    for (std::size_t row = 0; row < rows; ++row) {
        std::byte* const row_to = static_cast<std::byte*>(to) + row * to_pitch;
        const std::byte* const row_from = static_cast<const std::byte*>(from) + row * from_pitch;
        if (later) copies().begin(direction, row_to, row_from, row_bytes);
        if (!later || direction != Direction::to_host) std::memmove(row_to, row_from, row_bytes);
    }
}

void fill(void* address, std::uint8_t byte, std::size_t bytes) {
    const emulator::OpenMemory open;
    std::memset(address, byte, bytes);
}

Event::Event() : event_(new std::uint64_t{0}) {}
Event::~Event() { delete static_cast<std::uint64_t*>(event_); }
void Event::record() { *static_cast<std::uint64_t*>(event_) = copies().begun(); }
void Event::wait() const { copies().wait(*static_cast<std::uint64_t*>(event_)); }

void wait() { copies().wait(copies().begun()); }
void* stream() { return nullptr; }

}   // namespace cuda

}   // namespace trainer

extern "C" void trainer_emulator_open_memory(bool open) { trainer::memory().open(open); }

extern "C" bool trainer_emulator_has(const void* begin, std::size_t bytes) {
    return trainer::memory().has(begin, bytes);
}
