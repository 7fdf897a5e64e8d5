#include "trainer/device.h"

#include <algorithm>
#include <memory>

#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"
#include "trainer/gemm_choices.h"
#include "trainer/log.h"
#include "trainer/memory_plan.h"
#include "trainer/run_options.h"

namespace trainer {

namespace {

std::string why_cpu;                // what device: auto met
std::size_t free_when_opened = 0;   // bytes of the device

// Only where a recipe promises nothing are products' algorithms chosen by time: within a promise the shape decides.
cuda::GemmOptions gemm_options(const Recipe& recipe) {
    cuda::GemmOptions options{.tf32 = recipe.training.tf32, .timed = determinism(recipe) == Determinism::fast};
    if (!options.timed) return options;
    const cuda::Device& device = *cuda::opened_device();
    const auto choices = std::make_shared<GemmChoices>(
        GemmChoices::usual_file(), format("{}, driver {}, {}", device.name, device.driver, cuda::gemm_library()));
    if (!choices->problem().empty()) log_warning(choices->problem());
    options.choices = choices->known();
    options.chosen = [choices](const std::string& problem, int choice) {
        if (choices->keep(problem, choice)) log_warning(choices->problem());
    };
    return options;
}

// With all that computing there needs.
void open_device(const Recipe& recipe, int processes) {
    require(cuda::device_count() > 0, Exit::system, "device: cuda, but {}; use device: cpu, or auto",
            cuda::why_absent());
    require(processes == 1, Exit::bad_recipe, "a run of {} processes is not offered on a GPU yet; use device: cpu",
            processes);
    if (!cuda::opened_device()) {
        cuda::open_device(0);
        free_when_opened = cuda::free_bytes();
    }
    cuda::gemm_library();   // or an error that it is not there
    cuda::set_gemm_options(gemm_options(recipe));
}

Place place_of_auto(const Recipe& recipe, int processes) {
    try {
        why_cpu = cuda::why_absent();
        if (cuda::device_count() == 0) return Place::cpu();
        open_device(recipe, processes);
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
        open_device(recipe, processes);
        return Place::cuda();
    }
    const Place place = place_of_auto(recipe, processes);
    require(place.is_cuda() || recipe.training.precision != Precision::f16, Exit::bad_recipe,
            "training.precision: f16 is computed on a GPU only, but {}; use bf16 or f32", why_cpu);
    return place;
}

std::string device_text(const Recipe& recipe, Place place) {
    if (place.is_cuda()) {
        const cuda::Device& device = *cuda::opened_device();
        const std::string absent = cuda::cudnn_absent();
        return format("{} (compute capability {}.{}, {}), {}, {}", device.name, device.major, device.minor,
                      bytes_text(device.bytes), cuda::gemm_numerics(),
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
