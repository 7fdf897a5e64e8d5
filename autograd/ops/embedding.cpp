#include "autograd/ops/embedding.h"

#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/ops/embedding_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

void add_runs(Cpu, const IdRuns& runs, const Tensor& dy, Tensor&, Tensor& gradient) {
    const auto& add = TRAINER_PICK(add_row);
    const std::int64_t columns = dy.columns();
    std::vector<float> sums(static_cast<std::size_t>(omp_get_max_threads() * columns));   // a row for each thread
#pragma omp parallel for schedule(static)
    for (std::size_t run = 0; run < runs.ids.size(); ++run) {
        float* sum = sums.data() + omp_get_thread_num() * columns;
        std::fill_n(sum, columns, 0.0f);
        for (std::int32_t i = runs.begins[run]; i < runs.begins[run + 1]; ++i)
            add(sum, DType::f32, row_of(dy, runs.tokens[static_cast<std::size_t>(i)]), dy.dtype(), columns);
        add(row_of(gradient, runs.ids[run]), DType::f32, sum, DType::f32, columns);
    }
}

}   // namespace

void add_rows_by_id(const Tensor& ids, const Tensor& dy, Tensor& gradient) {
    Tensor room = room_for_runs(ids, gradient.place());
    on(gradient.place(), [&](auto place) { add_runs(place, runs_of(ids), dy, room, gradient); });
}

Tensor embedding(const Tensor& ids, const Weight& weight, Parameter* parameter, DType dtype) {
    Tensor y = Tensor::empty({ids.elements(), weight.in_features()}, dtype, weight.place());
    weight.rows(ids, y);
    const bool trainable = parameter && parameter->trainable;
    OpCall({"embedding", parameter}, {}, trainable).made({&y}, [ids, parameter](std::span<Tensor> dy, Gradients&) {
        Tensor& gradient = parameter->gradient;
        if (!gradient.defined()) gradient = parameter->zeroed_gradient(dy[0].place());
        add_rows_by_id(ids, dy[0], gradient);
    });
    return y;
}

}   // namespace trainer
