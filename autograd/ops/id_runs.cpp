#include "autograd/ops/id_runs.h"

#include <algorithm>

namespace trainer {

namespace {

// The next values of `room`.
const std::int32_t* upload(const std::vector<std::int32_t>& values, const Tensor& room, std::int64_t& used) {
    const auto count = static_cast<std::int64_t>(values.size());
    Tensor part = room.row_range(used, used + count);
    copy(Tensor::from<std::int32_t>(values, count), part);
    used += count;
    return part.data<std::int32_t>();
}

}   // namespace

IdRuns runs_of(const Tensor& ids) {
    const auto* id = ids.data<std::int32_t>();
    IdRuns runs;
    for (std::int32_t n = 0; n < ids.elements(); ++n)
        if (id[n] >= 0) runs.tokens.push_back(n);
    std::stable_sort(runs.tokens.begin(), runs.tokens.end(),
                     [&](std::int32_t a, std::int32_t b) { return id[a] < id[b]; });
    for (std::size_t i = 0; i < runs.tokens.size(); ++i) {
        if (i > 0 && id[runs.tokens[i]] == id[runs.tokens[i - 1]]) continue;
        runs.begins.push_back(static_cast<std::int32_t>(i));
        runs.ids.push_back(id[runs.tokens[i]]);
    }
    runs.begins.push_back(static_cast<std::int32_t>(runs.tokens.size()));
    return runs;
}

Tensor room_for_runs(const Tensor& ids, Place place) {
    if (!place.on_device()) return {};
    const PurposeScope purpose(Purpose::workspace);
    return Tensor::empty(3 * ids.elements() + 1, DType::i32, place);
}

DeviceRuns on_device(const IdRuns& runs, const Tensor& room) {
    const PurposeScope purpose(Purpose::workspace);
    std::int64_t used = 0;
    const std::int32_t* ids = upload(runs.ids, room, used);
    const std::int32_t* begins = upload(runs.begins, room, used);
    const std::int32_t* tokens = upload(runs.tokens, room, used);
    return {static_cast<std::int64_t>(runs.ids.size()), ids, begins, tokens};
}

}   // namespace trainer
