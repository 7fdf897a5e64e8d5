#include "peft/low_rank_values.h"

#include <algorithm>
#include <cmath>

#include "autograd/cpu/gemm.h"
#include "autograd/random.h"
#include "configs/error.h"
#include "peft/decompositions.h"

namespace trainer {

namespace {

// Calls value(words) for every block of four elements.
template <typename Values>
void fill_blocks(Parameter& parameter, std::uint64_t seed, Values values) {
    const std::uint64_t key = random_key(seed, site_key(parameter.name, "initialise"));
    parameter.set([&](float* to) {
        for (std::int64_t i = 0; i < parameter.shape.elements(); i += 4) {
            const auto block = static_cast<std::uint64_t>(i / 4);
            const std::array<float, 4> made =
                values(philox(key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0}));
            for (std::int64_t j = i; j < std::min(i + 4, parameter.shape.elements()); ++j)
                to[j] = made[static_cast<std::size_t>(j - i)];
        }
    });
}

using Words = std::array<std::uint32_t, 4>;

// numbers (rows, columns), each times the factor of its row or column
void store(const std::vector<double>& numbers, const std::vector<double>& factor, bool by_row, Parameter& parameter) {
    const std::int64_t columns = parameter.shape.columns();
    parameter.set([&](float* to) {
        for (std::int64_t i = 0; i < parameter.shape.elements(); ++i) {
            const auto index = static_cast<std::size_t>(by_row ? i / columns : i % columns);
            to[i] = static_cast<float>(numbers[static_cast<std::size_t>(i)] * (factor.empty() ? 1 : factor[index]));
        }
    });
}

}   // namespace

void fill_uniform(Parameter& parameter, float bound, std::uint64_t seed) {
    fill_blocks(parameter, seed, [bound](const Words& words) {
        std::array<float, 4> out;
        for (std::size_t j = 0; j < 4; ++j) out[j] = bound * (2 * uniform(words[j]) - 1);
        return out;
    });
}

void fill_normal(Parameter& parameter, float deviation, std::uint64_t seed) {
    fill_blocks(parameter, seed, [deviation](const Words& words) {
        std::array<float, 4> out = normal(words);
        for (float& one : out) one *= deviation;
        return out;
    });
}

void fill(Parameter& parameter, float value) {
    parameter.set([&](float* to) { std::fill_n(to, parameter.shape.elements(), value); });
}

void fill_from_weight(const Tensor& weight, LowRankInit init, float scale, Parameter& a, Parameter& b) {
    const std::int64_t rows = weight.rows(), columns = weight.columns(), rank = a.shape.rows();
    require(rank <= std::min(rows, columns), Exit::bad_recipe,
            "peft.rank: {} is more than the {}x{} weight of {} has, from which init {} takes it", rank, rows, columns,
            a.name, enum_name(init));
    const auto* values = weight.data<float>();
    if (init == LowRankInit::olora) {
        const LeadingQr parts = leading_qr(values, rows, columns, rank);
        store(parts.r, {}, true, a);
        store(parts.q, {}, false, b);
        return;
    }
    const SingularVectors parts = largest_singular_vectors(values, rows, columns, rank);
    std::vector<double> roots;
    for (const double value : parts.values) roots.push_back(std::sqrt(value / static_cast<double>(scale)));
    store(parts.right, roots, true, a);
    store(parts.left, roots, false, b);
}

std::size_t decomposition_bytes(LowRankInit init, std::int64_t out, std::int64_t in, std::int64_t rank) {
    const std::int64_t small = std::min(out, in), vectors = 4 * rank * (out + in);
    // PiSSA: the matrix, the Gram matrix of its smaller side, its copy and its reflectors
    const std::int64_t numbers = init == LowRankInit::pissa ? out * in + 3 * small * small + vectors : vectors;
    return static_cast<std::size_t>(numbers) * sizeof(double);
}

void add_product(Tensor& weight, const Tensor& b, const Tensor& a, float scale) {
    Tensor scaled = Tensor::empty(b.shape(), DType::f32);
    std::transform(b.data<float>(), b.data<float>() + b.elements(), scaled.data<float>(),
                   [scale](float value) { return scale * value; });
    gemm(Cpu{}, weight, scaled, false, a, false, true);
}

}   // namespace trainer
