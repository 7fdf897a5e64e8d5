#include "tests/support/op_cases_adapters.h"

#include <algorithm>

#include "autograd/ops/block_rotation.h"
#include "autograd/ops/composed_update.h"
#include "autograd/ops/embedding_low_rank.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/replaced_rows.h"
#include "autograd/ops/scale_columns.h"
#include "autograd/quant/dense.h"
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
                     Tensor values = Tensor::empty(shape.columns(), DType::f32, world.place.host());
                     on(values.place(), [&](Cpu) {
                         for (std::int64_t c = 0; c < shape.columns(); ++c) values.data<float>()[c] = divisor_at(c);
                     });
                     divisor = on_place(values, world.place);
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

namespace {

// Every third row of the table, from the last, so that neither is the order that of the table.
std::vector<std::int32_t> replaced_ids(Shape table, std::int64_t count) {
    std::vector<std::int32_t> ids;
    for (std::int64_t k = 0; k < count; ++k) ids.push_back(static_cast<std::int32_t>(table.rows() - 1 - 3 * k));
    return ids;
}

Matrix with_replaced(Matrix table, const std::vector<std::int32_t>& ids, const Matrix& rows) {
    for (std::size_t k = 0; k < ids.size(); ++k)
        for (std::int64_t c = 0; c < table.columns; ++c) table(ids[k], c) = rows(static_cast<std::int64_t>(k), c);
    return table;
}

}   // namespace

Case replace_rows_case(std::int64_t tokens, Shape table, std::int64_t count) {
    std::vector<std::int32_t> ids;
    for (std::int64_t n = 0; n < tokens; ++n)
        ids.push_back(static_cast<std::int32_t>(philox(6, {static_cast<std::uint32_t>(n), 0, 0, 0})[0] %
                                                static_cast<std::uint32_t>(table.rows())));
    const std::vector<std::int32_t> replaced = replaced_ids(table, count);
    return {.op = "replace_rows",
            .label = format("replace_rows {} in {} of {}x{}", count, tokens, table[0], table[1]),
            .inputs = {{"base", {tokens, table.columns()}}, {"rows", {count, table.columns()}, true}},
            .build = [=](const World& world) -> Run {
                const auto other = std::make_shared<ReplacedRows>(ReplacedRows{replaced, &world.parameter(0)});
                return [=, ids = world.integers(ids)](const std::vector<Tensor>& x) {
                    return std::vector<Tensor>{replace_rows(x[0], ids, *other)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& in) {
                    Matrix y = in[0];
                    for (std::int64_t n = 0; n < y.rows; ++n)
                        for (std::size_t k = 0; k < replaced.size(); ++k)
                            if (ids[static_cast<std::size_t>(n)] == replaced[k])
                                for (std::int64_t c = 0; c < y.columns; ++c)
                                    y(n, c) = in[1](static_cast<std::int64_t>(k), c);
                    return std::vector<Matrix>{y};
                },
            .f32 = {0, 1e-6},
            .bf16 = {0, 1e-6}};
}

Case linear_with_replaced_rows_case(std::int64_t tokens, Shape table, std::int64_t count) {
    const std::vector<std::int32_t> replaced = replaced_ids(table, count);
    return {.op = "linear",
            .label = format("linear with {} replaced rows {}x{} to {}", count, tokens, table[1], table[0]),
            .inputs = {{"x", {tokens, table.columns()}}, {"rows", {count, table.columns()}, true}},
            .build = [=](const World& world) -> Run {
                const auto frozen = std::make_shared<Parameter>("weight", table);
                const auto dense = std::make_shared<DenseWeight>(std::vector<Parameter*>{frozen.get()}, world.dtype,
                                                                 world.dtype, world.place);
                frozen->set([&](float* values) {
                    std::fill_n(values, table.elements(), 0.0f);
                    for (std::int64_t i = 0; i < std::min(table.rows(), table.columns()); ++i)
                        values[i * table.columns() + i] = 1;
                });
                const auto terms = std::make_shared<LinearTerms>();
                terms->weight = dense.get();
                terms->dense = {{0, table.rows(), frozen.get(), nullptr}};
                terms->replaced = {{replaced, &world.parameter(0)}};
                return [=, layout = Layout()](const std::vector<Tensor>& x) {
                    (void)frozen;   // terms point to both
                    (void)dense;
                    return std::vector<Tensor>{linear(x[0], *terms, layout, true)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& in) {
                    Matrix weight(table.rows(), table.columns());
                    for (std::int64_t i = 0; i < std::min(table.rows(), table.columns()); ++i) weight(i, i) = 1;
                    return std::vector<Matrix>{times_transposed(in[0], with_replaced(weight, replaced, in[1]))};
                },
            .bf16 = {4e-3, 8e-3},
            .flops = 2.0 * static_cast<double>(tokens * table.rows() * table.columns())};
}

Case elementwise_update_case(std::int64_t tokens, std::int64_t in, std::int64_t out, std::int64_t rank) {
    constexpr float scale = 0.75f;
    return {.op = "composed_update",
            .label = format("composed_update elementwise {}x{} to {} rank {}", tokens, in, out, rank),
            .inputs = {{"base", {tokens, out}},
                       {"x", {tokens, in}},
                       {"a1", {out, rank}, true},
                       {"b1", {rank, in}, true},
                       {"a2", {out, rank}, true},
                       {"b2", {rank, in}, true}},
            .build = [=](const World& world) -> Run {
                ComposedMatrix matrix;
                matrix.first = {nullptr, &world.parameter(0), &world.parameter(1)};
                matrix.second = {nullptr, &world.parameter(2), &world.parameter(3)};
                matrix.scale = scale;
                return [=](const std::vector<Tensor>& x) {
                    return std::vector<Tensor>{composed_update(x[0], x[1], matrix)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& given) {
                    Matrix change(out, in);
                    for (std::int64_t o = 0; o < out; ++o)
                        for (std::int64_t i = 0; i < in; ++i) {
                            double first = 0, second = 0;
                            for (std::int64_t k = 0; k < rank; ++k) {
                                first += given[2](o, k) * given[3](k, i);
                                second += given[4](o, k) * given[5](k, i);
                            }
                            change(o, i) = static_cast<double>(scale) * first * second;
                        }
                    Matrix y = times_transposed(given[1], change);
                    for (std::size_t i = 0; i < y.numbers.size(); ++i) y.numbers[i] += given[0].numbers[i];
                    return std::vector<Matrix>{y};
                },
            .bf16 = {4e-3, 8e-3},
            .flops = 2.0 * static_cast<double>(tokens * in * out)};
}

Case kronecker_update_case(std::int64_t tokens, Shape first, Shape second, std::int64_t rank) {
    constexpr float scale = 1.25f;
    const std::int64_t out = first.rows() * second.rows(), in = first.columns() * second.columns();
    return {.op = "composed_update",
            .label = format("composed_update kronecker {}x{} to {} rank {}", tokens, in, out, rank),
            .inputs = {{"base", {tokens, out}},
                       {"x", {tokens, in}},
                       {"first", first, true},
                       {"a of second", {second.rows(), rank}, true},
                       {"b of second", {rank, second.columns()}, true}},
            .build = [=](const World& world) -> Run {
                ComposedMatrix matrix;
                matrix.how = Composition::kronecker;
                matrix.first.whole = &world.parameter(0);
                matrix.second = {nullptr, &world.parameter(1), &world.parameter(2)};
                matrix.scale = scale;
                return [=](const std::vector<Tensor>& x) {
                    return std::vector<Tensor>{composed_update(x[0], x[1], matrix)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& given) {
                    Matrix change(out, in);
                    for (std::int64_t o = 0; o < out; ++o)
                        for (std::int64_t i = 0; i < in; ++i) {
                            double inner = 0;
                            for (std::int64_t k = 0; k < rank; ++k)
                                inner += given[3](o % second.rows(), k) * given[4](k, i % second.columns());
                            change(o, i) =
                                static_cast<double>(scale) * given[2](o / second.rows(), i / second.columns()) * inner;
                        }
                    Matrix y = times_transposed(given[1], change);
                    for (std::size_t i = 0; i < y.numbers.size(); ++i) y.numbers[i] += given[0].numbers[i];
                    return std::vector<Matrix>{y};
                },
            .bf16 = {4e-3, 8e-3},
            .flops = 2.0 * static_cast<double>(tokens * in * out)};
}

Case block_rotation_case(Shape shape, std::int64_t block) {
    const std::int64_t blocks = shape.columns() / block;
    return {.op = "block_rotation",
            .label = format("block_rotation {}x{} in blocks of {}", shape[0], shape[1], block),
            .inputs = {{"x", shape}, {"upper", {blocks, block * (block - 1) / 2}, true, 0.2f}},
            .build = [=](const World& world) -> Run {
                return [=, &upper = world.parameter(0)](const std::vector<Tensor>& x) {
                    return std::vector<Tensor>{block_rotation(x[0], upper, block)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& in) {
                    Matrix y(shape.rows(), shape.columns());
                    for (std::int64_t k = 0; k < blocks; ++k) {
                        Matrix q(block, block);
                        std::int64_t at = 0;
                        for (std::int64_t i = 0; i < block; ++i)
                            for (std::int64_t j = i + 1; j < block; ++j, ++at) {
                                q(i, j) = in[1](k, at);
                                q(j, i) = -in[1](k, at);
                            }
                        Matrix x(shape.rows(), block);   // and x Q, x Q², …
                        for (std::int64_t n = 0; n < shape.rows(); ++n)
                            for (std::int64_t i = 0; i < block; ++i) x(n, i) = in[0](n, k * block + i);
                        for (const double factor : {1.0, 2.0, 2.0, 2.0, 1.0}) {
                            Matrix next(shape.rows(), block);
                            for (std::int64_t n = 0; n < shape.rows(); ++n)
                                for (std::int64_t j = 0; j < block; ++j) {
                                    y(n, k * block + j) += factor * x(n, j);
                                    for (std::int64_t i = 0; i < block; ++i) next(n, j) += x(n, i) * q(i, j);
                                }
                            x = next;
                        }
                    }
                    return std::vector<Matrix>{y};
                },
            .bf16 = {4e-3, 8e-3}};
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
