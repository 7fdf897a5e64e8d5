#include "autograd/cpu/attention_backward.h"
#include "autograd/cpu/attention_decode.h"

namespace trainer::TRAINER_ISA {

void attention_forward_block(const AttentionForward& task, std::int64_t begin, std::int64_t end, float* scratch) {
    const bool alone = decodes(task.head);
    if (task.head.dtype == DType::f32) {
        alone ? decode<float>(task, scratch) : forward<Plain<float>>(task, begin, end, scratch);
    } else {
        alone ? decode<bf16>(task, scratch) : forward<Plain<bf16>>(task, begin, end, scratch);
    }
}

void attention_backward_begin(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                              float* scratch) {
    if (task.head.dtype == DType::f32) {
        backward_begin<Plain<float>>(task, key_begin, key_end, scratch);
    } else {
        backward_begin<Plain<bf16>>(task, key_begin, key_end, scratch);
    }
}

void attention_backward_step(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                             std::int64_t begin, std::int64_t end, bool last, float* scratch) {
    if (task.head.dtype == DType::f32) {
        backward_step<Plain<float>>(task, key_begin, key_end, begin, end, last, scratch);
    } else {
        backward_step<Plain<bf16>>(task, key_begin, key_end, begin, end, last, scratch);
    }
}

void attention_backward_finish(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                               float* scratch) {
    if (task.head.dtype == DType::f32) {
        backward_finish<Plain<float>>(task, key_begin, key_end, scratch);
    } else {
        backward_finish<Plain<bf16>>(task, key_begin, key_end, scratch);
    }
}

namespace {

template <typename Element>
float dot(const Element* a, const Element* b, std::int64_t count) {
    Floats sum = {};
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) sum += load(a + i) * load(b + i);
    if (i < count) sum += load_some(a + i, count - i) * load_some(b + i, count - i);
    return sum_of(sum);
}

template <typename Element>
void row_delta(const Element* out, const Element* out_gradient, std::int64_t heads, std::int64_t head_dim,
               float* delta) {
    for (std::int64_t head = 0; head < heads; ++head)
        delta[head] = dot(out + head * head_dim, out_gradient + head * head_dim, head_dim);
}

}   // namespace

void attention_delta(const void* out, const void* out_gradient, DType dtype, std::int64_t heads, std::int64_t head_dim,
                     float* delta) {
    if (dtype == DType::f32) {
        row_delta(static_cast<const float*>(out), static_cast<const float*>(out_gradient), heads, head_dim, delta);
    } else {
        row_delta(static_cast<const bf16*>(out), static_cast<const bf16*>(out_gradient), heads, head_dim, delta);
    }
}

}   // namespace trainer::TRAINER_ISA
