#include "trainer/device.h"

#include <algorithm>

#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"
#include "trainer/memory_plan.h"

namespace trainer {

namespace {

std::string why_cpu;                // what device: auto met
std::size_t free_when_opened = 0;   // bytes of the device

// With all that computing there needs.
void open_device(int processes) {
    require(cuda::device_count() > 0, Exit::system, "device: cuda, but {}; use device: cpu, or auto",
            cuda::why_absent());
    require(processes == 1, Exit::bad_recipe, "a run of {} processes is not offered on a GPU yet; use device: cpu",
            processes);
    if (!cuda::opened_device()) {
        cuda::open_device(0);
        free_when_opened = cuda::free_bytes();
    }
    cuda::gemm_library();
}

Place place_of_auto(int processes) {
    try {
        why_cpu = cuda::why_absent();
        if (cuda::device_count() == 0) return Place::cpu();
        open_device(processes);
        return Place::cuda();
    } catch (const Error& error) {
        why_cpu = error.what();
        return Place::cpu();
    }
}

}   // namespace

Place open_place(const Recipe& recipe, int processes) {
    if (recipe.device == Device::cpu) return Place::cpu();
    if (recipe.device == Device::cuda) {
        open_device(processes);
        return Place::cuda();
    }
    const Place place = place_of_auto(processes);
    require(place.is_cuda() || recipe.training.precision != Precision::f16, Exit::bad_recipe,
            "training.precision: f16 is computed on a GPU only, but {}; use bf16 or f32", why_cpu);
    return place;
}

std::string device_text(const Recipe& recipe, Place place) {
    if (place.is_cuda()) {
        const cuda::Device& device = *cuda::opened_device();
        const std::string absent = cuda::cudnn_absent();
        return format("{} (compute capability {}.{}, {}), {}, {}", device.name, device.major, device.minor,
                      bytes_text(device.bytes), cuda::gemm_library(),
                      absent.empty() ? cuda::cudnn_library() : "attention by own kernels, without cuDNN: " + absent);
    }
    if (recipe.device == Device::cpu || !cuda::built_in()) return "";
    return "the CPU: " + why_cpu;
}

std::string held_on_device_text(Place place) {
    if (!place.is_cuda()) return "";
    const std::size_t left = cuda::free_bytes();
    return format("held on the GPU {}, taken from its free memory {}, ", bytes_text(held_device_memory()),
                  bytes_text(free_when_opened - std::min(free_when_opened, left)));
}

MemoryLeft memory_left_on_device() {
    constexpr std::size_t libraries = 512u << 20;   // code and buffers that are loaded when they are first used
    const std::size_t left = cuda::free_bytes();
    return {left, "the GPU's free memory", libraries};
}

}   // namespace trainer
