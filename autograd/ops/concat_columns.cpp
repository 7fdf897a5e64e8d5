#include "autograd/ops/concat_columns.h"

#include <utility>

#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

Tensor concat_columns(const std::vector<Tensor>& parts) {
    check(!parts.empty(), "concat_columns: no parts");
    std::int64_t columns = 0;
    for (const Tensor& part : parts) {
        check(part.rows() == parts[0].rows() && part.dtype() == parts[0].dtype(), "concat_columns: {} {} beside {} {}",
              part.shape().text(), name_of(part.dtype()), parts[0].shape().text(), name_of(parts[0].dtype()));
        columns += part.columns();
    }
    Tensor y = Tensor::empty({parts[0].rows(), columns}, parts[0].dtype(), parts[0].place());
    bool wanted = false;
    std::int64_t begin = 0;
    for (const Tensor& part : parts) {
        Tensor out = y.column_range(begin, begin + part.columns());
        copy(part, out);
        begin += part.columns();
        wanted = wanted || part.slot() >= 0;
    }
    std::vector<Tensor> shapes;
    for (const Tensor& part : parts) shapes.push_back(part.without_value());
    OpCall({"concat_columns"}, {}, wanted)
        .made({&y}, [shapes = std::move(shapes)](std::span<Tensor> dy, Gradients& gradients) {
            std::int64_t from = 0;
            for (const Tensor& part : shapes) {
                const std::int64_t to = from + part.columns();
                if (gradients.wants(part)) {
                    Tensor dx = Tensor::empty(part.shape(), part.dtype(), dy[0].place());
                    copy(dy[0].column_range(from, to), dx);
                    gradients.add(part, dx);
                }
                from = to;
            }
        });
    return y;
}

}   // namespace trainer
