#include "autograd/cpu/cross_entropy_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

float largest_of(const float* values, std::int64_t count) {
    Floats first = floats(values[0]), second = first;
    std::int64_t i = 0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
        const Floats a = load(values + i), b = load(values + i + lanes);
        first = a > first ? a : first;
        second = b > second ? b : second;
    }
    float largest = max_of(first > second ? first : second);
    for (; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
    return largest;
}

bool any_equal(const float* values, std::int64_t count, float value) {
    std::int64_t i = 0;
    for (; i < count; ++i)
        if (values[i] == value) return true;
    return false;
}

struct Sums {
    double plain = 0;
    double weighted = 0;
};

// Sums over runs of at most 64 vectors in f32, over the runs in double.
template <bool Keep>
Sums exponentials(float* values, std::int64_t count, float largest) {
    Sums sums;
    constexpr std::int64_t run = 64 * lanes;
    for (std::int64_t begin = 0; begin < count; begin += run) {
        const std::int64_t end = count - begin < run ? count : begin + run;
        Floats plain{}, weighted{};
        std::int64_t i = begin;
        for (; i + lanes <= end; i += lanes) {
            const Floats shifted = load(values + i) - largest;
            const Floats power = exp(shifted);
            plain += power;
            // a logit of -infinity has no weight
            weighted += power > 0.0f ? power * shifted : power;
            if (Keep) store(values + i, power);
        }
        sums.plain += static_cast<double>(sum_of(plain));
        sums.weighted += static_cast<double>(sum_of(weighted));
        for (; i < end; ++i) {
            const float shifted = values[i] - largest;
            const float power = exp(floats(shifted))[0];
            sums.plain += static_cast<double>(power);
            sums.weighted += power > 0.0f ? static_cast<double>(power * shifted) : static_cast<double>(power);
            if (Keep) values[i] = power;
        }
    }
    return sums;
}

template <typename Element>
void scaled(const float* powers, std::int64_t count, float factor, Element* out) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(out + i, load(powers + i) * factor);
    if (i < count) store_some(out + i, load_some(powers + i, count - i) * factor, count - i);
}

template <typename Element>
void gradient_of(const float* powers, std::int64_t count, std::int32_t target, double sum, Element* out) {
    const float of_target = static_cast<float>(static_cast<double>(powers[target]) / sum - 1.0);
    scaled(powers, count, static_cast<float>(1.0 / sum), out);
    out[target] = Element(of_target);
}

}   // namespace

SoftmaxRow softmax_row(float* logits, std::int64_t count, std::int32_t target, void* gradient, DType type) {
    SoftmaxRow row{};
    row.largest = largest_of(logits, count);
    row.target = logits[target];
    row.correct = row.target == row.largest && !any_equal(logits, target, row.largest);
    const Sums sums =
        gradient ? exponentials<true>(logits, count, row.largest) : exponentials<false>(logits, count, row.largest);
    row.sum = sums.plain;
    row.weighted_sum = sums.weighted;
    if (!gradient) return row;
    if (type == DType::f32) {
        gradient_of(logits, count, target, row.sum, static_cast<float*>(gradient));
    } else {
        gradient_of(logits, count, target, row.sum, static_cast<bf16*>(gradient));
    }
    return row;
}

}   // namespace trainer::TRAINER_ISA
