#include "autograd/cpu/rope_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

template <typename Element>
void turn(Element* row, int heads, int head_dim, const float* cosine, const float* sine, float sign) {
    const int half = head_dim / 2;
    for (int head = 0; head < heads; ++head, row += head_dim) {
        int j = 0;
        for (; j + lanes <= half; j += lanes) {
            const Floats c = load(cosine + j);
            const Floats s = load(sine + j) * sign;
            const Floats first = load(row + j);
            const Floats second = load(row + half + j);
            store(row + j, first * c - second * s);
            store(row + half + j, second * c + first * s);
        }
        if (j < half) {
            const int rest = half - j;
            const Floats c = load_some(cosine + j, rest);
            const Floats s = load_some(sine + j, rest) * sign;
            const Floats first = load_some(row + j, rest);
            const Floats second = load_some(row + half + j, rest);
            store_some(row + j, first * c - second * s, rest);
            store_some(row + half + j, second * c + first * s, rest);
        }
    }
}

}   // namespace

void rope_row(void* row, DType dtype, int heads, int head_dim, const float* cosine, const float* sine, bool inverse) {
    const float sign = inverse ? -1.0f : 1.0f;
    if (dtype == DType::f32) {
        turn(static_cast<float*>(row), heads, head_dim, cosine, sine, sign);
    } else {
        turn(static_cast<bf16*>(row), heads, head_dim, cosine, sine, sign);
    }
}

}   // namespace trainer::TRAINER_ISA
