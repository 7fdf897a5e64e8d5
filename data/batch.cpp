#include "data/batch.h"

#include <algorithm>
#include <limits>

#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/random.h"
#include "configs/error.h"

namespace trainer {

namespace {

template <typename Visit>
void for_each_document(const std::vector<Example>& examples, const std::vector<Row>& rows,
                       std::span<const std::int32_t> chosen, Visit&& visit) {
    for (std::int32_t row : chosen)
        for (std::int32_t example : rows[static_cast<std::size_t>(row)])
            visit(examples[static_cast<std::size_t>(example)]);
}

// Offsets, longest document and count of targets: what does not need bytes.
Batch outline(const std::vector<Example>& examples, const std::vector<Row>& rows, std::span<const std::int32_t> chosen,
              Place place) {
    Batch batch;
    std::size_t total = 0;
    for_each_document(examples, rows, chosen, [&](const Example& document) { total += document.ids.size(); });
    require(total <= std::numeric_limits<std::int32_t>::max(), Exit::bad_data,
            "data: a leaf of {} tokens; lower training.micro_batch", total);
    for_each_document(examples, rows, chosen, [&](const Example& document) {
        const auto length = static_cast<std::int32_t>(document.ids.size());
        batch.layout.offsets.push_back(batch.layout.offsets.back() + length);
        batch.layout.longest = std::max(batch.layout.longest, length);
        batch.trained_tokens += document.targets();
    });
    const std::int64_t tokens = batch.layout.tokens();
    const PurposeScope purpose(Purpose::data);
    batch.ids = Tensor::empty(tokens, DType::i32, place);
    batch.targets = Tensor::empty(tokens, DType::i32, place);
    batch.layout.positions = Tensor::empty(tokens, DType::i32, place);
    batch.layout.token_keys = Tensor::empty(tokens, DType::u64, place);
    return batch;
}

}   // namespace

Batch make_batch(const std::vector<Example>& examples, const std::vector<Row>& rows,
                 std::span<const std::int32_t> chosen, std::uint64_t seed, std::int64_t epoch, Place place) {
    Batch batch = outline(examples, rows, chosen, Place::cpu());
    auto* ids = batch.ids.data<std::int32_t>();
    auto* targets = batch.targets.data<std::int32_t>();
    auto* positions = batch.layout.positions.data<std::int32_t>();
    auto* keys = batch.layout.token_keys.data<std::uint64_t>();
    std::size_t token = 0;
    for_each_document(examples, rows, chosen, [&](const Example& document) {
        const std::uint64_t document_key =
            random_key(seed, site_key("data", "token"), epoch, document.source, document.row, document.occurrence);
        for (std::size_t i = 0; i < document.ids.size(); ++i, ++token) {
            ids[token] = document.ids[i];
            const bool has_target = i + 1 < document.ids.size() && document.trained[i + 1];
            targets[token] = has_target ? document.ids[i + 1] : ignored_target;
            positions[token] = static_cast<std::int32_t>(i);
            keys[token] = random_key(document_key, i);
        }
    });
    batch.layout = on_place(batch.layout, place);
    return batch;
}

Batch make_meta_batch(const std::vector<Example>& examples, const std::vector<Row>& rows,
                      std::span<const std::int32_t> chosen, Place place) {
    Batch batch = outline(examples, rows, chosen, place.host());
    batch.layout = on_place(batch.layout, place);
    return batch;
}

}   // namespace trainer
