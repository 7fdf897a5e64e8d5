#include "autograd/cuda/device.h"
#include "optim/block_total.h"
#include "optim/grain_sum_cuda.h"
#include "optim/matrix_steps.h"
#include "optim/muon_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr int threads = 256;
Grid element_grid(const Tensor& tensor) {
    return {.blocks = blocks_for(tensor.elements(), threads), .threads = threads};
}

// Over the first of the sums stands what numbers are multiplied by.
__global__ void factor_kernel(double* sums, std::int64_t grains) {
    const double norm = sqrt(block_total(sums, grains));
    if (threadIdx.x == 0) sums[0] = 1 / (norm + 1e-7);
}
__global__ void scale_kernel(const float* in, const double* factor, float* out, std::int64_t elements) {
    const std::int64_t i = grid_thread();
    if (i < elements) out[i] = static_cast<float>(*factor) * in[i];
}

__global__ void mix_kernel(const float* plain, float* mix, std::int64_t side) {
    const std::int64_t i = grid_thread();
    if (i < side * side) mix[i] = NewtonSchulz::mixed(plain[i], mix[i], i / side == i % side);
}

}   // namespace

void normalise(Cuda place, const Tensor& x, const Tensor& sums, const Tensor& out) {
    squares_of_grains(place, {{x, x.elements()}}, sums);
    launch(place, total_grid(), factor_kernel, doubles(sums), sums.elements());
    launch(place, element_grid(x), scale_kernel, x.data<float>(), doubles(sums), out.data<float>(), x.elements());
}

void mix_powers(Cuda place, const Tensor& plain, const Tensor& mix) {
    launch(place, element_grid(mix), mix_kernel, plain.data<float>(), mix.data<float>(), mix.rows());
}

}   // namespace trainer
