#include "autograd/quant/row_view.h"

#include "configs/error.h"

namespace trainer {

void RowView::rows(const Tensor& ids, Tensor& y) const {
    Tensor shifted = Tensor::empty(ids.shape(), DType::i32, ids.place());
    on(ids.place(), [&](Cpu) {
        const auto* in = ids.data<std::int32_t>();
        auto* out = shifted.data<std::int32_t>();
        for (std::int64_t i = 0; i < ids.elements(); ++i) {
            check(in[i] >= 0 && in[i] < end_ - begin_, "row view: row {} of {}", in[i], end_ - begin_);
            out[i] = in[i] + static_cast<std::int32_t>(begin_);
        }
    });
    whole_.rows(shifted, y);
}

}   // namespace trainer
