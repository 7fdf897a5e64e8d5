#include "autograd/ops/embedding.h"

#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

void add_rows_by_id(Cpu, const Tensor& ids, const Tensor& dy, Tensor& gradient) {
    const auto* id = ids.data<std::int32_t>();
    std::vector<std::int64_t> tokens;
    for (std::int64_t n = 0; n < ids.elements(); ++n)
        if (id[n] >= 0) tokens.push_back(n);
    std::stable_sort(tokens.begin(), tokens.end(), [&](std::int64_t a, std::int64_t b) { return id[a] < id[b]; });
    std::vector<std::size_t> begins;   // of the runs of one id
    for (std::size_t i = 0; i < tokens.size(); ++i)
        if (i == 0 || id[tokens[i]] != id[tokens[i - 1]]) begins.push_back(i);
    const auto runs = static_cast<std::int64_t>(begins.size());
    begins.push_back(tokens.size());

    const auto& add = TRAINER_PICK(add_row);
    const std::int64_t columns = dy.columns();
    std::vector<float> sums(static_cast<std::size_t>(omp_get_max_threads() * columns));   // a row for each thread
#pragma omp parallel for schedule(static)
    for (std::int64_t run = 0; run < runs; ++run) {
        float* sum = sums.data() + omp_get_thread_num() * columns;
        const std::size_t begin = begins[static_cast<std::size_t>(run)];
        const std::size_t end = begins[static_cast<std::size_t>(run) + 1];
        std::fill_n(sum, columns, 0.0f);
        for (std::size_t i = begin; i < end; ++i) add(sum, DType::f32, row_of(dy, tokens[i]), dy.dtype(), columns);
        add(row_of(gradient, id[tokens[begin]]), DType::f32, sum, DType::f32, columns);
    }
}

Tensor embedding(const Tensor& ids, const Weight& weight, Parameter* parameter, DType dtype) {
    Tensor y = Tensor::empty({ids.elements(), weight.in_features()}, dtype, weight.place());
    weight.rows(ids, y);
    const bool trainable = parameter && parameter->trainable;
    OpCall({"embedding", parameter}, {}, trainable).made({&y}, [ids, parameter](std::span<Tensor> dy, Gradients&) {
        Tensor& gradient = parameter->gradient;
        if (!gradient.defined()) gradient = parameter->zeroed_gradient(dy[0].place());
        on(gradient.place(), [&](Cpu cpu) { add_rows_by_id(cpu, ids, dy[0], gradient); });
    });
    return y;
}

}   // namespace trainer
