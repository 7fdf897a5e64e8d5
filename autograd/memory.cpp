#include "autograd/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "autograd/arena.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"

namespace trainer {

namespace {

thread_local Purpose purpose_of_thread = Purpose::activations;
bool poison = false;

// Size classes: eight per power of two, so that a block is at most an eighth larger than what was asked for.
std::size_t size_class(std::size_t bytes) {
    constexpr std::size_t smallest = 64;
    if (bytes <= 8 * smallest) return (bytes + smallest - 1) / smallest * smallest;
    const std::size_t step = std::bit_floor(bytes - 1) / 8;
    return (bytes + step - 1) / step * step;
}

// Large blocks come from the system and go back there; the C library would keep holes between them, and take room
// for their alignment. Of whole pages each. The address sanitizer knows the bounds of the C library's blocks only.
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t large = std::numeric_limits<std::size_t>::max();
#else
constexpr std::size_t large = 128u << 10;
#endif
constexpr std::size_t huge_page = 2u << 20;

void* mapped(std::size_t bytes) {
    void* const begin = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return begin == MAP_FAILED ? nullptr : begin;
}

void* mapped_to_huge_pages(std::size_t bytes) {
    auto* const all = static_cast<std::byte*>(mapped(bytes + huge_page));
    if (!all) return nullptr;
    const std::size_t before = (huge_page - reinterpret_cast<std::uintptr_t>(all) % huge_page) % huge_page;
    if (before > 0) ::munmap(all, before);
    ::munmap(all + before + bytes, huge_page - before);
    ::madvise(all + before, bytes, MADV_HUGEPAGE);
    return all + before;
}

void* fresh_on_host(std::size_t bytes) {
    if (bytes < large) return std::aligned_alloc(64, bytes);
    return bytes < 2 * huge_page ? mapped(bytes) : mapped_to_huge_pages(bytes);
}

void free_on_host(void* block, std::size_t bytes) {
    if (bytes < large)
        std::free(block);
    else
        ::munmap(block, bytes);
}

// The CPU's.
class Pool {
public:
    struct Block {
        void* data;
        std::size_t bytes;
    };

    // A cached block of at least `bytes`, the size class of what is asked for, that is at most half as large again,
    // else a fresh one. Lengths of packed rows differ from step to step; blocks of exactly one size would pile up.
    Block take(std::size_t bytes) {
        Block block = take_once(bytes);
        const auto give_room = give_room_.load();
        if (block.data || !give_room) return block;
        give_room();
        return take_once(bytes);
    }

    void ask_for_room(void (*give_room)()) { give_room_ = give_room; }

    void give(Block block) {
        const std::lock_guard lock(mutex_);
        free_[block.bytes].push_back(block.data);
    }

    void release() {
        const std::lock_guard lock(mutex_);
        release_free();
    }

    void limit(std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        limit_ = bytes;
    }

private:
    Block take_once(std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        const auto fitting = free_.lower_bound(bytes);
        if (fitting != free_.end() && fitting->first <= bytes + bytes / 2) {
            const Block block{fitting->second.back(), fitting->first};
            fitting->second.pop_back();
            if (fitting->second.empty()) free_.erase(fitting);
            return block;
        }
        if (held_ + bytes > limit_) release_free();
        void* data = fresh_on_host(bytes);
        if (!data) {
            release_free();
            data = fresh_on_host(bytes);
        }
        if (data) held_ += bytes;
        return {data, bytes};
    }

    void release_free() {
        for (auto& [bytes, blocks] : free_)
            for (void* block : blocks) {
                free_on_host(block, bytes);
                held_ -= bytes;
            }
        free_.clear();
    }

    std::mutex mutex_;
    std::map<std::size_t, std::vector<void*>> free_;
    std::atomic<void (*)()> give_room_ = nullptr;
    std::size_t held_ = 0;   // bytes of all blocks, used and free
    std::size_t limit_ = std::numeric_limits<std::size_t>::max();
};

// They outlive every static tensor.
Pool& host_pool() {
    static Pool* instance = new Pool;
    return *instance;
}
Arena& device_arena() {
    static Arena* instance = new Arena({cuda::allocate, cuda::release});
    return *instance;
}

std::size_t sum_in_memory(const std::array<std::size_t, purpose_count>& bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), std::size_t{0}) -
           bytes[static_cast<std::size_t>(Purpose::offloaded)];
}

class Ledger {
public:
    void change(Purpose purpose, std::size_t bytes, bool more) {
        const std::lock_guard lock(mutex_);
        std::size_t& entry = use_.bytes[static_cast<std::size_t>(purpose)];
        entry = more ? entry + bytes : entry - bytes;
        const std::size_t offloaded =
            std::max(use_.peak_offloaded(), use_.bytes[static_cast<std::size_t>(Purpose::offloaded)]);
        if (more && use_.total() > use_.peak_total()) use_.peak_bytes = use_.bytes;
        use_.peak_bytes[static_cast<std::size_t>(Purpose::offloaded)] = offloaded;
    }
    MemoryUse use() {
        const std::lock_guard lock(mutex_);
        return use_;
    }
    void reset_peak() {
        const std::lock_guard lock(mutex_);
        use_.peak_bytes = use_.bytes;
    }

private:
    std::mutex mutex_;
    MemoryUse use_;
};

Ledger& ledger(Place place) {
    static Ledger* cpu = new Ledger;
    static Ledger* device = new Ledger;
    static thread_local Ledger meta_cpu, meta_device;
    if (place.is_meta()) return place.on_device() ? meta_device : meta_cpu;
    return place.is_cuda() ? *device : *cpu;
}

// " (in use: 16060522496 for weights, …)"
std::string in_use_text(const MemoryUse& use) {
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < purpose_count; ++i)
        if (const auto purpose = static_cast<Purpose>(i); use.bytes[i] > 0 && purpose != Purpose::offloaded)
            parts.push_back(format("{} for {}", use.bytes[i], name_of(purpose)));
    return parts.empty() ? "" : format(" (in use: {})", join(parts, ", "));
}

}   // namespace

PurposeScope::PurposeScope(Purpose purpose) : before_(purpose_of_thread) { purpose_of_thread = purpose; }
PurposeScope::~PurposeScope() { purpose_of_thread = before_; }
Purpose current_purpose() { return purpose_of_thread; }

std::size_t MemoryUse::total() const { return sum_in_memory(bytes); }
std::size_t MemoryUse::peak_total() const { return sum_in_memory(peak_bytes); }

MemoryUse memory_use(Place place) { return ledger(place).use(); }
void reset_memory_peak(Place place) { ledger(place).reset_peak(); }
void release_cached_memory() {
    host_pool().release();
    device_arena().release();
}
void limit_pool(std::size_t bytes) { host_pool().limit(bytes); }
void ask_for_room(void (*give_room)()) { host_pool().ask_for_room(give_room); }
void keep_device_blocks_exact(bool on) { device_arena().keep_exact(on); }
void reserve_device_memory(std::size_t bytes) { device_arena().reserve(bytes); }
std::size_t held_device_memory() { return device_arena().held(); }
void poison_new_memory(bool on) { poison = on; }

void populate_memory(std::span<std::byte> memory) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(memory.data()) / page * page;
    const auto end = reinterpret_cast<std::uintptr_t>(memory.data()) + memory.size();
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_WRITE);
}

CountedBytes::CountedBytes(std::size_t bytes, Place place, Purpose purpose)
    : bytes_(bytes), place_(place), purpose_(purpose) {
    ledger(place_).change(purpose_, bytes_, true);
}

CountedBytes::~CountedBytes() { ledger(place_).change(purpose_, bytes_, false); }

Storage::Storage(std::size_t bytes, Place place)
    : bytes_(bytes),
      counted_bytes_(place.on_device() ? Arena::counted(bytes) : size_class(bytes)),
      place_(place),
      purpose_(purpose_of_thread) {
    if (!place.is_meta() && bytes > 0) {
        if (place.is_cuda()) {
            data_ = device_arena().take(bytes);
        } else {
            const Pool::Block block = host_pool().take(counted_bytes_);
            data_ = block.data;
            block_bytes_ = block.bytes;
        }
        require(data_ != nullptr, Exit::out_of_memory, "out of {}: {} bytes for {} cannot be had{}",
                place.is_cuda() ? "the GPU's memory" : "memory", counted_bytes_, name_of(purpose_),
                place.is_cuda() ? in_use_text(memory_use(place)) : "");
        if (poison && place.is_cuda())
            cuda::fill(data_, 0xFF, bytes);
        else if (poison)
            std::memset(data_, 0xFF, bytes);
    }
    ledger(place).change(purpose_, counted_bytes_, true);
}

Storage::~Storage() { give_memory_back(); }

void Storage::give_memory_back() {
    if (data_ && place_.is_cuda()) device_arena().give(data_);
    if (data_ && place_.is_cpu()) host_pool().give({data_, block_bytes_});
    ledger(place_).change(purpose_, counted_bytes_, false);
    data_ = nullptr;
    counted_bytes_ = 0;
}

void Storage::take_memory(Storage& other) {
    check(counted_bytes_ == 0 && bytes_ == other.bytes_ && place_ == other.place_,
          "storage: {} bytes cannot take the memory of {}", bytes_, other.bytes_);
    std::swap(data_, other.data_);
    std::swap(block_bytes_, other.block_bytes_);
    std::swap(counted_bytes_, other.counted_bytes_);
    std::swap(purpose_, other.purpose_);
}

}   // namespace trainer
