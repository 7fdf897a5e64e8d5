#include "tests/support/op_cases.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "autograd/ops/add.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/concat_columns.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/rope.h"
#include "autograd/ops/silu_mul.h"
#include "autograd/quant/dense.h"
#include "autograd/random.h"
#include "configs/error.h"
#include "tests/support/op_cases_adapters.h"
#include "tests/support/op_cases_quantised.h"
#include "tests/support/op_references.h"

namespace trainer::cases {

namespace {

using Matrices = std::vector<Matrix>;
using Tensors = std::vector<Tensor>;
using Integers = std::vector<std::int32_t>;

std::string label(const char* form, const Shape& shape) { return format("{} {}x{}", form, shape[0], shape[1]); }

// Documents of mixed lengths with `tokens` tokens in all.
Integers lengths_of(std::int64_t tokens) {
    Integers out;
    for (std::int32_t length = 1; tokens > 0; length = 2 * length + 1) {
        out.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(length, tokens)));
        tokens -= out.back();
    }
    return out;
}

Integers positions_of(const Integers& lengths) {
    Integers out;
    for (std::int32_t length : lengths)
        for (std::int32_t p = 0; p < length; ++p) out.push_back(p);
    return out;
}

std::vector<std::uint64_t> keys_of(const Integers& lengths) {
    return World{Place::cpu(), DType::f32, {}}.layout(lengths).token_keys.to_vector<std::uint64_t>();
}

Integers random_integers(std::int64_t count, std::int32_t end, std::uint64_t key) {
    Integers out;
    for (std::int64_t i = 0; i < count; ++i)
        out.push_back(static_cast<std::int32_t>(philox(key, {static_cast<std::uint32_t>(i), 0, 0, 0})[0] %
                                                static_cast<std::uint32_t>(end)));
    return out;
}

Case add_case(Shape shape) {
    return {.op = "add",
            .label = label("add", shape),
            .inputs = {{"a", shape}, {"b", shape}},
            .build = [](const World&) -> Run { return [](const Tensors& x) { return Tensors{add(x[0], x[1])}; }; },
            .reference = [](const Matrices& in) { return Matrices{add(in[0], in[1])}; },
            .f32 = {1e-6, 1e-6}};
}

Case subtract_case(Shape shape) {
    return {.op = "add",
            .label = label("subtract", shape),
            .inputs = {{"a", shape}, {"b", shape}},
            .build = [](const World&) -> Run { return [](const Tensors& x) { return Tensors{subtract(x[0], x[1])}; }; },
            .reference =
                [](const Matrices& in) {
                    Matrix minus = in[1];
                    for (double& number : minus.numbers) number = -number;
                    return Matrices{add(in[0], minus)};
                },
            .f32 = {1e-6, 1e-6}};
}

Case concat_columns_case(std::int64_t rows, const std::vector<std::int64_t>& columns) {
    Case out{.op = "concat_columns",
             .label = format("concat_columns {} of {} rows", columns.size(), rows),
             .inputs = {},
             .build = [](const World&) -> Run { return [](const Tensors& x) { return Tensors{concat_columns(x)}; }; },
             .reference = [](const Matrices& in) { return Matrices{concat_columns(in)}; },
             .f32 = {0, 1e-6}};
    for (std::int64_t c : columns) out.inputs.push_back({"part", {rows, c}});
    return out;
}

Case dropout_case(Shape shape, float p) {
    const Integers lengths = lengths_of(shape.rows());
    constexpr std::uint64_t site = site_key("model.layers.0.mlp", "dropout");
    return {.op = "dropout",
            .label = label("dropout", shape),
            .inputs = {{"x", shape}},
            .build = [=](const World& world) -> Run {
                return [=, layout = world.layout(lengths)](const Tensors& x) {
                    return Tensors{dropout(x[0], p, site, layout)};
                };
            },
            .reference = [=, mask = dropout_mask(keys_of(lengths), shape.columns(), p, site)](
                             const Matrices& in) { return Matrices{multiply_elements(in[0], mask)}; },
            .f32 = {1e-6, 1e-6}};
}

Case rms_norm_case(Shape shape) {
    return {.op = "rms_norm",
            .label = label("rms_norm", shape),
            .inputs = {{"x", shape}, {"weight", shape.columns(), true}},
            .build = [](const World& world) -> Run {
                return
                    [&weight = world.parameter(0)](const Tensors& x) { return Tensors{rms_norm(x[0], weight, 1e-5f)}; };
            },
            .reference = [](const Matrices& in) { return Matrices{rms_norm(in[0], in[1], 1e-5)}; }};
}

Case add_rms_norm_case(Shape shape) {
    return {.op = "rms_norm",
            .label = label("add_rms_norm", shape),
            .inputs = {{"x", shape}, {"residual", shape}, {"weight", shape.columns(), true}},
            .build = [](const World& world) -> Run {
                return [&weight = world.parameter(0)](const Tensors& x) {
                    const AddNorm y = add_rms_norm(x[0], x[1], weight, 1e-5f);
                    return Tensors{y.sum, y.norm};
                };
            },
            .reference =
                [](const Matrices& in) {
                    const Matrix sum = add(in[0], in[1]);
                    return Matrices{sum, rms_norm(sum, in[2], 1e-5)};
                }};
}

Case silu_mul_case(Shape shape) {
    return {.op = "silu_mul",
            .label = label("silu_mul", shape),
            .inputs = {{"gate_up", shape, false, 8}},
            .build = [](const World&) -> Run { return [](const Tensors& x) { return Tensors{silu_mul(x[0])}; }; },
            .reference = [](const Matrices& in) { return Matrices{silu_mul(in[0])}; }};
}

Case embedding_case(std::int64_t tokens, Shape table) {
    const Integers ids = random_integers(tokens, static_cast<std::int32_t>(table.rows()), 3);
    return {.op = "embedding",
            .label = label("embedding", table),
            .inputs = {{"weight", table, true}},
            .build = [=](const World& world) -> Run {
                Parameter& parameter = world.parameter(0);
                const auto weight = std::make_shared<DenseWeight>(std::vector<Parameter*>{&parameter}, DType::f32,
                                                                  world.dtype, world.place);
                return [=, &parameter, dtype = world.dtype, ids = world.integers(ids)](const Tensors&) {
                    return Tensors{embedding(ids, *weight, &parameter, dtype)};
                };
            },
            .reference = [=](const Matrices& in) { return Matrices{pick_rows(in[0], ids)}; },
            .f32 = {0, 1e-6},
            .bf16 = {0, 1e-6}};
}

Case rope_case(std::int64_t tokens, int heads, int rotated, int head_dim) {
    const Integers lengths = lengths_of(tokens);
    std::vector<float> frequencies;
    for (int j = 0; j < head_dim / 2; ++j)
        frequencies.push_back(1.0f / std::pow(10000.0f, static_cast<float>(2 * j) / static_cast<float>(head_dim)));
    return {.op = "rope",
            .label = label("rope", {tokens, heads * head_dim}),
            .inputs = {{"x", {tokens, heads * head_dim}}},
            .build = [=](const World& world) -> Run {
                const RopeTable table = make_rope_table(frequencies, tokens, 1.25f, world.place);
                return [=, layout = world.layout(lengths)](const Tensors& x) {
                    Tensor own = Tensor::empty(x[0].shape(), x[0].dtype(), x[0].place());
                    copy(x[0], own);
                    own.set_slot(x[0].slot());
                    return Tensors{rope(std::move(own), table, layout, rotated, head_dim)};
                };
            },
            .reference =
                [=](const Matrices& in) {
                    return Matrices{rope(in[0], positions_of(lengths), frequencies, 1.25, rotated, head_dim)};
                },
            .f32 = {1e-6, 1e-6}};
}

Case attention_case(const char* form, const Integers& lengths, const AttentionShape& shape, Layout::Kind kind) {
    Integers offsets{0};
    for (std::int32_t length : lengths) offsets.push_back(offsets.back() + length);
    const Shape qkv{offsets.back(), (shape.heads + 2 * shape.kv_heads) * shape.head_dim};
    return {.op = "attention",
            .label = label(form, qkv),
            .inputs = {{"qkv", qkv, false, 2}},
            .build = [=](const World& world) -> Run {
                Layout layout = world.layout(lengths);
                layout.kind = kind;
                return [=](const Tensors& x) { return Tensors{attention(x[0], layout, shape, 0)}; };
            },
            .reference =
                [=](const Matrices& in) {
                    return Matrices{attention(in[0], offsets, kind == Layout::Kind::causal, shape)};
                },
            .f32 = {1e-5, 1e-4},
            .bf16 = {4e-3, 6e-3},
            .flops = 2.0 * static_cast<double>(qkv.rows() * qkv.rows()) * shape.heads* shape.head_dim};
}

// A dense weight with a bias.
Case linear_case(std::int64_t tokens, std::int64_t in, std::int64_t out) {
    return {.op = "linear",
            .label = format("linear {}x{} to {}", tokens, in, out),
            .inputs = {{"x", {tokens, in}}, {"weight", {out, in}, true}, {"bias", out, true}},
            .build = [=](const World& world) -> Run {
                Parameter& weight = world.parameter(0);
                const auto dense = std::make_shared<DenseWeight>(std::vector<Parameter*>{&weight}, DType::f32,
                                                                 world.dtype, world.place);
                const auto terms = std::make_shared<LinearTerms>();
                terms->weight = dense.get();
                terms->dense = {{0, out, &weight, &world.parameter(1)}};
                return [=, layout = Layout()](const Tensors& x) {
                    (void)dense;   // terms point to it
                    return Tensors{linear(x[0], *terms, layout, true)};
                };
            },
            .reference =
                [](const Matrices& given) {
                    Matrix y = times_transposed(given[0], given[1]);
                    for (std::int64_t n = 0; n < y.rows; ++n)
                        for (std::int64_t c = 0; c < y.columns; ++c) y(n, c) += given[2](c, 0);
                    return Matrices{y};
                },
            .bf16 = {2.5e-3, 3e-3},
            .flops = 2.0 * static_cast<double>(tokens * in * out)};
}

// A frozen weight whose first rows and last rows carry an adapter each, with dropout.
Case adapted_linear_case(std::int64_t tokens, std::int64_t in, std::int64_t out, std::int64_t rank, float p) {
    const Integers lengths = lengths_of(tokens);
    const std::int64_t middle = out / 3;
    const std::array<std::uint64_t, 2> sites{site_key("q_proj", "lora_dropout"), site_key("k_proj", "lora_dropout")};
    constexpr float scale = 0.5f;
    return {.op = "linear",
            .label = format("linear with adapters {}x{} to {} rank {}", tokens, in, out, rank),
            .inputs = {{"x", {tokens, in}},
                       {"A of q", {rank, in}, true},
                       {"B of q", {middle, rank}, true},
                       {"A of k", {rank, in}, true},
                       {"B of k", {out - middle, rank}, true}},
            .build = [=](const World& world) -> Run {
                const auto frozen = std::make_shared<Parameter>("weight", Shape(out, in));
                const auto dense = std::make_shared<DenseWeight>(std::vector<Parameter*>{frozen.get()}, world.dtype,
                                                                 world.dtype, world.place);
                frozen->set([&](float* values) {
                    std::fill_n(values, out * in, 0.0f);
                    for (std::int64_t i = 0; i < std::min(out, in); ++i) values[i * in + i] = 1;
                });
                const auto terms = std::make_shared<LinearTerms>();
                terms->weight = dense.get();
                terms->dense = {{0, out, frozen.get(), nullptr}};
                terms->low_rank = {{0, middle, &world.parameter(0), &world.parameter(1), scale, p, sites[0]},
                                   {middle, out, &world.parameter(2), &world.parameter(3), scale, p, sites[1]}};
                return [=, layout = world.layout(lengths)](const Tensors& x) {
                    (void)frozen;   // terms point to both
                    (void)dense;
                    return Tensors{linear(x[0], *terms, layout, true)};
                };
            },
            .reference =
                [=](const Matrices& given) {
                    Matrix y(tokens, out);
                    for (std::int64_t n = 0; n < tokens; ++n)
                        for (std::int64_t i = 0; i < std::min(out, in); ++i) y(n, i) = given[0](n, i);
                    for (std::size_t term = 0; term < 2; ++term) {
                        const Matrix mask = dropout_mask(keys_of(lengths), in, p, sites[term]);
                        const Matrix hidden = times_transposed(multiply_elements(given[0], mask), given[1 + 2 * term]);
                        const Matrix update = times_transposed(hidden, given[2 + 2 * term]);
                        for (std::int64_t n = 0; n < tokens; ++n)
                            for (std::int64_t c = 0; c < update.columns; ++c)
                                y(n, (term == 0 ? 0 : middle) + c) += static_cast<double>(scale) * update(n, c);
                    }
                    return Matrices{y};
                },
            .bf16 = {4e-3, 8e-3},
            .flops = 2.0 * static_cast<double>(tokens * in * out)};
}

// Every `ignored`-th target is ignored; 0: none.
Case linear_cross_entropy_case(std::int64_t tokens, std::int64_t columns, std::int64_t vocabulary,
                               std::int64_t chunk_rows, std::size_t ignored) {
    Integers targets = random_integers(tokens, static_cast<std::int32_t>(vocabulary), 9);
    if (ignored > 0)
        for (std::size_t n = 0; n < targets.size(); n += ignored) targets[n] = ignored_target;
    return {.op = "linear_cross_entropy",
            .label = format("linear_cross_entropy {}x{} to {} in {}{}", tokens, columns, vocabulary, chunk_rows,
                            ignored > 0 ? " some ignored" : ""),
            .inputs = {{"hidden", {tokens, columns}}, {"weight", {vocabulary, columns}, true}},
            .build = [=](const World& world) -> Run {
                Parameter& weight = world.parameter(0);
                const auto dense = std::make_shared<DenseWeight>(std::vector<Parameter*>{&weight}, DType::f32,
                                                                 world.dtype, world.place);
                const auto head = std::make_shared<LinearTerms>();
                head->weight = dense.get();
                head->dense = {{0, vocabulary, &weight, nullptr}};
                return [=, layout = Layout(), targets = world.integers(targets)](const Tensors& x) {
                    (void)dense;   // head points to it
                    const CrossEntropySums sums = linear_cross_entropy(x[0], *head, targets, layout, true, chunk_rows);
                    return Tensors{sums.loss, sums.correct, sums.entropy};
                };
            },
            .reference =
                [=](const Matrices& in) {
                    const CrossEntropy sums = cross_entropy(times_transposed(in[0], in[1]), targets);
                    Matrices out(3, Matrix(1, 1));
                    out[0].numbers = {sums.loss};
                    out[1].numbers = {sums.correct};
                    out[2].numbers = {sums.entropy};
                    return out;
                },
            .bf16 = {1e-5, 3e-3},
            .without_gradient = 2,
            .memory_by_value = ignored > 0,
            .flops = 2.0 * static_cast<double>(tokens * columns * vocabulary)};
}

}   // namespace

std::vector<Case> small_cases() {
    using enum Layout::Kind;
    return {
        add_case({5, 70}),
        subtract_case({5, 70}),
        attention_case("attention", {1, 5, 20}, {4, 2, 8, 0.35f}, causal),
        attention_case("attention both ways", {7, 12}, {2, 2, 16, 0.25f}, bidirectional),
        concat_columns_case(7, {5, 16, 1}),
        dropout_case({9, 150}, 0.25f),
        embedding_case(19, {11, 21}),
        embedding_low_rank_case(19, {11, 21}, 3),
        linear_case(9, 20, 17),
        adapted_linear_case(9, 20, 24, 4, 0.25f),
        linear_with_replaced_rows_case(9, {17, 20}, 4),
        replace_rows_case(19, {11, 21}, 3),
        block_rotation_case({9, 12}, 4),
        elementwise_update_case(9, 20, 17, 3),
        kronecker_update_case(9, {3, 4}, {6, 5}, 2),
        quantised_linear_case("nf4", 9, 20, 17),
        quantised_linear_case("int8", 9, 20, 17),
        quantised_linear_case("fp8", 9, 40, 36),
        linear_cross_entropy_case(11, 12, 29, 4, 0),
        linear_cross_entropy_case(11, 12, 29, 0, 0),
        linear_cross_entropy_case(23, 12, 29, 5, 3),
        rms_norm_case({1, 3}),
        rms_norm_case({67, 37}),
        add_rms_norm_case({66, 35}),
        rope_case(13, 3, 2, 8),
        scale_columns_case({600, 70}, true),
        scale_columns_case({5, 3}, false),
        silu_mul_case({5, 150}),
        silu_mul_case({3, 2}),
    };
}

std::vector<Case> large_cases() {
    return {
        add_case({2048, 576}),
        attention_case("attention", {512, 512, 512, 512}, {9, 3, 64, 0.125f}, Layout::Kind::causal),
        concat_columns_case(2048, {576, 192, 192}),
        dropout_case({2048, 576}, 0.1f),
        embedding_case(2048, {49152, 576}),
        embedding_low_rank_case(2048, {49152, 576}, 16),
        linear_case(2048, 576, 1536),
        adapted_linear_case(2048, 576, 960, 16, 0),
        linear_with_replaced_rows_case(2048, {1536, 576}, 64),
        replace_rows_case(2048, {49152, 576}, 64),
        block_rotation_case({2048, 576}, 32),
        elementwise_update_case(2048, 576, 1536, 16),
        kronecker_update_case(2048, {32, 24}, {48, 24}, 8),
        quantised_linear_case("nf4", 2048, 576, 1536),
        quantised_linear_case("fp8", 2048, 576, 1536),
        linear_cross_entropy_case(2048, 576, 49152, 0, 0),
        rms_norm_case({2048, 576}),
        add_rms_norm_case({2048, 576}),
        rope_case(2048, 12, 12, 64),
        scale_columns_case({2048, 576}, true),
        silu_mul_case({2048, 3072}),
    };
}

}   // namespace trainer::cases
