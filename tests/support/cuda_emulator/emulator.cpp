#include "tests/support/cuda_emulator/emulator.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <cstring>
#include <mutex>
#include <utility>

#include "autograd/random.h"
#include "configs/error.h"
#include "tests/support/cuda_emulator/device.h"
#include "tests/support/cuda_emulator/guarded_memory.h"

namespace trainer::emulator {

namespace {

namespace context = boost::context;

Order order = Order::ascending;
std::mutex names_mutex;
std::vector<std::string> names;

// One thread of a block.
struct Thread {
    enum class State { ready, at_barrier, at_exchange, done };
    context::fiber fiber;
    State state = State::ready;
};

// The lanes of a warp that have come to the exchange which is under way, and what they brought.
struct Warp {
    unsigned arrived = 0;
    WarpValues coming{};
    WarpValues values{};   // of the last exchange that all came to
};

// Runs blocks one after the other on the calling thread of the host.
class Block {
public:
    Block(unsigned threads, std::size_t shared_bytes, Index grid_size, const std::function<void()>& body,
          const char* kernel)
        : threads_(threads),
          warps_((threads + 31) / 32),
          shared_(shared_bytes),
          body_(body),
          kernel_(kernel),
          stacks_(stack_bytes, threads) {
        position_.block_size = {threads, 1, 1};
        position_.grid_size = grid_size;
    }

    void run(Index block);
    void wait_for_block() { pause(Thread::State::at_barrier); }
    const WarpValues& exchange(unsigned mask, std::uint64_t value);
    Position& position() { return position_; }
    std::byte* shared_memory() { return shared_.begin(); }

private:
    static constexpr std::size_t stack_bytes = 64 << 10;

    void pause(Thread::State state) {
        threads_[current_].state = state;
        out_ = std::move(out_).resume();
    }
    // Whether a thread got further.
    bool turn(unsigned thread);
    bool everybody_waits_for_the_block() const {
        return std::all_of(threads_.begin(), threads_.end(), [](const Thread& thread) {
            return thread.state == Thread::State::at_barrier || thread.state == Thread::State::done;
        });
    }

    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    GuardedBytes shared_;
    const std::function<void()>& body_;
    const char* kernel_;
    context::pooled_fixedsize_stack stacks_;
    Position position_;
    context::fiber out_;   // the scheduler, while a thread runs
    unsigned current_ = 0;
    std::exception_ptr failure_;
};

thread_local Block* running = nullptr;

// The order in which threads get their turns in a block.
std::vector<unsigned> turns(unsigned threads, Index block) {
    std::vector<unsigned> all(threads);
    for (unsigned thread = 0; thread < threads; ++thread) all[thread] = thread;
    if (order == Order::descending) std::reverse(all.begin(), all.end());
    if (order == Order::shuffled)
        for (unsigned i = threads; i > 1; --i) std::swap(all[i - 1], all[philox(7, {i, block.x, block.y, 0})[0] % i]);
    return all;
}

void Block::run(Index block) {
    position_.block = block;
    shared_.poison();
    for (Thread& thread : threads_) {
        thread.state = Thread::State::ready;
        thread.fiber = context::fiber(std::allocator_arg, stacks_, [this](context::fiber&& out) {
            out_ = std::move(out);
            try {
                body_();
            } catch (const context::detail::forced_unwind&) {
                throw;   // the block was given up
            } catch (...) {
                failure_ = std::current_exception();
            }
            threads_[current_].state = Thread::State::done;
            return std::move(out_);
        });
    }
    std::fill(warps_.begin(), warps_.end(), Warp{});
    const std::vector<unsigned> sequence = turns(static_cast<unsigned>(threads_.size()), block);
    Block* const outer = std::exchange(running, this);
    for (bool all_done = false; !all_done && !failure_;) {
        bool progress = false;
        for (const unsigned thread : sequence) progress = turn(thread) || progress;
        all_done = std::all_of(threads_.begin(), threads_.end(),
                               [](const Thread& thread) { return thread.state == Thread::State::done; });
        if (progress || all_done) continue;
        if (everybody_waits_for_the_block()) {
            for (Thread& thread : threads_)
                if (thread.state == Thread::State::at_barrier) thread.state = Thread::State::ready;
            continue;
        }
        failure_ = std::make_exception_ptr(
            Error(Exit::internal, format("emulator: threads of {} wait for others that never come", kernel_)));
    }
    running = outer;
    for (Thread& thread : threads_) thread.fiber = {};
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

bool Block::turn(unsigned thread) {
    if (threads_[thread].state != Thread::State::ready) return false;
    current_ = thread;
    position_.thread = {thread, 0, 0};
    threads_[thread].fiber = std::move(threads_[thread].fiber).resume();
    return true;
}

const WarpValues& Block::exchange(unsigned mask, std::uint64_t value) {
    const unsigned thread = current_, lane = thread % 32;
    Warp& warp = warps_[thread / 32];
    check((mask >> lane & 1u) != 0, "emulator: lane {} of {} is not in the mask of its exchange", lane, kernel_);
    warp.coming.values[lane] = value;
    warp.arrived |= 1u << lane;
    if (warp.arrived == mask) {
        warp.values = warp.coming;
        warp.arrived = 0;
        for (unsigned other = 0; other < 32; ++other) {
            const unsigned number = thread - lane + other;
            if (number < threads_.size() && (mask >> other & 1u) && number != thread)
                threads_[number].state = Thread::State::ready;
        }
        return warp.values;
    }
    pause(Thread::State::at_exchange);
    return warp.values;
}

}   // namespace

Position& position() { return running->position(); }
std::byte* shared_memory() { return running->shared_memory(); }
void wait_for_block() { running->wait_for_block(); }
const WarpValues& exchange(unsigned mask, std::uint64_t value) { return running->exchange(mask, value); }

void set_order(Order wanted) { order = wanted; }

void run(const char* kernel, Index blocks, unsigned threads, std::size_t shared_bytes,
         const std::function<void()>& body) {
    check(threads > 0 && threads % 32 == 0 && threads <= 1024, "emulator: {} threads in a block of {}", threads,
          kernel);
    check(blocks.x <= 0x7FFFFFFFu && blocks.y <= 65535u, "emulator: a grid of {} by {} blocks of {}", blocks.x,
          blocks.y, kernel);
    check(shared_bytes <= 99 << 10, "emulator: {} bytes of shared memory for {}", shared_bytes, kernel);
    {
        const std::lock_guard lock(names_mutex);
        names.emplace_back(kernel);
    }
    const OpenMemory open;
    std::exception_ptr failure;
    const long count = static_cast<long>(blocks.x) * blocks.y;
#pragma omp parallel if (count > 1)
    {
        Block block(threads, shared_bytes, blocks, body, kernel);
#pragma omp for schedule(static)
        for (long i = 0; i < count; ++i) try {
                const long number = order == Order::ascending ? i : count - 1 - i;
                block.run({static_cast<unsigned>(number % blocks.x), static_cast<unsigned>(number / blocks.x), 0});
            } catch (...) {
#pragma omp critical(emulator_failure)
                failure = std::current_exception();
            }
    }
    if (failure) std::rethrow_exception(failure);
}

std::vector<std::string> launched() {
    const std::lock_guard lock(names_mutex);
    return std::exchange(names, {});
}

}   // namespace trainer::emulator
