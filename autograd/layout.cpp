#include "autograd/layout.h"

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

}   // namespace

Layout on_place(const Layout& layout, Place place) {
    Layout out = layout;
    const PurposeScope purpose(Purpose::data);
    out.positions = on_place(layout.positions, place);
    out.token_keys = on_place(layout.token_keys, place);
    if (place.is_meta() && place.on_device())
        out.spans = Tensor::empty({layout.tokens(), 2}, DType::i32, place);
    else if (place.is_cuda())
        out.spans = spans_of(layout.offsets, place);
    return out;
}

}   // namespace trainer
