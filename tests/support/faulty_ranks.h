#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace trainer::test {

// What goes wrong, at which rank, and in which of its calls (from 1).
struct Fault {
    enum class Kind {
        delay,   // `microseconds` before the call
        error,   // throws Error(io) instead of the call
        hang,    // never returns
        flip,    // one bit of what the call received is wrong
        kill,    // SIGKILL `microseconds` after the call has begun, in the midst of it or later
        exit,    // the process ends with code 0, without a word
    };
    Kind kind = Kind::delay;
    int rank = 0;
    std::uint64_t call = 1;
    std::int64_t microseconds = 0;
};

// A communicator that does what `ranks` does, but for the faults. `before_death` is called before a kill or exit.
class FaultyRanks : public Communicator {
public:
    FaultyRanks(Communicator& ranks, std::vector<Fault> faults, std::function<void()> before_death = {})
        : ranks_(ranks), faults_(std::move(faults)), before_death_(std::move(before_death)) {}

    int rank() const override { return ranks_.rank(); }
    int size() const override { return ranks_.size(); }
    void all_to_all(std::span<const std::span<const std::byte>> send,
                    std::span<const std::span<std::byte>> receive) override;
    void all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) override;
    void broadcast(std::span<std::byte> data, int root) override;
    void barrier() override;
    void all_reduce(std::span<float> values) override;
    std::string name_of(int rank) const override { return ranks_.name_of(rank); }
    void abandon(int exit_code, const std::string& reason) noexcept override { ranks_.abandon(exit_code, reason); }

private:
    // Carries out the faults of the next call; whether a bit is to be flipped afterwards.
    bool begin_call();
    void carry_out(const Fault& fault);

    Communicator& ranks_;
    std::vector<Fault> faults_;
    std::function<void()> before_death_;
    std::uint64_t calls_ = 0;
};

}   // namespace trainer::test
