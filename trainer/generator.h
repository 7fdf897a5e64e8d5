#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/causal_lm.h"

namespace trainer {

struct SamplingOptions {
    std::int64_t max_tokens = 256;
    double temperature = 0;   // 0: greedy
    double top_p = 1;
    std::int64_t top_k = 0;   // 0: all
    std::uint64_t seed = 0;
};

// Continues token sequences with a key/value cache.
class Generator {
public:
    // `model` is prepared for at least `capacity` positions, with its weights loaded. Generation ends after any of
    // `stop_ids`.
    Generator(const CausalLm& model, std::vector<std::int32_t> stop_ids, std::int64_t capacity);

    // The new ids, a stop id included. `on_token` sees each as it is made; returning false ends generation.
    // Token i is drawn with random numbers of (seed, i). Error(usage) when the prompt leaves no room.
    std::vector<std::int32_t> generate(const std::vector<std::int32_t>& prompt, const SamplingOptions& options,
                                       const std::function<bool(std::int32_t)>& on_token);

private:
    std::vector<float> logits_after(const std::vector<std::int32_t>& ids);

    const CausalLm& model_;
    std::vector<std::int32_t> stop_ids_;
    std::int64_t capacity_;
    KvCache cache_;
};

// The next id. Greedy: the largest logit, the lowest id wins ties. Else softmax at the temperature, cut to the top_k
// largest and then to the smallest set whose probability reaches top_p; `random` is uniform in [0, 1).
std::int32_t sample(const std::vector<float>& logits, const SamplingOptions& options, double random);

}   // namespace trainer
