#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "autograd/cuda/device.h"

// One launch for many tensors: what a kernel does to each is a task, and every task has blocks of its own.
namespace trainer::cuda {

// The tasks of a launch: as many as the parameters of a kernel hold.
template <typename Task>
struct TaskList {
    static constexpr int most = static_cast<int>(4000 / (sizeof(Task) + sizeof(std::int64_t)));
    static_assert(most > 0 && std::is_trivially_copyable_v<Task>);
    alignas(Task) unsigned char tasks[most * sizeof(Task)];
    std::int64_t end[most];   // blocks of the grid up to the task's last
    int count;

    __device__ const Task& operator[](int index) const { return reinterpret_cast<const Task*>(tasks)[index]; }
};

// Which task this block works on, and the how many-th of its blocks it is.
struct BlockOfTask {
    int task;
    std::int64_t block;
};
template <typename Task>
__device__ BlockOfTask block_of_task(const TaskList<Task>& list) {
    const std::int64_t block = blockIdx.x;
    int first = 0;   // by halving
    for (int beyond = list.count - 1; first < beyond;) {
        const int middle = (first + beyond) / 2;
        if (block < list.end[middle])
            beyond = middle;
        else
            first = middle + 1;
    }
    return {first, block - (first == 0 ? 0 : list.end[first - 1])};
}

// kernel(list) for all tasks in as few launches as they fit into; `blocks_of(task)` of `threads` threads each.
template <typename Task, typename BlocksOf>
void launch_tasks(Cuda place, std::span<const Task> tasks, int threads, const BlocksOf& blocks_of,
                  void (*kernel)(TaskList<Task>)) {
    TaskList<Task> list{};
    std::int64_t blocks = 0;
    const auto flush = [&] {
        launch(place, {.blocks = blocks, .threads = threads}, kernel, list);
        list.count = 0;
        blocks = 0;
    };
    for (const Task& task : tasks) {
        if (list.count == TaskList<Task>::most) flush();
        blocks += blocks_of(task);
        std::memcpy(list.tasks + static_cast<std::size_t>(list.count) * sizeof(Task), &task, sizeof task);
        list.end[list.count++] = blocks;
    }
    if (list.count > 0) flush();
}

}   // namespace trainer::cuda
