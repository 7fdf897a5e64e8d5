#include "trainer/verify/prompt_logits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>

#include "autograd/ops/linear.h"
#include "configs/error.h"
#include "configs/file.h"
#include "hub/load.h"
#include "models/registry.h"
#include "peft/saved_adapter.h"
#include "trainer/interrupt.h"

namespace trainer {

namespace {

constexpr std::size_t most_tokens = 64, most_prompts = 64;

constexpr const char* own_prompts[] = {
    "The lighthouse keeper climbed the stairs every evening before the ships came in.",
    "Water boils at a lower temperature on a mountain because",
    "Question: What is seventeen plus twenty-five?\nAnswer:",
    "def mean(values):\n    return sum(values) /",
    "Dear Ms. Okafor, thank you for your letter of 3 March about the delivery.",
    "Le marché ouvre à huit heures, et les premiers clients arrivent",
};

std::vector<std::string> lines_of(const std::string& file) {
    std::vector<std::string> lines;
    std::istringstream text(read_text_file(file));
    for (std::string line; std::getline(text, line);)
        if (line.find_first_not_of(" \t\r") != std::string::npos) lines.push_back(line);
    require(!lines.empty() && lines.size() <= most_prompts, Exit::bad_data,
            "--prompts: {} has {} lines with text, expected 1 to {}, one prompt a line", file, lines.size(),
            most_prompts);
    return lines;
}

Tensor logits_of(const CausalLm& model, const std::vector<std::int32_t>& ids) {
    require(!InterruptGuard::requested(), Exit::interrupted, "interrupted");
    const auto count = static_cast<std::int32_t>(ids.size());
    std::vector<std::int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    Layout layout;
    layout.offsets = {0, count};
    layout.positions = Tensor::from<std::int32_t>(positions, count);
    layout.longest = count;
    const ForwardContext context{layout};
    const Tensor hidden = model.hidden(model.embed(Tensor::from<std::int32_t>(ids, count), context), context);
    return linear(hidden, model.head(context), layout, false);
}

std::int64_t likeliest(const float* row, std::int64_t size) { return std::max_element(row, row + size) - row; }

}   // namespace

TokenSequences held_out_prompts(const std::string& file, const Tokenizer& tokenizer) {
    const std::vector<std::string> texts =
        file.empty() ? std::vector<std::string>(std::begin(own_prompts), std::end(own_prompts)) : lines_of(file);
    TokenSequences prompts;
    for (const std::string& text : texts) {
        std::vector<std::int32_t> ids = tokenizer.ids(text, true);
        ids.resize(std::min(ids.size(), most_tokens));
        if (!ids.empty()) prompts.push_back(std::move(ids));
    }
    return prompts;
}

std::vector<Tensor> prompt_logits(const BaseModel& base, const std::string& adapter, const TokenSequences& prompts) {
    const auto model = make_causal_lm(base.snapshot.config);
    std::optional<SavedAdapter> saved;
    if (!adapter.empty()) saved.emplace(adapter).attach(model->declarations());
    std::size_t longest = 1;
    for (const auto& ids : prompts) longest = std::max(longest, ids.size());
    model->prepare(Place::cpu(), DType::f32, static_cast<std::int64_t>(longest));
    load_parameters(model->parameters(), *base.snapshot.weights, base.snapshot.base);
    if (saved) saved->initialise();
    std::vector<Tensor> logits;
    for (const auto& ids : prompts) logits.push_back(logits_of(*model, ids));
    return logits;
}

LogitGap compare_logits(const std::vector<Tensor>& reference, const std::vector<Tensor>& other) {
    LogitGap gap;
    const auto infinity = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < reference.size(); ++i) {
        check(reference[i].shape() == other.at(i).shape(), "compare_logits: shapes differ");
        const std::int64_t size = reference[i].columns();
        for (std::int64_t row = 0; row < reference[i].rows(); ++row) {
            const auto* a = reference[i].data<float>() + row * reference[i].stride();
            const auto* b = other[i].data<float>() + row * other[i].stride();
            double largest = 0;
            for (std::int64_t k = 0; k < size; ++k) {
                const double difference = std::abs(static_cast<double>(a[k]) - static_cast<double>(b[k]));
                largest = std::max(largest, std::isfinite(difference) ? difference : infinity);
            }
            const auto [low, high] = std::minmax_element(a, a + size);
            const double range = static_cast<double>(*high) - static_cast<double>(*low);
            gap.largest = std::max(gap.largest, largest);
            if (largest > 0) gap.share = std::max(gap.share, range > 0 ? largest / range : infinity);
            gap.same_likeliest += likeliest(a, size) == likeliest(b, size);
            ++gap.positions;
        }
    }
    return gap;
}

}   // namespace trainer
