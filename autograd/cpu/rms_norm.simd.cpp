#include "autograd/cpu/rms_norm_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

// Sums run over 16 lanes whatever the registers' width: lane j takes the columns j, j + 16, …
constexpr int sum_lanes = 16;
constexpr int sums = sum_lanes / lanes;

// Calls body(column, count, sum) for the vectors of a row, in order; all but the last are full.
template <typename Body>
void for_vectors(std::int64_t count, const Body& body) {
    std::int64_t i = 0;
    for (; i + sum_lanes <= count; i += sum_lanes)
        for (int s = 0; s < sums; ++s) body(i + s * lanes, lanes, s);
    for (int s = 0; i < count; i += lanes, ++s) body(i, count - i < lanes ? count - i : lanes, s);
}

template <typename Element>
Floats load_up_to(const Element* from, std::int64_t count) {
    return count == lanes ? load(from) : load_some(from, count);
}
template <typename Element>
void store_up_to(Element* to, Floats values, std::int64_t count) {
    if (count == lanes) {
        store(to, values);
    } else {
        store_some(to, values, count);
    }
}

float total(const Floats* parts) {
    float sum[sum_lanes];
    for (int s = 0; s < sums; ++s) store(sum + s * lanes, parts[s]);
    for (int width = sum_lanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) sum[i] += sum[i + width];
    return sum[0];
}

template <typename Element>
void forward(const RmsNormForwardRow& row, std::int64_t count) {
    const auto* x = static_cast<const Element*>(row.x);
    const auto* residual = static_cast<const Element*>(row.residual);
    const auto* weight = static_cast<const Element*>(row.weight);
    auto* sum = static_cast<Element*>(row.sum);
    auto* y = static_cast<Element*>(row.y);
    Floats squares[sums] = {};
    if (residual) {
        for_vectors(count, [&](std::int64_t i, std::int64_t n, int s) {
            const Floats value = rounded_as(x, load_up_to(x + i, n) + load_up_to(residual + i, n));
            store_up_to(sum + i, value, n);
            squares[s] += value * value;
        });
        x = sum;
    } else {
        for_vectors(count, [&](std::int64_t i, std::int64_t n, int s) {
            const Floats value = load_up_to(x + i, n);
            squares[s] += value * value;
        });
    }
    const float rstd = 1.0f / __builtin_sqrtf(total(squares) / static_cast<float>(count) + row.eps);
    *row.rstd = rstd;
    for_vectors(count, [&](std::int64_t i, std::int64_t n, int) {
        const Floats normalised = rounded_as(x, load_up_to(x + i, n) * rstd);
        store_up_to(y + i, normalised * load_up_to(weight + i, n), n);
    });
}

// n = x · rstd, y = w n:  dn = w dy,  dx = rstd (dn - n mean(dn n)),  dw = dy n.
template <typename Element>
void backward(const RmsNormBackwardRow& row, std::int64_t count) {
    const auto* x = static_cast<const Element*>(row.x);
    const auto* weight = static_cast<const Element*>(row.weight);
    const auto* dy = static_cast<const Element*>(row.dy);
    const auto* dsum = static_cast<const Element*>(row.dsum);
    auto* dx = static_cast<Element*>(row.dx);
    const float rstd = row.rstd;
    Floats dots[sums] = {};
    for_vectors(count, [&](std::int64_t i, std::int64_t n, int s) {
        const Floats product = load_up_to(dy + i, n) * (load_up_to(x + i, n) * rstd);
        dots[s] += product * load_up_to(weight + i, n);
        if (row.dweight) store_up_to(row.dweight + i, load_up_to(row.dweight + i, n) + product, n);
    });
    if (!dx) return;
    const float mean = total(dots) / static_cast<float>(count);
    for_vectors(count, [&](std::int64_t i, std::int64_t n, int) {
        const Floats normalised = load_up_to(x + i, n) * rstd;
        Floats value = rstd * (load_up_to(dy + i, n) * load_up_to(weight + i, n) - normalised * mean);
        if (dsum) value += load_up_to(dsum + i, n);
        store_up_to(dx + i, value, n);
    });
}

}   // namespace

void rms_norm_forward_row(const RmsNormForwardRow& row, DType type, std::int64_t count) {
    if (type == DType::f32) {
        forward<float>(row, count);
    } else {
        forward<bf16>(row, count);
    }
}

void rms_norm_backward_row(const RmsNormBackwardRow& row, DType type, std::int64_t count) {
    if (type == DType::f32) {
        backward<float>(row, count);
    } else {
        backward<bf16>(row, count);
    }
}

}   // namespace trainer::TRAINER_ISA
