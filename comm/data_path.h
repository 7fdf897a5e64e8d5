#pragma once

#include <memory>
#include <span>
#include <string>

#include "autograd/tensor.h"
#include "comm/communicator.h"

namespace trainer {

// How tensors of one place travel between the ranks of a run. Its calls are collective like the communicator's: every
// rank makes the same ones in the same order. Tensors are contiguous and lie at the place; on a device a call is
// ordered among what is computed there, and may return before it is done.
class DataPath {
public:
    DataPath(Communicator& ranks, Place place) : ranks_(ranks), place_(place) {}
    virtual ~DataPath() = default;
    DataPath(const DataPath&) = delete;
    DataPath& operator=(const DataPath&) = delete;

    Communicator& ranks() const { return ranks_; }
    Place place() const { return place_; }

    // What rank r sends in `send[p]` arrives at rank p in `receive[r]`: both have `size()` members, whose bytes agree
    // in pairs. Nothing goes to the rank itself.
    virtual void all_to_all(std::span<const Tensor> send, std::span<const Tensor> receive) = 0;
    // What rank r sends arrives at every rank, itself included, in `receive[r]`, which has its shape.
    virtual void all_gather(const Tensor& send, std::span<const Tensor> receive) = 0;
    // f32: sums over the ranks in whatever order the library likes.
    virtual void all_reduce(const Tensor& values) = 0;

    // "NCCL 2.28.9", for people; "" where there is nothing to say.
    virtual std::string text() const = 0;

private:
    Communicator& ranks_;
    Place place_;
};

// Through the host's memory and the communicator: the only way for tensors of the CPU; what lies on a device is copied.
// `why`: that there is no better one. On meta nothing travels.
std::unique_ptr<DataPath> make_host_path(Communicator& ranks, Place place, const std::string& why = "");

// The best one: on a device NCCL, or through the host where a rank has none. The device must be open; `on_failure` is
// called from a thread when NCCL fails later, and is expected to end the process. Collective.
// Errors: system, where the ranks' versions of NCCL differ or it does not start.
std::unique_ptr<DataPath> open_data_path(Communicator& ranks, Place place, OnLost on_failure);

}   // namespace trainer
