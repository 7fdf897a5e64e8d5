#include "autograd/ops/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "autograd/cpu/cross_entropy_kernels.h"
#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/ops/linear_products.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// 128 rows for 49,152 tokens: fewer load and pack W too often (64 rows are 12 % slower, 32 rows 41 %), more gain
// nothing.
std::int64_t default_chunk_rows(std::int64_t vocabulary) {
    constexpr std::int64_t elements = 6 << 20;
    return std::clamp<std::int64_t>(elements / vocabulary / 16 * 16, 16, 512);
}

// Tokens that are trained on. On meta nobody knows: all.
std::vector<std::int64_t> trained_rows(const Tensor& targets, std::int64_t vocabulary) {
    std::vector<std::int64_t> rows;
    if (targets.place().is_meta()) {
        for (std::int64_t n = 0; n < targets.elements(); ++n) rows.push_back(n);
        return rows;
    }
    const auto* target = targets.data<std::int32_t>();
    for (std::int64_t n = 0; n < targets.elements(); ++n) {
        if (target[n] == ignored_target) continue;
        check(target[n] >= 0 && target[n] < vocabulary, "cross entropy: target {} at {} is not below {}", target[n], n,
              vocabulary);
        rows.push_back(n);
    }
    return rows;
}

// out row i = in row rows[begin + i]
void gather(Cpu, const Tensor& in, const std::vector<std::int64_t>& rows, std::int64_t begin, Tensor& out) {
    const std::size_t bytes = static_cast<std::size_t>(out.columns()) * size_of(out.dtype());
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < out.rows(); ++i)
        std::memcpy(row_of(out, i), row_of(in, rows[static_cast<std::size_t>(begin + i)]), bytes);
}

struct RowSums {
    double loss = 0;
    double entropy = 0;
    bool correct = false;
};

// `gradient` (undefined: none is wanted) may be `logits`.
void softmax_rows(Cpu, Tensor& logits, const std::int32_t* targets, const std::int64_t* rows, Tensor& gradient,
                  RowSums* sums) {
    const auto& kernel = TRAINER_PICK(softmax_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < logits.rows(); ++i) {
        const bool wanted = gradient.defined();
        const SoftmaxRow row = kernel(logits.data<float>() + i * logits.stride(), logits.columns(), targets[rows[i]],
                                      wanted ? row_of(gradient, i) : nullptr, wanted ? gradient.dtype() : DType::f32);
        const double log_sum = std::log(row.sum);
        sums[i] = {.loss = log_sum - (static_cast<double>(row.target) - static_cast<double>(row.largest)),
                   .entropy = log_sum - row.weighted_sum / row.sum,
                   .correct = row.correct};
    }
}

// dx (N, C) = seed · rows of dhidden at their places, 0 elsewhere
void scatter(Cpu cpu, const std::vector<std::int64_t>& rows, Tensor& dhidden, float seed, Tensor& dx) {
    scale_rows(cpu, dhidden, seed);
    std::vector<std::int64_t> source(static_cast<std::size_t>(dx.rows()), -1);
    for (std::size_t i = 0; i < rows.size(); ++i)
        source[static_cast<std::size_t>(rows[i])] = static_cast<std::int64_t>(i);
    const std::size_t bytes = static_cast<std::size_t>(dx.columns()) * size_of(dx.dtype());
    const bool same = dx.dtype() == dhidden.dtype();
    const auto& convert = TRAINER_PICK(convert_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < dx.rows(); ++n) {
        const std::int64_t from = source[static_cast<std::size_t>(n)];
        if (from < 0) {
            std::memset(row_of(dx, n), 0, bytes);
        } else if (same) {
            std::memcpy(row_of(dx, n), row_of(dhidden, from), bytes);
        } else {
            convert(row_of(dhidden, from), dhidden.dtype(), row_of(dx, n), dx.columns());
        }
    }
}

// Gradients for a seed of 1, made in the forward pass.
struct SavedGradients {
    Tensor dhidden;   // (trained tokens, C) f32; undefined when not wanted
    std::map<Parameter*, Tensor> parameters;
};

// What one call works on.
struct Pass {
    const Tensor& hidden;
    const LinearTerms& head;
    const Tensor& targets;
    Tensor token_keys;
    std::vector<std::int64_t> rows;
    bool wants_parameters;
    SavedGradients saved;
    std::vector<RowSums> sums;

    void run_chunk(std::int64_t begin, std::int64_t end) {
        const PurposeScope purpose(Purpose::workspace);
        const Place place = hidden.place();
        const std::int64_t count = end - begin;
        Tensor x = Tensor::empty({count, hidden.columns()}, hidden.dtype(), place);
        on(place, [&](Cpu cpu) { gather(cpu, hidden, rows, begin, x); });
        Tensor keys;
        if (token_keys.defined()) {
            keys = Tensor::empty({count}, DType::u64, place);
            on(place, [&](Cpu cpu) { gather(cpu, token_keys, rows, begin, keys); });
        }
        Tensor logits = Tensor::empty({count, head.weight->out_features()}, DType::f32, place);
        const std::vector<Tensor> low_rank = linear_forward(x, head, keys, logits);

        const bool wanted = saved.dhidden.defined() || wants_parameters;
        Tensor dlogits;
        if (wanted) dlogits = x.dtype() == DType::f32 ? logits : Tensor::empty(logits.shape(), x.dtype(), place);
        on(place, [&](Cpu cpu) {
            softmax_rows(cpu, logits, targets.data<std::int32_t>(), rows.data() + begin, dlogits, sums.data() + begin);
        });
        if (!wanted) return;
        const GradientOf gradient_of = [this](Parameter& parameter) -> Tensor& { return saved.parameters[&parameter]; };
        if (saved.dhidden.defined()) {
            Tensor dx = saved.dhidden.row_range(begin, end);
            linear_backward(x, dlogits, head, keys, low_rank, gradient_of, &dx);
        } else {
            linear_backward(x, dlogits, head, keys, low_rank, gradient_of, nullptr);
        }
    }
};

}   // namespace

CrossEntropySums linear_cross_entropy(const Tensor& hidden, const LinearTerms& head, const Tensor& targets,
                                      const Layout& layout, bool training, std::int64_t chunk_rows) {
    const std::int64_t vocabulary = head.weight->out_features();
    check(hidden.columns() == head.weight->in_features() && targets.elements() == hidden.rows(),
          "cross entropy: hidden {}, {} targets, head ({}, {})", hidden.shape().text(), targets.elements(), vocabulary,
          head.weight->in_features());
    const Place place = hidden.place();
    const OpCall call(named("linear_cross_entropy", head), {&hidden}, anything_trainable(head));
    Pass pass{.hidden = hidden,
              .head = head,
              .targets = targets,
              .token_keys = training ? layout.token_keys : Tensor(),
              .rows = trained_rows(targets, vocabulary),
              .wants_parameters = call.recorded() && anything_trainable(head),
              .saved = {},
              .sums = {}};
    const auto count = static_cast<std::int64_t>(pass.rows.size());
    pass.sums.resize(pass.rows.size());
    if (call.recorded() && hidden.slot() >= 0)
        pass.saved.dhidden = Tensor::empty({count, hidden.columns()}, DType::f32, place);
    if (chunk_rows == 0) chunk_rows = default_chunk_rows(vocabulary);
    for (std::int64_t begin = 0; begin < count; begin += chunk_rows)
        pass.run_chunk(begin, std::min(begin + chunk_rows, count));

    RowSums total;
    double correct = 0;
    for (const RowSums& row : pass.sums) {
        total.loss += row.loss;
        total.entropy += row.entropy;
        correct += row.correct ? 1 : 0;
    }
    CrossEntropySums out{scalar(total.loss, place), scalar(correct, place), scalar(total.entropy, place)};
    call.made({&out.loss}, [x = hidden.without_value(), rows = std::move(pass.rows), saved = std::move(pass.saved)](
                               std::span<Tensor> seed, Gradients& gradients) mutable {
        float factor = 0;
        const Place at = seed[0].place();
        on(at, [&](Cpu) { factor = *seed[0].data<float>(); });
        for (auto& [parameter, gradient] : saved.parameters) {
            on(at, [&](Cpu cpu) { scale_rows(cpu, gradient, factor); });
            parameter->add_gradient(std::move(gradient));
        }
        if (!gradients.wants(x)) return;
        Tensor dx = Tensor::empty(x.shape(), x.dtype(), at);
        on(at, [&](Cpu cpu) { scatter(cpu, rows, saved.dhidden, factor, dx); });
        saved.dhidden = Tensor();
        gradients.add(x, std::move(dx));
    });
    return out;
}

}   // namespace trainer
