#include "autograd/cuda/runtime.h"

#include <cuda_runtime_api.h>

#include "autograd/place.h"
#include "configs/error.h"

namespace trainer::cuda {

namespace {

std::optional<Device> device;
int device_index = 0;
cudaStream_t device_stream = nullptr;

std::string version(int number) { return format("{}.{}", number / 1000, number % 1000 / 10); }

// "GPU-" and 32 digits in five groups.
std::string text_of(const cudaUUID_t& uuid) {
    constexpr const char* digits = "0123456789abcdef";
    std::string text = "GPU";
    for (std::size_t i = 0; i < sizeof uuid.bytes; ++i) {
        if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
        text += {digits[byte >> 4], digits[byte & 15]};
    }
    return text;
}

void require_success(cudaError_t status, const char* what) {
    require(status == cudaSuccess, Exit::system, "the GPU failed while {}: {} ({})", what, cudaGetErrorString(status),
            cudaGetErrorName(status));
}

int driver_version() {
    int number = 0;
    return cudaDriverGetVersion(&number) == cudaSuccess ? number : 0;
}

// The runtime's choice of device belongs to a thread.
void choose_for_thread() {
    thread_local bool chosen = false;
    if (chosen) return;
    check(device.has_value(), "cuda: no device was opened");
    require_success(cudaSetDevice(device_index), "it was chosen");
    chosen = true;
}

cudaMemcpyKind kind_of(Direction direction) {
    switch (direction) {
        case Direction::to_device:
            return cudaMemcpyHostToDevice;
        case Direction::to_host:
            return cudaMemcpyDeviceToHost;
        case Direction::on_device:
            return cudaMemcpyDeviceToDevice;
    }
    return cudaMemcpyDefault;
}

}   // namespace

bool built_in() { return true; }

int device_count() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

std::string why_absent() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver && driver_version() == 0) return "there is no NVIDIA driver";
    if (status == cudaErrorInsufficientDriver)
        return format("the NVIDIA driver knows CUDA up to {}, this program needs {}: update the driver",
                      version(driver_version()), version(CUDART_VERSION));
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
        return "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES may hide it)";
    return format("the NVIDIA driver says: {}", cudaGetErrorString(status));
}

Device open_device(int index) {
    require(index < device_count(), Exit::system, "there is no GPU {}: {}", index,
            device_count() == 0 ? why_absent() : format("the driver shows {}", device_count()));
    cudaDeviceProp properties{};
    require_success(cudaGetDeviceProperties(&properties, index), "it was asked what it is");
    Device found;
    found.name = properties.name;
    found.uuid = text_of(properties.uuid);
    found.major = properties.major;
    found.minor = properties.minor;
    found.multiprocessors = properties.multiProcessorCount;
    found.bytes = properties.totalGlobalMem;
    found.driver = driver_version();
    found.runtime = CUDART_VERSION;
    require(found.major >= 8, Exit::system, "GPU {} ({}) has compute capability {}.{}; 8.0 (Ampere) or newer is needed",
            index, found.name, found.major, found.minor);
    device_index = index;
    require_success(cudaSetDevice(index), "it was chosen");
    require_success(cudaStreamCreateWithFlags(&device_stream, cudaStreamNonBlocking), "its stream was made");
    device = found;
    return found;
}

const std::optional<Device>& opened_device() { return device; }

std::size_t free_bytes() {
    choose_for_thread();
    std::size_t left = 0, all = 0;
    require_success(cudaMemGetInfo(&left, &all), "it was asked for its memory");
    return left;
}

void* allocate(std::size_t bytes) {
    choose_for_thread();
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, bytes);
    if (status != cudaErrorMemoryAllocation) {
        require_success(status, "memory was asked for");
        return memory;
    }
    cudaGetLastError();   // the error stays until it is asked for
    return nullptr;
}

void release(void* memory) {
    choose_for_thread();
    require_success(cudaFree(memory), "memory was given back");
}

std::byte* allocate_pinned(std::size_t bytes) {
    choose_for_thread();
    void* memory = nullptr;
    if (cudaMallocHost(&memory, bytes) == cudaSuccess) return static_cast<std::byte*>(memory);
    cudaGetLastError();   // the error stays until it is asked for
    return nullptr;
}

void release_pinned(std::byte* memory) {
    choose_for_thread();
    require_success(cudaFreeHost(memory), "memory of the host was given back");
}

void begin_copy(Direction direction, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                std::size_t row_bytes, std::size_t rows) {
    if (row_bytes == 0 || rows == 0) return;
    choose_for_thread();
    const bool flat = rows == 1 || (to_pitch == row_bytes && from_pitch == row_bytes);
    require_success(
        flat ? cudaMemcpyAsync(to, from, row_bytes * rows, kind_of(direction), device_stream)
             : cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, row_bytes, rows, kind_of(direction), device_stream),
        "copying");
}

void fill(void* memory, std::uint8_t byte, std::size_t bytes) {
    if (bytes == 0) return;
    choose_for_thread();
    require_success(cudaMemsetAsync(memory, byte, bytes, device_stream), "filling memory");
}

void wait() {
    choose_for_thread();
    require_success(cudaStreamSynchronize(device_stream), "computing");
}

Event::Event() {
    choose_for_thread();
    cudaEvent_t made = nullptr;
    require_success(cudaEventCreateWithFlags(&made, cudaEventDisableTiming), "an event was made");
    event_ = made;
}

Event::~Event() { cudaEventDestroy(static_cast<cudaEvent_t>(event_)); }

void Event::record() {
    choose_for_thread();
    require_success(cudaEventRecord(static_cast<cudaEvent_t>(event_), device_stream), "an event was recorded");
}

void Event::wait() const { require_success(cudaEventSynchronize(static_cast<cudaEvent_t>(event_)), "computing"); }

void* stream() {
    choose_for_thread();
    return device_stream;
}

// What launch.h needs.
void check_launch(const void* kernel) {
    const cudaError_t status = cudaGetLastError();
    if (status == cudaSuccess) return;
    const char* name = nullptr;
    if (cudaFuncGetName(&name, kernel) != cudaSuccess) name = "a kernel";
    require(
        status != cudaErrorNoKernelImageForDevice && status != cudaErrorInvalidDeviceFunction, Exit::system,
        "this program was not built for {} (compute capability {}.{}): build it with -DTRAINER_CUDA_ARCHITECTURES={}{}",
        device->name, device->major, device->minor, device->major, device->minor);
    require(false, Exit::system, "the GPU failed when {} was started: {}", name, cudaGetErrorString(status));
}

void allow_shared_bytes(const void* kernel, std::size_t bytes) {
    require_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
                    "shared memory was asked for");
}

}   // namespace trainer::cuda
