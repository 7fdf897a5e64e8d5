#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

namespace trainer {

// The tokens of each id: run r is tokens[begins[r]] … tokens[begins[r + 1] - 1], ascending, all of id ids[r]. Tokens
// with a negative id are in none.
struct IdRuns {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> begins;
    std::vector<std::int32_t> tokens;
};
IdRuns runs_of(const Tensor& ids);   // (N) i32, on the host

// Memory for the runs of N ids on a device; undefined elsewhere.
Tensor room_for_runs(const Tensor& ids, Place place);

// The same on a device, in such a room.
struct DeviceRuns {
    std::int64_t count;
    const std::int32_t* ids;
    const std::int32_t* begins;
    const std::int32_t* tokens;
};
DeviceRuns on_device(const IdRuns& runs, const Tensor& room);

}   // namespace trainer
