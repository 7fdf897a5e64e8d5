#include "autograd/cpu/silu_mul_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

template <typename Element>
void forward(const Element* gate, const Element* up, Element* y, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const Floats g = load(gate + i);
        store(y + i, g * sigmoid(g) * load(up + i));
    }
    const std::int64_t rest = count - i;
    if (rest > 0) {
        const Floats g = load_some(gate + i, rest);
        store_some(y + i, g * sigmoid(g) * load_some(up + i, rest), rest);
    }
}

struct Pair {
    Floats dgate;
    Floats dup;
};

// s = σ(g): d(g s)/dg = s (1 + g (1 - s)).
Pair derivative(Floats g, Floats up, Floats dy) {
    const Floats s = sigmoid(g);
    return {dy * up * (s * (1.0f + g * (1.0f - s))), dy * (g * s)};
}

template <typename Element>
void backward(const Element* gate, const Element* up, const Element* dy, Element* dgate, Element* dup,
              std::int64_t count) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const Pair d = derivative(load(gate + i), load(up + i), load(dy + i));
        store(dgate + i, d.dgate);
        store(dup + i, d.dup);
    }
    const std::int64_t rest = count - i;
    if (rest > 0) {
        const Pair d = derivative(load_some(gate + i, rest), load_some(up + i, rest), load_some(dy + i, rest));
        store_some(dgate + i, d.dgate, rest);
        store_some(dup + i, d.dup, rest);
    }
}

}   // namespace

void silu_mul_forward_row(const void* gate, const void* up, void* y, DType type, std::int64_t count) {
    if (type == DType::f32) {
        forward(static_cast<const float*>(gate), static_cast<const float*>(up), static_cast<float*>(y), count);
    } else {
        forward(static_cast<const bf16*>(gate), static_cast<const bf16*>(up), static_cast<bf16*>(y), count);
    }
}

void silu_mul_backward_row(const void* gate, const void* up, const void* dy, void* dgate, void* dup, DType type,
                           std::int64_t count) {
    if (type == DType::f32) {
        backward(static_cast<const float*>(gate), static_cast<const float*>(up), static_cast<const float*>(dy),
                 static_cast<float*>(dgate), static_cast<float*>(dup), count);
    } else {
        backward(static_cast<const bf16*>(gate), static_cast<const bf16*>(up), static_cast<const bf16*>(dy),
                 static_cast<bf16*>(dgate), static_cast<bf16*>(dup), count);
    }
}

}   // namespace trainer::TRAINER_ISA
