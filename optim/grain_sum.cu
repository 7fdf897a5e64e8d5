#include <algorithm>

#include "autograd/cuda/device.h"
#include "comm/shard_layout.h"
#include "optim/block_total.h"
#include "optim/grain_sum_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr std::int64_t grain = ShardLayout::grain_elements;
constexpr int lanes = 8;   // sums of a grain that are added up one by one, as on the CPU: a thread for each
constexpr int threads = 256;

// The tensors of a launch: as many as its parameters hold.
struct Batch {
    static constexpr int most = 128;
    const float* values[most];
    std::int64_t elements[most];
    std::int64_t end[most];   // of the tensor's grains among all of the launch
    int tensors;
};

__global__ void grains_kernel(const __grid_constant__ Batch batch, double* squares) {
    const std::int64_t index = grid_thread() / lanes;
    const auto lane = static_cast<int>(threadIdx.x) % lanes;
    int first = 0;   // the tensor, by halving
    for (int beyond = batch.tensors; first < beyond;) {
        const int middle = (first + beyond) / 2;
        if (index < batch.end[middle])
            beyond = middle;
        else
            first = middle + 1;
    }
    const bool there = first < batch.tensors;   // behind the last grain all threads take part in the sum
    double own = 0;
    if (there && batch.values[first]) {
        const std::int64_t begin = (index - (first == 0 ? 0 : batch.end[first - 1])) * grain;
        const std::int64_t end = std::min(begin + grain, batch.elements[first]);
        const float* values = batch.values[first];
        for (std::int64_t i = begin + lane; i < end; i += lanes) {
            const auto value = static_cast<double>(values[i]);
            own += value * value;
        }
    }
    double sum = 0;
    const int of_grain = static_cast<int>(threadIdx.x) % warp_size / lanes * lanes;
    for (int i = 0; i < lanes; ++i) sum += __shfl_sync(all_lanes, own, of_grain + i);
    if (there && lane == 0) squares[index] = sum;
}

}   // namespace

void squares_of_grains(Cuda place, const std::vector<GrainsOf>& tensors, const Tensor& squares) {
    double* out = doubles(squares);
    Batch batch{};
    std::int64_t grains = 0;   // of the batch
    const auto flush = [&] {
        launch(place, {.blocks = blocks_for(grains * lanes, threads), .threads = threads}, grains_kernel, batch, out);
        out += grains;
        batch.tensors = 0;
        grains = 0;
    };
    for (const auto& [values, elements] : tensors) {
        if (batch.tensors == Batch::most) flush();
        grains += (elements + grain - 1) / grain;
        batch.values[batch.tensors] = values.defined() ? values.data<float>() : nullptr;
        batch.elements[batch.tensors] = elements;
        batch.end[batch.tensors++] = grains;
    }
    flush();
}

}   // namespace trainer
