#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace trainer {

// The processes ("ranks", numbered from 0) that work on one run. Every rank makes the same calls in the same order,
// from one thread. Data lies in host memory; buffers stay the caller's.
// Errors: peer_lost, naming the rank and its host, when another rank is gone.
class Communicator {
public:
    virtual ~Communicator() = default;

    virtual int rank() const = 0;
    virtual int size() const = 0;

    // What rank r sends in `send[p]` arrives at rank p in `receive[r]`. Both spans have `size()` members; the sizes of
    // what is sent and received agree in pairs and may be zero.
    virtual void all_to_all(std::span<const std::span<const std::byte>> send,
                            std::span<const std::span<std::byte>> receive) = 0;
    // What rank r sends arrives at every rank, itself included, in `receive[r]`, which has its size.
    virtual void all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) = 0;
    virtual void broadcast(std::span<std::byte> data, int root) = 0;
    virtual void barrier() = 0;
    // Sums over the ranks in whatever order the library likes; the same bits at every rank, but not for every size.
    virtual void all_reduce(std::span<float> values) = 0;

    // "rank 1 (node7, process 4242)", for messages.
    virtual std::string name_of(int rank) const = 0;

    // To be called before this rank ends the run for a reason of its own: the others are told and end with the same
    // exit code and `reason`. Without it, and without the destructor, a rank that ends counts as lost.
    virtual void abandon(int exit_code, const std::string& reason) noexcept = 0;
};

// What a rank does when another is lost or has abandoned the run. Called from a thread of the communicator while the
// caller may be anywhere, also inside a collective call; expected to say `message` and to end the process with
// `exit_code`.
using OnLost = std::function<void(int exit_code, const std::string& message)>;

}   // namespace trainer
