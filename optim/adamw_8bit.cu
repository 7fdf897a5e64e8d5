#include "optim/adamw_8bit_cuda.h"
#include "optim/adamw_8bit_kernels.h"
#include "optim/value_packs.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr int threads = 256;
constexpr int width = 8;   // elements of a thread; a warp has a block
constexpr std::int64_t block_elements = warp_size * width;
static_assert(block_elements == state_block);

struct Coded {
    std::uint8_t* codes;
    float* scales;
};

template <typename Value>
struct Parameters {
    AdamWConstants step;
    const float* gradient;   // null: zero
    Value* value;
    Coded mean;
    Coded square;
    std::int64_t elements;
    Rounding rounding;
    DynamicMap means;
    DynamicMap squares;
};

// A map and the middles between its values, in shared memory.
struct Codes {
    static constexpr int size = 256;
    float map[size];
    float above[size];   // the last one infinite

    __device__ void fill(const DynamicMap& values) {
        const unsigned i = threadIdx.x;
        map[i] = values[i];
        above[i] = i + 1 < size ? (values[i] + values[i + 1]) / 2.0f : INFINITY;
    }

    // The nearest, of two that are as near the lower.
    __device__ std::uint8_t code_of(float x) const {
        int first = 0;
        for (int step = size / 2; step > 0; step /= 2)
            if (above[first + step - 1] < x) first += step;
        return static_cast<std::uint8_t>(first);
    }
};

// `some` elements of the thread are there.
template <bool packs>
__device__ Pack<std::uint8_t, width> read_codes(const std::uint8_t* codes, int some) {
    if constexpr (packs)
        if (some == width) return load<width>(codes);
    Pack<std::uint8_t, width> out{};
    for (int i = 0; i < width; ++i)
        if (i < some) out.elements[i] = codes[i];
    return out;
}
template <bool packs>
__device__ void write_codes(const Pack<std::uint8_t, width>& values, std::uint8_t* codes, int some) {
    if (packs && some == width) return store<width>(codes, values);
    for (int i = 0; i < width; ++i)
        if (i < some) codes[i] = values.elements[i];
}
template <bool packs, typename Element>
__device__ Numbers<width> read_some(const Element* from, int some) {
    if constexpr (packs)
        if (some == width) return read<width>(from);
    Numbers<width> out{};
    for (int i = 0; i < width; ++i)
        if (i < some) out.at[i] = to_float(from[i]);
    return out;
}

__device__ float largest_size(const Numbers<width>& numbers) {
    float own = 0;
    for (int i = 0; i < width; ++i) own = fmaxf(own, fabsf(numbers.at[i]));
    return warp_max(own);
}

template <bool packs>
__device__ void encode(const Codes& codes, const Numbers<width>& numbers, const Coded& out, std::int64_t block,
                       std::int64_t begin, int some) {
    const float largest = largest_size(numbers);
    const float inverse = 1.0f / fmaxf(largest, 1e-38f);
    Pack<std::uint8_t, width> coded;
    for (int i = 0; i < width; ++i) coded.elements[i] = codes.code_of(numbers.at[i] * inverse);
    write_codes<packs>(coded, out.codes + begin, some);
    if (threadIdx.x % warp_size == 0) out.scales[block] = largest;
}

// The arithmetic of adamw_8bit_block (optim/adamw_8bit.simd.cpp).
template <bool packs, typename Value>
__device__ void update_block(const Parameters<Value>& p, const Codes& means, const Codes& squares, std::int64_t block) {
    const std::int64_t begin = block * block_elements + threadIdx.x % warp_size * width;
    const std::int64_t left = p.elements - begin;
    const int some = left >= width ? width : left > 0 ? static_cast<int>(left) : 0;
    Numbers<width> gradient{};
    if (p.gradient) gradient = read_some<packs>(p.gradient + begin, some);
    Numbers<width> value = read_some<packs>(p.value + begin, some);
    const auto mean_codes = read_codes<packs>(p.mean.codes + begin, some);
    const auto square_codes = read_codes<packs>(p.square.codes + begin, some);
    const float mean_scale = p.mean.scales[block], square_scale = p.square.scales[block];
    __syncwarp();   // before the first lane changes the scales
    const float root_scale = 1.0f / p.step.root_correction;
    Numbers<width> mean, square;   // zero where there is no element
    for (int i = 0; i < width; ++i) {
        const float g = p.gradient ? gradient.at[i] * p.step.gradient_scale : 0.0f;
        const float before = means.map[mean_codes.elements[i]] * mean_scale;
        mean.at[i] = i < some ? before + p.step.take1 * (g - before) : 0.0f;
        const float old = squares.map[square_codes.elements[i]] * square_scale;
        square.at[i] = i < some ? p.step.beta2 * old + p.step.take2 * g * g : 0.0f;
        const float denominator = sqrtf(square.at[i]) * root_scale + p.step.eps;
        value.at[i] = value.at[i] * p.step.keep - p.step.step_size * mean.at[i] / denominator;
    }
    if (packs && some == width)
        write(value, p.value + begin, p.rounding, begin);
    else
        for (int i = 0; i < width; ++i)
            if (i < some) write(Numbers<1>{{value.at[i]}}, p.value + begin + i, p.rounding, begin + i);
    encode<packs>(means, mean, p.mean, block, begin, some);
    encode<packs>(squares, square, p.square, block, begin, some);
}

template <bool packs, typename Value>
__global__ void update_kernel(const __grid_constant__ Parameters<Value> p) {
    Codes* codes = shared_memory<Codes>();
    codes[0].fill(p.means);
    codes[1].fill(p.squares);
    __syncthreads();
    const std::int64_t blocks = (p.elements + block_elements - 1) / block_elements;
    for (std::int64_t block = grid_thread() / warp_size; block < blocks; block += grid_threads() / warp_size)
        update_block<packs>(p, codes[0], codes[1], block);
}

}   // namespace

void update_coded(Cuda place, const AdamWConstants& step, const Tensor& gradient, const Tensor& value,
                  const Rounding& rounding, const CodedTensor& mean, const CodedTensor& square) {
    constexpr std::int64_t most_blocks = 2048;   // each fills its maps
    const Grid grid{.blocks = std::min(blocks_for(value.elements(), threads * width), most_blocks),
                    .threads = threads,
                    .shared_bytes = 2 * sizeof(Codes)};
    with_value_packs(value.dtype(), {&gradient, &value, &mean.code, &square.code}, [&](auto element, auto at_once) {
        using Value = decltype(element);
        const Parameters<Value> parameters{step,
                                           gradient.defined() ? gradient.data<float>() : nullptr,
                                           value.data<Value>(),
                                           {mean.code.data<std::uint8_t>(), mean.scale.data<float>()},
                                           {square.code.data<std::uint8_t>(), square.scale.data<float>()},
                                           value.elements(),
                                           rounding,
                                           mean.codes.map,
                                           square.codes.map};
        launch(place, grid, update_kernel<(at_once > 1), Value>, parameters);
    });
}

}   // namespace trainer
