#include "tests/support/op_cases_quantised.h"

#include "autograd/ops/linear.h"
#include "autograd/quant/packed_weight.h"
#include "autograd/quant/registry.h"
#include "autograd/random.h"
#include "configs/error.h"
#include "tests/support/op_references.h"

namespace trainer::cases {

namespace {

// A weight, compressed from values that every call draws alike.
struct QuantisedWeight {
    Parameter parameter;
    std::unique_ptr<Weight> weight;

    QuantisedWeight(const std::string& format, Shape shape, DType compute, Place place) : parameter("weight", shape) {
        QuantizeOptions options;
        if (format == "fp8") options.block_size = 32;   // several blocks in small matrices
        parameter.packed = quantisations().at(format).make(shape, DType::bf16, options);
        weight = make_weight({&parameter}, compute, compute, place);
        Tensor values = Tensor::empty(shape, DType::f32, place.host());
        on(values.place(), [&](Cpu) {
            for (std::int64_t i = 0; i < shape.elements(); ++i)
                values.data<float>()[i] = 2 * uniform(philox(7, {static_cast<std::uint32_t>(i), 0, 0, 0})[0]) - 1;
        });
        parameter.packed->pack(values);
    }
};

}   // namespace

Case quantised_linear_case(const std::string& format, std::int64_t tokens, std::int64_t in, std::int64_t out) {
    return {.op = "linear",
            .label = trainer::format("linear in {} {}x{} to {}", format, tokens, in, out),
            .inputs = {{"x", {tokens, in}}, {"bias", out, true}},
            .build = [=](const World& world) -> Run {
                const auto quantised =
                    std::make_shared<QuantisedWeight>(format, Shape(out, in), world.dtype, world.place);
                const auto terms = std::make_shared<LinearTerms>();
                terms->weight = quantised->weight.get();
                terms->dense = {{0, out, &quantised->parameter, &world.parameter(0)}};
                return [=, layout = Layout()](const std::vector<Tensor>& x) {
                    (void)quantised;   // terms point to it
                    return std::vector<Tensor>{linear(x[0], *terms, layout, true)};
                };
            },
            .reference =
                [=](const std::vector<Matrix>& given) {
                    const QuantisedWeight quantised(format, Shape(out, in), DType::f32, Place::cpu());
                    const std::vector<float> values = quantised.weight->dense(DType::f32).to_vector<float>();
                    Matrix weight(out, in);
                    std::copy(values.begin(), values.end(), weight.numbers.begin());
                    Matrix y = times_transposed(given[0], weight);
                    for (std::int64_t n = 0; n < y.rows; ++n)
                        for (std::int64_t c = 0; c < y.columns; ++c) y(n, c) += given[1](c, 0);
                    return std::vector<Matrix>{y};
                },
            .bf16 = {2.5e-3, 3e-3},
            .flops = 2.0 * static_cast<double>(tokens * in * out)};
}

}   // namespace trainer::cases
