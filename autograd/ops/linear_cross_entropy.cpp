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
#include "autograd/cuda/rows.h"
#include "autograd/ops/linear_cross_entropy_cuda.h"
#include "autograd/ops/linear_products.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// On the CPU 128 rows for 49,152 tokens: fewer load and pack W too often (64 rows are 12 % slower, 32 rows 41 %), more
// gain nothing. A device reads W anew for each chunk and wants a block of threads a row: half a GiB of logits, 1,024
// rows for 131,072 tokens.
std::int64_t default_chunk_rows(std::int64_t vocabulary, Place place) {
    const std::int64_t elements = place.on_device() ? 128 << 20 : 6 << 20;
    return std::clamp<std::int64_t>(elements / vocabulary / 16 * 16, 16, place.on_device() ? 4096 : 512);
}

// Tokens that are trained on, and their targets; i32, on the host. On meta nobody knows: all.
struct TrainedRows {
    Tensor rows;
    Tensor targets;
};

TrainedRows trained_rows(const Tensor& targets, std::int64_t vocabulary) {
    const PurposeScope purpose(Purpose::data);
    if (targets.place().is_meta())
        return {Tensor::empty(targets.elements(), DType::i32, targets.place()),
                Tensor::empty(targets.elements(), DType::i32, targets.place())};
    std::vector<std::int32_t> rows, trained;
    const auto* target = targets.data<std::int32_t>();
    for (std::int32_t n = 0; n < targets.elements(); ++n) {
        if (target[n] == ignored_target) continue;
        check(target[n] >= 0 && target[n] < vocabulary, "cross entropy: target {} at {} is not below {}", target[n], n,
              vocabulary);
        rows.push_back(n);
        trained.push_back(target[n]);
    }
    const auto count = static_cast<std::int64_t>(rows.size());
    return {Tensor::from<std::int32_t>(rows, count), Tensor::from<std::int32_t>(trained, count)};
}

// (N) i32: which of the rows a token is, -1 where it is none; on the host.
Tensor sources_of(const Tensor& rows, std::int64_t tokens) {
    Tensor source = Tensor::empty(tokens, DType::i32, rows.place());
    if (rows.place().is_meta()) return source;
    std::fill_n(source.data<std::int32_t>(), tokens, -1);
    for (std::int32_t i = 0; i < rows.elements(); ++i) source.data<std::int32_t>()[rows.data<std::int32_t>()[i]] = i;
    return source;
}

// out row i = in row rows[i]
void gather(Cpu, const Tensor& in, const Tensor& rows, Tensor& out) {
    const std::size_t bytes = static_cast<std::size_t>(out.columns()) * size_of(out.dtype());
    const auto* row = rows.data<std::int32_t>();
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < out.rows(); ++i) std::memcpy(row_of(out, i), row_of(in, row[i]), bytes);
}

struct RowSums {
    double loss = 0;
    double entropy = 0;
    bool correct = false;
};

// `gradient` (undefined: none is wanted) may be `logits`.
void softmax_rows(Cpu, Tensor& logits, const Tensor& targets, Tensor& gradient, RowSums* sums) {
    const auto& kernel = TRAINER_PICK(softmax_row);
    const auto* target = targets.data<std::int32_t>();
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < logits.rows(); ++i) {
        const bool wanted = gradient.defined();
        const SoftmaxRow row = kernel(logits.data<float>() + i * logits.stride(), logits.columns(), target[i],
                                      wanted ? row_of(gradient, i) : nullptr, wanted ? gradient.dtype() : DType::f32);
        const double log_sum = std::log(row.sum);
        sums[i] = {.loss = log_sum - (static_cast<double>(row.target) - static_cast<double>(row.largest)),
                   .entropy = log_sum - row.weighted_sum / row.sum,
                   .correct = row.correct};
    }
}

// dx (N, C) = seed · row source[n] of dhidden, 0 where that is negative; dhidden is used up
void scatter(Cpu cpu, const Tensor& source, Tensor& dhidden, const Tensor& seed, Tensor& dx) {
    scale_rows(cpu, dhidden, seed);
    const std::size_t bytes = static_cast<std::size_t>(dx.columns()) * size_of(dx.dtype());
    const bool same = dx.dtype() == dhidden.dtype();
    const auto& convert = TRAINER_PICK(convert_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < dx.rows(); ++n) {
        const std::int32_t from = source.data<std::int32_t>()[n];
        if (from < 0) {
            std::memset(row_of(dx, n), 0, bytes);
        } else if (same) {
            std::memcpy(row_of(dx, n), row_of(dhidden, from), bytes);
        } else {
            convert(row_of(dhidden, from), dhidden.dtype(), row_of(dx, n), dx.columns());
        }
    }
}

// What gradients of logits, which are never beyond 1, are made times. In f16 a probability below 6e-5 would be short of
// bits and one below 6e-8 zero, and a large vocabulary has many of both.
float unit_of(DType dtype) { return dtype == DType::f16 ? 1024.0f : 1.0f; }

// Gradients for a seed of `unit`, made in the forward pass.
struct SavedGradients {
    float unit;
    Tensor dhidden;   // (trained tokens, C) f32; undefined when not wanted
    std::map<Parameter*, Tensor> parameters;
};

// The seed that is still to be multiplied by.
Tensor rest_of(const Tensor& seed, float unit) {
    if (unit == 1) return seed;
    Tensor rest = Tensor::empty(seed.shape(), seed.dtype(), seed.place());
    copy(seed, rest);
    on(rest.place(), [&](auto place) { scale_rows(place, rest, 1 / unit); });
    return rest;
}

// What one call works on.
struct Pass {
    const Tensor& hidden;
    const LinearTerms& head;
    Tensor token_keys;
    Tensor rows;      // (trained tokens) i32, where hidden is
    Tensor targets;   // theirs
    bool wants_parameters;
    SavedGradients saved;
    std::vector<RowSums> sums;   // of the CPU
    Tensor sums_there;           // (trained tokens, 3) of a device

    void run_chunk(std::int64_t begin, std::int64_t end) {
        const PurposeScope purpose(Purpose::workspace);
        const Place place = hidden.place();
        const std::int64_t count = end - begin;
        Tensor x = Tensor::empty({count, hidden.columns()}, hidden.dtype(), place);
        const Tensor chunk = rows.row_range(begin, end), chunk_targets = targets.row_range(begin, end);
        on(place, [&](auto where) { gather(where, hidden, chunk, x); });
        Tensor keys;
        if (token_keys.defined()) {
            keys = Tensor::empty({count}, DType::u64, place);
            on(place, [&](auto where) { gather(where, token_keys, chunk, keys); });
        }
        Tensor logits = Tensor::empty({count, head.weight->out_features()}, DType::f32, place);
        const std::vector<Tensor> low_rank = linear_forward(x, head, keys, logits);

        const bool wanted = saved.dhidden.defined() || wants_parameters;
        Tensor dlogits;
        if (wanted) dlogits = x.dtype() == DType::f32 ? logits : Tensor::empty(logits.shape(), x.dtype(), place);
        on(place, [&](auto where) {
            if constexpr (std::is_same_v<decltype(where), Cpu>) {
                softmax_rows(where, logits, chunk_targets, dlogits, sums.data() + begin);
            } else {
                Tensor chunk_sums = sums_there.row_range(begin, end);
                softmax_rows(where, logits, chunk_targets, dlogits, chunk_sums, saved.unit);
            }
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

// The sums over all rows, in their order.
CrossEntropySums add_up(const Pass& pass, Place place) {
    if (!place.on_device()) {
        RowSums total;
        double correct = 0;
        for (const RowSums& row : pass.sums) {
            total.loss += row.loss;
            total.entropy += row.entropy;
            correct += row.correct ? 1 : 0;
        }
        return {scalar(total.loss, place), scalar(correct, place), scalar(total.entropy, place)};
    }
    CrossEntropySums out{Tensor::empty(1, DType::f32, place), Tensor::empty(1, DType::f32, place),
                         Tensor::empty(1, DType::f32, place)};
    on(place, [&](auto where) {
        if constexpr (std::is_same_v<decltype(where), Cuda>)
            add_up_rows(where, pass.sums_there, out.loss, out.entropy, out.correct);
    });
    return out;
}

}   // namespace

CrossEntropySums linear_cross_entropy(const Tensor& hidden, const LinearTerms& head, const Tensor& targets,
                                      const Layout& layout, bool training, std::int64_t chunk_rows) {
    const std::int64_t vocabulary = head.weight->out_features();
    check(hidden.columns() == head.weight->in_features() && targets.elements() == hidden.rows(),
          "cross entropy: hidden {}, {} targets, head ({}, {})", hidden.shape().text(), targets.elements(), vocabulary,
          head.weight->in_features());
    const Place place = hidden.place();
    const OpCall call(named("linear_cross_entropy", head), {&hidden}, anything_trainable(head));
    const TrainedRows trained = trained_rows(targets, vocabulary);
    const std::int64_t count = trained.rows.elements();
    Pass pass{.hidden = hidden,
              .head = head,
              .token_keys = training ? layout.token_keys : Tensor(),
              .rows = on_place(trained.rows, place),
              .targets = on_place(trained.targets, place),
              .wants_parameters = call.recorded() && anything_trainable(head),
              .saved = {.unit = unit_of(hidden.dtype()), .dhidden = {}, .parameters = {}},
              .sums = {},
              .sums_there = {}};
    if (place.on_device()) {
        const PurposeScope purpose(Purpose::workspace);
        pass.sums_there = Tensor::empty({count, 3}, DType::f32, place);
    } else {
        pass.sums.resize(static_cast<std::size_t>(count));
    }
    if (call.recorded() && hidden.slot() >= 0)
        pass.saved.dhidden = Tensor::empty({count, hidden.columns()}, DType::f32, place);
    if (chunk_rows == 0) chunk_rows = default_chunk_rows(vocabulary, place);
    for (std::int64_t begin = 0; begin < count; begin += chunk_rows)
        pass.run_chunk(begin, std::min(begin + chunk_rows, count));

    CrossEntropySums out = add_up(pass, place);
    call.made({&out.loss}, [x = hidden.without_value(), rows = trained.rows, saved = std::move(pass.saved)](
                               std::span<Tensor> seed, Gradients& gradients) mutable {
        const Place at = seed[0].place();
        const Tensor rest = rest_of(seed[0], saved.unit);
        for (auto& [parameter, gradient] : saved.parameters) {
            on(at, [&](auto here) { scale_rows(here, gradient, rest); });
            parameter->add_gradient(std::move(gradient));
        }
        if (!gradients.wants(x)) return;
        Tensor dx = Tensor::empty(x.shape(), x.dtype(), at);
        const Tensor source = on_place(sources_of(rows, x.rows()), at);
        on(at, [&](auto here) { scatter(here, source, saved.dhidden, rest, dx); });
        saved.dhidden = Tensor();
        gradients.add(x, std::move(dx));
    });
    return out;
}

}   // namespace trainer
