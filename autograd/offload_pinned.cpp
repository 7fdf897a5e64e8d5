#include <exception>
#include <memory>

#include "autograd/arena.h"
#include "autograd/cuda/runtime.h"
#include "autograd/offload.h"
#include "configs/error.h"

namespace trainer {

namespace {

class PinnedStore : public OffloadStore {
public:
    explicit PinnedStore(std::uint64_t bytes) {
        arena_->reserve(bytes);
        if (arena_->held() < bytes) refuse(bytes);
    }
    // When a run ends by an error, the device may never be done with the memory; it goes with the process.
    ~PinnedStore() override {
        try {
            if (std::uncaught_exceptions() == exceptions_) {
                cuda::wait();
                return;
            }
        } catch (const Error&) {   // the device failed
        }
        static_cast<void>(arena_.release());
    }

    std::uint64_t take_room(std::uint64_t bytes) override {
        void* const room = arena_->take(bytes);
        if (!room) refuse(bytes);
        return reinterpret_cast<std::uintptr_t>(room);
    }
    // What is still on its way there or back is done before what comes next.
    void give_room(std::uint64_t begin, std::uint64_t) override { arena_->give(host(begin)); }

    void write(std::uint64_t begin, const Tensor& value) override {
        cuda::begin_copy(cuda::Direction::to_host, host(begin), value.bytes(), value.raw(), value.bytes(),
                         value.bytes(), 1);
    }
    void read(std::uint64_t begin, Tensor& value) const override {
        cuda::begin_copy(cuda::Direction::to_device, value.raw(), value.bytes(), host(begin), value.bytes(),
                         value.bytes(), 1);
    }

private:
    [[noreturn]] static void refuse(std::uint64_t bytes) {
        fail(
            Exit::out_of_memory,
            "out of memory: {} bytes of the host's memory to offload to, which the GPU must be able to read by itself, "
            "cannot be had",
            bytes);
    }
    static std::byte* host(std::uint64_t begin) { return reinterpret_cast<std::byte*>(begin); }

    int exceptions_ = std::uncaught_exceptions();
    std::unique_ptr<Arena> arena_ = std::make_unique<Arena>(
        Arena::Source{[](std::size_t bytes) -> void* { return cuda::allocate_pinned(bytes); },
                      [](void* memory) { cuda::release_pinned(static_cast<std::byte*>(memory)); }});
};

}   // namespace

std::unique_ptr<OffloadStore> make_pinned_store(std::uint64_t bytes) { return std::make_unique<PinnedStore>(bytes); }

}   // namespace trainer
