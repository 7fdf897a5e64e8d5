// Compiles, links and starts on a machine without a GPU or driver, where it says so; with a device it runs a kernel and
// compares it with the CPU. The CUDA runtime is inside the program; cuBLASLt is opened at run time, as trainer will.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cmath>
#include <concepts>
#include <cstdio>
#include <cstdlib>
#include <vector>

static_assert(__cplusplus >= 202002L, "CUDA sources are C++20; CMake 3.25 must be told by -std=c++20");

namespace {

constexpr int threads = 128;
constexpr float epsilon = 1e-5f;

template <typename T>
concept Scalar = std::same_as<T, float> || std::same_as<T, __nv_bfloat16>;

// The sum of one value per thread, in a fixed order, known to every thread of the block.
__device__ float block_sum(float value) {
    __shared__ float warp_sums[threads / 32];
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
    for (float part : warp_sums) sum += part;
    return sum;
}

// y = x / sqrt(mean(x²) + epsilon) · weight, one block a row.   x, y (N, C), weight (C)
template <Scalar T>
__global__ void rms_norm(T* y, const T* x, const T* weight, int columns) {
    const T* row = x + static_cast<size_t>(blockIdx.x) * columns;
    float squares = 0.0f;
    for (int c = threadIdx.x; c < columns; c += threads) {
        const float value = static_cast<float>(row[c]);
        squares += value * value;
    }
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(columns) + epsilon);
    for (int c = threadIdx.x; c < columns; c += threads) {
        const float value = static_cast<float>(row[c]) * scale * static_cast<float>(weight[c]);
        y[static_cast<size_t>(blockIdx.x) * columns + c] = static_cast<T>(value);
    }
}

void require_success(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    std::fprintf(stderr, "cuda_probe: %s: %s\n", what, cudaGetErrorString(status));
    std::exit(1);
}

template <typename T>
T* to_device(const std::vector<T>& host) {
    void* device = nullptr;
    require_success(cudaMalloc(&device, host.size() * sizeof(T)), "cudaMalloc");
    require_success(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
    return static_cast<T*>(device);
}

// Largest difference between the kernel and the CPU, relative to the largest value.
template <Scalar T>
double rms_norm_error(int rows, int columns) {
    std::vector<T> x(static_cast<size_t>(rows) * columns), weight(columns), y(x.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(std::sin(0.37f * static_cast<float>(i)));
    for (int c = 0; c < columns; ++c) weight[c] = static_cast<T>(1.0f + 0.01f * static_cast<float>(c % 17));
    T* const device_x = to_device(x);
    T* const device_weight = to_device(weight);
    T* const device_y = to_device(y);
    rms_norm<<<rows, threads>>>(device_y, device_x, device_weight, columns);
    require_success(cudaGetLastError(), "launching rms_norm");
    require_success(cudaMemcpy(y.data(), device_y, y.size() * sizeof(T), cudaMemcpyDeviceToHost), "running rms_norm");
    for (T* pointer : {device_x, device_weight, device_y}) require_success(cudaFree(pointer), "cudaFree");
    double largest_error = 0.0, largest_value = 0.0;
    for (int n = 0; n < rows; ++n) {
        const size_t start = static_cast<size_t>(n) * columns;
        double squares = 0.0;
        for (int c = 0; c < columns; ++c) squares += std::pow(static_cast<double>(static_cast<float>(x[start + c])), 2);
        const double scale = 1.0 / std::sqrt(squares / columns + epsilon);
        for (int c = 0; c < columns; ++c) {
            const double expected = static_cast<double>(static_cast<float>(x[start + c])) * scale *
                                    static_cast<double>(static_cast<float>(weight[c]));
            const double found = static_cast<double>(static_cast<float>(y[start + c]));
            largest_error = std::fmax(largest_error, std::isfinite(found) ? std::fabs(found - expected) : HUGE_VAL);
            largest_value = std::fmax(largest_value, std::fabs(expected));
        }
    }
    return largest_error / largest_value;
}

void report_cublaslt() {
    void* const library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    const auto version = library ? reinterpret_cast<std::size_t (*)()>(dlsym(library, "cublasLtGetVersion")) : nullptr;
    if (version)
        std::printf("cuda_probe: cuBLASLt %zu\n", version());
    else
        std::printf("cuda_probe: no cuBLASLt here\n");
}

}   // namespace

int main() {
    report_cublaslt();
    int devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
        std::printf("cuda_probe: no device here (%s)\n", cudaGetErrorString(status));
        return 0;
    }
    require_success(status, "cudaGetDeviceCount");
    const double error_f32 = rms_norm_error<float>(33, 576);
    const double error_bf16 = rms_norm_error<__nv_bfloat16>(33, 576);
    const bool agrees = error_f32 < 1e-5 && error_bf16 < 5e-3;
    std::printf("cuda_probe: rms_norm %s the CPU (relative error f32 %.1e, bf16 %.1e)\n",
                agrees ? "agrees with" : "differs from", error_f32, error_bf16);
    return agrees ? 0 : 1;
}
