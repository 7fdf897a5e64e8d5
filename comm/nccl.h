#pragma once

#include <memory>
#include <string>

#include "comm/data_path.h"

// NCCL moves tensors between GPUs. Its library is opened at run time (autograd/cuda/library.h); in a build without CUDA
// neither function exists.
namespace trainer {

// "2.28.9": the version of the library, which is opened by this. Error(system): it is not there, or too old.
std::string nccl_version();

// The way over NCCL between the opened devices of all ranks, each of which has one of its own and the same version. The
// ranks meet over `ranks` and exchange something, so that connections and NCCL's own memory are there when it returns.
// `on_failure` as in open_data_path. Collective.
// Errors: system, peer_lost: what NCCL says.
std::unique_ptr<DataPath> make_nccl_path(Communicator& ranks, Place place, OnLost on_failure);

}   // namespace trainer
