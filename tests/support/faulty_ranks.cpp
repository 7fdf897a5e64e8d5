#include "tests/support/faulty_ranks.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "configs/error.h"

namespace trainer::test {

namespace {

void sleep_for(std::int64_t microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

void flip_a_bit(std::span<std::byte> data) {
    if (!data.empty()) data[data.size() / 2] ^= std::byte{16};
}

}   // namespace

bool FaultyRanks::begin_call() {
    ++calls_;
    bool flip = false;
    for (const Fault& fault : faults_) {
        if (fault.rank != rank() || fault.call != calls_) continue;
        if (fault.kind == Fault::Kind::flip)
            flip = true;
        else
            carry_out(fault);
    }
    return flip;
}

void FaultyRanks::carry_out(const Fault& fault) {
    switch (fault.kind) {
        case Fault::Kind::delay:
            sleep_for(fault.microseconds);
            break;
        case Fault::Kind::error:
            fail(Exit::io, "call {} fails on purpose", calls_);
        case Fault::Kind::hang:
            for (;;) ::pause();
        case Fault::Kind::flip:
            break;
        case Fault::Kind::kill:
            std::thread([this, wait = fault.microseconds] {
                sleep_for(wait);
                if (before_death_) before_death_();
                ::kill(::getpid(), SIGKILL);
            }).detach();
            break;
        case Fault::Kind::exit:
            if (before_death_) before_death_();
            ::_exit(0);
    }
}

void FaultyRanks::all_to_all(std::span<const std::span<const std::byte>> send,
                             std::span<const std::span<std::byte>> receive) {
    const bool flip = begin_call();
    ranks_.all_to_all(send, receive);
    if (flip) flip_a_bit(receive.back());
}

void FaultyRanks::all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) {
    const bool flip = begin_call();
    ranks_.all_gather(send, receive);
    if (flip) flip_a_bit(receive.back());
}

void FaultyRanks::broadcast(std::span<std::byte> data, int root) {
    const bool flip = begin_call();
    ranks_.broadcast(data, root);
    if (flip) flip_a_bit(data);
}

void FaultyRanks::barrier() {
    begin_call();
    ranks_.barrier();
}

void FaultyRanks::all_reduce(std::span<float> values) {
    const bool flip = begin_call();
    ranks_.all_reduce(values);
    if (flip) flip_a_bit(std::as_writable_bytes(values));
}

}   // namespace trainer::test
