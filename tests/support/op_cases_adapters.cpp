#include "tests/support/op_cases_adapters.h"

#include "autograd/ops/embedding_low_rank.h"
#include "autograd/ops/scale_columns.h"
#include "autograd/random.h"
#include "configs/error.h"
#include "tests/support/op_references.h"

namespace trainer::cases {

Case scale_columns_case(Shape shape, bool divided) {
    const auto divisor_at = [](std::int64_t c) { return 0.5f + static_cast<float>(c % 7); };
    Case out{.op = "scale_columns",
             .label = format("scale_columns {}x{}{}", shape[0], shape[1], divided ? " divided, with bias" : ""),
             .inputs = {{"x", shape}, {"scale", Shape(shape.columns(), 1), true}},
             .build = [=](const World& world) -> Run {
                 Tensor divisor;
                 if (divided) {
                     divisor = Tensor::empty(shape.columns(), DType::f32, world.place);
                     on(world.place, [&](Cpu) {
                         for (std::int64_t c = 0; c < shape.columns(); ++c) divisor.data<float>()[c] = divisor_at(c);
                     });
                 }
                 Parameter* bias = divided ? &world.parameter(1) : nullptr;
                 return [&scale = world.parameter(0), divisor, bias](const std::vector<Tensor>& x) {
                     return std::vector<Tensor>{scale_columns(x[0], scale, divisor, bias)};
                 };
             },
             .reference =
                 [=](const std::vector<Matrix>& in) {
                     Matrix y = in[0];
                     for (std::int64_t n = 0; n < y.rows; ++n)
                         for (std::int64_t c = 0; c < y.columns; ++c)
                             y(n, c) = divided
                                           ? y(n, c) * in[1](c, 0) / static_cast<double>(divisor_at(c)) + in[2](c, 0)
                                           : y(n, c) * in[1](c, 0);
                     return std::vector<Matrix>{y};
                 }};
    if (divided) out.inputs.push_back({"bias", shape.columns(), true});
    return out;
}

Case embedding_low_rank_case(std::int64_t tokens, Shape table, std::int64_t rank) {
    constexpr float scale = 1.5f;
    std::vector<std::int32_t> ids;
    for (std::int64_t n = 0; n < tokens; ++n)
        ids.push_back(static_cast<std::int32_t>(philox(5, {static_cast<std::uint32_t>(n), 0, 0, 0})[0] %
                                                static_cast<std::uint32_t>(table.rows())));
    return {.op = "embedding_low_rank",
            .label = format("embedding_low_rank {} of {}x{} rank {}", tokens, table[0], table[1], rank),
            .inputs = {{"base", {tokens, table.columns()}},
                       {"A", {rank, table.rows()}, true},
                       {"B", {table.columns(), rank}, true}},
            .build = [=](const World& world) -> Run {
                return [&a = world.parameter(0), &b = world.parameter(1),
                        ids = world.integers(ids)](const std::vector<Tensor>& x) {
                    return std::vector<Tensor>{embedding_low_rank(x[0], ids, a, b, scale)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& in) {
                    Matrix y = in[0];
                    for (std::int64_t n = 0; n < y.rows; ++n)
                        for (std::int64_t c = 0; c < y.columns; ++c)
                            for (std::int64_t k = 0; k < rank; ++k)
                                y(n, c) += static_cast<double>(scale) * in[1](k, ids[static_cast<std::size_t>(n)]) *
                                           in[2](c, k);
                    return std::vector<Matrix>{y};
                }};
}

}   // namespace trainer::cases
