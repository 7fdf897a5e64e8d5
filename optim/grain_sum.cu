#include <algorithm>

#include "autograd/cuda/task_list.h"
#include "optim/block_total.h"
#include "optim/grain_sum_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr std::int64_t grain = ShardLayout::grain_elements;
constexpr int lanes = 8;   // sums of a grain that are added up one by one, as on the CPU: a thread for each
constexpr int threads = 256;

constexpr int grains_of_block = threads / lanes;

struct Grains {
    const float* values;   // null: zeros
    std::int64_t elements;
    double* squares;
};

__global__ void grains_kernel(const __grid_constant__ TaskList<Grains> list) {
    const BlockOfTask here = block_of_task(list);
    const Grains& task = list[here.task];
    const std::int64_t begin = (here.block * grains_of_block + threadIdx.x / lanes) * grain;
    const auto lane = static_cast<int>(threadIdx.x) % lanes;
    double own = 0;
    if (task.values) {
        const std::int64_t end = std::min(begin + grain, task.elements);
        for (std::int64_t i = begin + lane; i < end; i += lanes) {
            const auto value = static_cast<double>(task.values[i]);
            own += value * value;
        }
    }
    double sum = 0;   // behind the last grain all threads take part
    const int of_grain = static_cast<int>(threadIdx.x) % warp_size / lanes * lanes;
    for (int i = 0; i < lanes; ++i) sum += __shfl_sync(all_lanes, own, of_grain + i);
    if (begin < task.elements && lane == 0) task.squares[begin / grain] = sum;
}

}   // namespace

void squares_of_grains(Cuda place, const std::vector<GrainsOf>& tensors, const Tensor& squares) {
    double* out = doubles(squares);
    std::vector<Grains> tasks;
    for (const auto& [values, elements] : tensors) {
        tasks.push_back({values.defined() ? values.data<float>() : nullptr, elements, out});
        out += grains_in(elements);
    }
    const auto blocks_of = [](const Grains& task) { return blocks_for(grains_in(task.elements), grains_of_block); };
    launch_tasks<Grains>(place, tasks, threads, blocks_of, grains_kernel);
}

}   // namespace trainer
