#include "autograd/cuda/timer.h"

#include <cuda_runtime_api.h>

#include "autograd/cuda/runtime.h"
#include "configs/error.h"

namespace trainer::cuda {

namespace {

void require_success(cudaError_t status) {
    require(status == cudaSuccess, Exit::system, "the GPU failed while it was timed: {}", cudaGetErrorString(status));
}

cudaStream_t current_stream() { return static_cast<cudaStream_t>(stream()); }

void* make_event() {
    cudaEvent_t event = nullptr;
    require_success(cudaEventCreate(&event));
    return event;
}

}   // namespace

bool Timer::usable() {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(current_stream(), &status) == cudaSuccess && status == cudaStreamCaptureStatusNone;
}

Timer::Timer() : begin_(make_event()), end_(make_event()) {}

Timer::~Timer() {
    for (void* event : {begin_, end_}) cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

void Timer::start() { require_success(cudaEventRecord(static_cast<cudaEvent_t>(begin_), current_stream())); }

double Timer::stop() {
    const auto begin = static_cast<cudaEvent_t>(begin_), end = static_cast<cudaEvent_t>(end_);
    require_success(cudaEventRecord(end, current_stream()));
    require_success(cudaEventSynchronize(end));
    float milliseconds = 0;
    require_success(cudaEventElapsedTime(&milliseconds, begin, end));
    return static_cast<double>(milliseconds);
}

}   // namespace trainer::cuda
