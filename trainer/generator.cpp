#include "trainer/generator.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/ops/linear.h"
#include "autograd/random.h"
#include "configs/error.h"

namespace trainer {

std::int32_t sample(const std::vector<float>& logits, const SamplingOptions& options, double random) {
    if (options.temperature == 0)
        return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    std::vector<std::int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::size_t kept = order.size();
    if (options.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options.top_k));
    const auto larger = [&](std::int32_t a, std::int32_t b) {
        const float left = logits[static_cast<std::size_t>(a)];
        const float right = logits[static_cast<std::size_t>(b)];
        return left != right ? left > right : a < b;
    };
    if (kept == order.size())   // all of them: several times as fast as a partial sort
        std::sort(order.begin(), order.end(), larger);
    else
        std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), larger);
    std::vector<double> weights(kept);
    const double top = logits[static_cast<std::size_t>(order[0])];
    for (std::size_t i = 0; i < kept; ++i)
        weights[i] = std::exp((logits[static_cast<std::size_t>(order[i])] - top) / options.temperature);
    double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (options.top_p < 1) {
        double reached = 0;
        std::size_t count = 0;
        while (count < kept && reached < options.top_p * total) reached += weights[count++];
        kept = std::max<std::size_t>(count, 1);
        total = std::accumulate(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(kept), 0.0);
    }
    double left = random * total;
    for (std::size_t i = 0; i < kept; ++i) {
        left -= weights[i];
        if (left < 0) return order[i];
    }
    return order[kept - 1];
}

Generator::Generator(const CausalLm& model, std::vector<std::int32_t> stop_ids, std::int64_t capacity)
    : model_(model), stop_ids_(std::move(stop_ids)), capacity_(capacity) {
    const CausalLmShape& shape = model.shape();
    const Shape rows(capacity, std::int64_t{shape.kv_heads} * shape.head_dim);
    cache_.capacity = capacity;
    for (int i = 0; i < shape.layers; ++i) {
        cache_.keys.push_back(Tensor::empty(rows, model.compute_dtype()));
        cache_.values.push_back(Tensor::empty(rows, model.compute_dtype()));
    }
}

std::vector<float> Generator::logits_after(const std::vector<std::int32_t>& ids) {
    const auto count = static_cast<std::int32_t>(ids.size());
    std::vector<std::int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(cache_.length));
    Layout layout;
    layout.offsets = {0, count};
    layout.positions = Tensor::from<std::int32_t>(positions, count);
    layout.longest = count;
    layout.cache = &cache_;
    const ForwardContext context{layout};
    const Tensor hidden = model_.hidden(model_.embed(Tensor::from<std::int32_t>(ids, count), context), context);
    cache_.length += count;

    Layout last;
    last.offsets = {0, 1};
    const Tensor logits = linear(hidden.row_range(count - 1, count), model_.head(context), last, false);   // (1, V)
    return converted(logits, DType::f32).to_vector<float>();
}

std::vector<std::int32_t> Generator::generate(const std::vector<std::int32_t>& prompt, const SamplingOptions& options,
                                              const std::function<bool(std::int32_t)>& on_token) {
    require(!prompt.empty(), Exit::usage, "the prompt is empty");
    require(static_cast<std::int64_t>(prompt.size()) < capacity_, Exit::usage,
            "the prompt has {} tokens, the model has room for {}", prompt.size(), capacity_);
    cache_.length = 0;
    std::vector<std::int32_t> out;
    std::vector<float> logits = logits_after(prompt);
    while (static_cast<std::int64_t>(out.size()) < options.max_tokens) {
        const auto word = philox(options.seed, {static_cast<std::uint32_t>(out.size()), 0, 0, 0})[0];
        const std::int32_t id = sample(logits, options, uniform(word));
        out.push_back(id);
        const bool stop = std::find(stop_ids_.begin(), stop_ids_.end(), id) != stop_ids_.end();
        if (!on_token(id) || stop || cache_.length >= capacity_) break;
        if (static_cast<std::int64_t>(out.size()) < options.max_tokens) logits = logits_after({id});
    }
    return out;
}

}   // namespace trainer
