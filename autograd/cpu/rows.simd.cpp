#include "autograd/cpu/rows_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

template <typename In, typename Out>
void convert_elements(const In* in, Out* out, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(out + i, load(in + i));
    if (i < count) store_some(out + i, load_some(in + i, count - i), count - i);
}

template <typename Sum, typename Term>
void add_elements(Sum* sum, const Term* term, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(sum + i, load(sum + i) + load(term + i));
    const std::int64_t rest = count - i;
    if (rest > 0) store_some(sum + i, load_some(sum + i, rest) + load_some(term + i, rest), rest);
}

template <typename Element>
void scale_elements(Element* values, float factor, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(values + i, load(values + i) * factor);
    if (i < count) store_some(values + i, load_some(values + i, count - i) * factor, count - i);
}

template <typename Element>
void sum_elements(const Element* a, const Element* b, Element* out, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(out + i, load(a + i) + load(b + i));
    const std::int64_t rest = count - i;
    if (rest > 0) store_some(out + i, load_some(a + i, rest) + load_some(b + i, rest), rest);
}

}   // namespace

void convert_row(const void* in, DType in_type, void* out, std::int64_t count) {
    if (in_type == DType::f32) {
        convert_elements(static_cast<const float*>(in), static_cast<bf16*>(out), count);
    } else {
        convert_elements(static_cast<const bf16*>(in), static_cast<float*>(out), count);
    }
}

void add_row(void* sum, DType sum_type, const void* term, DType term_type, std::int64_t count) {
    if (sum_type == DType::f32) {
        if (term_type == DType::f32) {
            add_elements(static_cast<float*>(sum), static_cast<const float*>(term), count);
        } else {
            add_elements(static_cast<float*>(sum), static_cast<const bf16*>(term), count);
        }
    } else if (term_type == DType::f32) {
        add_elements(static_cast<bf16*>(sum), static_cast<const float*>(term), count);
    } else {
        add_elements(static_cast<bf16*>(sum), static_cast<const bf16*>(term), count);
    }
}

void scale_row(void* values, DType type, float factor, std::int64_t count) {
    if (type == DType::f32) {
        scale_elements(static_cast<float*>(values), factor, count);
    } else {
        scale_elements(static_cast<bf16*>(values), factor, count);
    }
}

void sum_row(const void* a, const void* b, void* out, DType type, std::int64_t count) {
    if (type == DType::f32) {
        sum_elements(static_cast<const float*>(a), static_cast<const float*>(b), static_cast<float*>(out), count);
    } else {
        sum_elements(static_cast<const bf16*>(a), static_cast<const bf16*>(b), static_cast<bf16*>(out), count);
    }
}

}   // namespace trainer::TRAINER_ISA
