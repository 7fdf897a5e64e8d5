#include "autograd/layout.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace trainer {

namespace {

Tensor spans_of(const std::vector<std::int32_t>& offsets, Place place) {
    std::vector<std::int32_t> spans;
    for (std::size_t document = 0; document + 1 < offsets.size(); ++document)
        for (std::int32_t token = offsets[document]; token < offsets[document + 1]; ++token) {
            spans.push_back(offsets[document]);
            spans.push_back(offsets[document + 1]);
        }
    return on_place(Tensor::from<std::int32_t>(spans, {offsets.back(), 2}), place);
}

std::vector<std::int32_t> documents_by_length(const Layout& layout) {
    std::vector<std::int32_t> out(static_cast<std::size_t>(layout.documents()));
    std::iota(out.begin(), out.end(), 0);
    std::stable_sort(out.begin(), out.end(), [&](std::int32_t a, std::int32_t b) {
        return length_class(layout.tokens_of(a)) < length_class(layout.tokens_of(b));
    });
    return out;
}

Tensor document_table_of(const Layout& layout, Place place) {
    std::vector<std::int32_t> table;
    const auto add = [&](std::int64_t document) {
        table.push_back(layout.offsets[static_cast<std::size_t>(document)]);
        table.push_back(static_cast<std::int32_t>(layout.tokens_of(document)));
    };
    for (std::int64_t document = 0; document < layout.documents(); ++document) add(document);
    for (const std::int32_t document : layout.by_length) add(document);
    return on_place(Tensor::from<std::int32_t>(table, {2 * layout.documents(), 2}), place);
}

}   // namespace

int length_class(std::int64_t tokens) {
    const std::int64_t blocks = std::max<std::int64_t>((tokens + 127) / 128, 1);
    return std::bit_width(static_cast<std::uint64_t>(blocks - 1));
}

Layout on_place(const Layout& layout, Place place) {
    Layout out = layout;
    const PurposeScope purpose(Purpose::data);
    out.positions = on_place(layout.positions, place);
    out.token_keys = on_place(layout.token_keys, place);
    if (!place.on_device()) return out;
    out.by_length = documents_by_length(layout);
    if (place.is_meta()) {
        out.spans = Tensor::empty({layout.tokens(), 2}, DType::i32, place);
        out.document_table = Tensor::empty({2 * layout.documents(), 2}, DType::i32, place);
    } else {
        out.spans = spans_of(layout.offsets, place);
        out.document_table = document_table_of(out, place);
    }
    return out;
}

}   // namespace trainer
