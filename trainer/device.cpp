#include "trainer/device.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/runtime.h"
#include "comm/collective.h"
#include "comm/machine.h"
#include "comm/together.h"
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

// With all that computing there needs. `place`: this process's among those of its machine, which share out the GPUs.
void open_device(const Recipe& recipe, int place) {
    const int count = cuda::device_count();
    require(count > 0 || recipe.device != Device::cuda, Exit::system, "device: cuda, but {}; use device: cpu, or auto",
            cuda::why_absent());
    require(count > 0, Exit::system, "{}", cuda::why_absent());
    if (!cuda::opened_device()) {
        cuda::open_device(place % count);
        free_when_opened = cuda::free_bytes();
    }
    cuda::gemm_library();   // or an error that it is not there
    cuda::set_gemm_options(gemm_options(recipe));
}

// Collective.
void check_one_gpu_each(Communicator& ranks) {
    const std::vector<std::string> gpus = gather_texts(ranks, cuda::opened_device()->uuid);
    for (std::size_t rank = 0; rank < gpus.size(); ++rank) {
        const auto same = static_cast<std::size_t>(std::find(gpus.begin(), gpus.end(), gpus[rank]) - gpus.begin());
        if (same == rank) continue;
        throw AgreedError(
            Exit::system,
            format(
                "{} and {} would compute on one GPU, {}: start at most as many processes on a host as the driver and "
                "CUDA_VISIBLE_DEVICES show them GPUs",
                ranks.name_of(static_cast<int>(same)), ranks.name_of(static_cast<int>(rank)), gpus[rank]));
    }
}

// Collective.
Place open_devices(const Recipe& recipe, Communicator& ranks) {
    const int place = neighbourhood(ranks).place;
    together(ranks, [&] { open_device(recipe, place); });
    check_one_gpu_each(ranks);
    return Place::cuda();
}

}   // namespace

Place open_place(const Recipe& recipe, Communicator& ranks) {
    if (recipe.device == Device::cpu) return Place::cpu();
    if (recipe.device == Device::cuda) return open_devices(recipe, ranks);
    try {
        return open_devices(recipe, ranks);
    } catch (const Error& error) {
        if (error.code() == Exit::peer_lost) throw;
        why_cpu = error.what();
    }
    together(ranks, [&] {
        require(recipe.training.precision != Precision::f16, Exit::bad_recipe,
                "training.precision: f16 is computed on a GPU only, but {}; use bf16 or f32", why_cpu);
    });
    return Place::cpu();
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
