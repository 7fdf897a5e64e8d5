#include "peft/lycoris.h"

#include <algorithm>
#include <cmath>

#include "autograd/cpu/rows.h"
#include "autograd/ops/composed_update.h"
#include "peft/adapter_config.h"
#include "peft/lora.h"
#include "peft/low_rank_adapter.h"
#include "peft/low_rank_values.h"
#include "peft/targets.h"
#include "peft/whole_copies.h"

namespace trainer {

namespace {

// Declares the matrices of one layer under their names.
using Compose = ComposedMatrix (*)(const Linear& linear, std::int64_t rank, const AdapterOptions& options,
                                   ParameterSet& parameters);

std::vector<Parameter*> parameters_of(const ComposedMatrix& matrix) {
    std::vector<Parameter*> all;
    for (const FactoredMatrix* part : {&matrix.first, &matrix.second})
        for (Parameter* parameter : {part->whole, part->a, part->b})
            if (parameter) all.push_back(parameter);
    return all;
}

class ComposedAdapter : public Adapter {
public:
    ComposedAdapter(const ComposedMatrix& matrix, Parameter* zero) : matrix_(matrix), zero_(zero) {}

    AdapterForm form() const override {
        return General{[this](const Tensor& x, const LinearTerms& bare, const ForwardContext& context) {
            return composed_update(linear(x, bare, context.layout, context.training), x, matrix_);
        }};
    }
    void prepare(Place place) override {
        for (Parameter* part : parameters_of(matrix_))
            part->value = Tensor::empty(part->shape, part->trained_dtype, place);
    }
    void merge_weight(Tensor& weight) const override { add_rows(Cpu{}, weight, composed_value(matrix_, DType::f32)); }
    void initialise(std::uint64_t seed) {
        for (Parameter* part : parameters_of(matrix_))
            if (part == zero_)
                fill(*part, 0);
            else
                fill_uniform(*part, 1.0f / std::sqrt(static_cast<float>(part->shape.columns())), seed);
    }

private:
    ComposedMatrix matrix_;
    Parameter* zero_;   // the one that begins at zero
};

Parameter* declare(ParameterSet& parameters, const Linear& linear, const char* part, Shape shape) {
    return &declare_trained(parameters, adapter_parameter_name(linear.name, part), shape);
}

ComposedMatrix hadamard(const Linear& linear, std::int64_t rank, const AdapterOptions&, ParameterSet& parameters) {
    const Shape a(linear.out_features, rank), b(rank, linear.in_features);
    ComposedMatrix matrix;
    matrix.first = {nullptr, declare(parameters, linear, "hada_w1_a", a), declare(parameters, linear, "hada_w1_b", b)};
    matrix.second = {nullptr, declare(parameters, linear, "hada_w2_a", a), declare(parameters, linear, "hada_w2_b", b)};
    return matrix;
}

ComposedMatrix kronecker(const Linear& linear, std::int64_t rank, const AdapterOptions& options,
                         ParameterSet& parameters) {
    const auto [out_first, out_second] = split_dimension(linear.out_features, options.decompose_factor);
    const auto [in_first, in_second] = split_dimension(linear.in_features, options.decompose_factor);
    const auto is_product = [rank](std::int64_t rows, std::int64_t columns) {
        return 2 * rank < std::max(rows, columns);
    };
    ComposedMatrix matrix;
    matrix.how = Composition::kronecker;
    if (options.decompose_both && is_product(out_first, in_first))
        matrix.first = {nullptr, declare(parameters, linear, "lokr_w1_a", Shape(out_first, rank)),
                        declare(parameters, linear, "lokr_w1_b", Shape(rank, in_first))};
    else
        matrix.first.whole = declare(parameters, linear, "lokr_w1", Shape(out_first, in_first));
    if (is_product(out_second, in_second))
        matrix.second = {nullptr, declare(parameters, linear, "lokr_w2_a", Shape(out_second, rank)),
                         declare(parameters, linear, "lokr_w2_b", Shape(rank, in_second))};
    else
        matrix.second.whole = declare(parameters, linear, "lokr_w2", Shape(out_second, in_second));
    return matrix;
}

class Lycoris : public PeftMethod {
public:
    Lycoris(AdapterType type, Compose compose, const AdapterOptions& options)
        : type_(type), compose_(compose), options_(options) {}

    void attach(Declarations& model) override {
        selected_ = select_targets(model, options_);
        refuse_embeddings(selected_, adapter_type_name(type_));
        refuse_head(selected_, "peft.method");
        check_patterns(options_, selected_);
        for (const auto& parameter : model.parameters.all()) parameter->trainable = false;
        for (Linear* linear : selected_.linears) attach(*linear, model.parameters);
        copies_.attach(model, options_, selected_);
        trained_.insert(trained_.end(), copies_.parameters().begin(), copies_.parameters().end());
    }

    void initialise(std::uint64_t seed) override {
        for (ComposedAdapter* adapter : adapters_) adapter->initialise(seed);
        copies_.initialise();
    }

    const std::vector<Parameter*>& parameters() const override { return trained_; }

    AdapterConfig config() const override {
        AdapterConfig config = adapter_config(options_, selected_);
        config.type = type_;
        return config;
    }

private:
    void attach(Linear& linear, ParameterSet& parameters) {
        const std::int64_t rank = by_pattern(options_.rank_pattern, linear.name, options_.rank);
        ComposedMatrix matrix = compose_(linear, rank, options_, parameters);
        matrix.scale = static_cast<float>(low_rank_scale(options_, linear.name, rank));
        const std::vector<Parameter*> own = parameters_of(matrix);
        trained_.insert(trained_.end(), own.begin(), own.end());
        // the last factor of LoHa, the first of LoKr
        auto adapter = std::make_unique<ComposedAdapter>(matrix, type_ == AdapterType::loha ? own.back() : own.front());
        adapters_.push_back(adapter.get());
        linear.adapters.push_back(std::move(adapter));
    }

    AdapterType type_;
    Compose compose_;
    AdapterOptions options_;
    Selection selected_;
    std::vector<ComposedAdapter*> adapters_;   // owned by the slots
    WholeCopies copies_;
    std::vector<Parameter*> trained_;
};

}   // namespace

std::unique_ptr<PeftMethod> make_loha(const AdapterOptions& options) {
    return std::make_unique<Lycoris>(AdapterType::loha, hadamard, options);
}

std::unique_ptr<PeftMethod> make_lokr(const AdapterOptions& options) {
    return std::make_unique<Lycoris>(AdapterType::lokr, kronecker, options);
}

std::pair<std::int64_t, std::int64_t> split_dimension(std::int64_t size, std::int64_t factor) {
    if (factor > 0 && size % factor == 0) return {factor, size / factor};
    const std::int64_t most = factor == -1 ? size : factor;
    std::int64_t small = 1;
    for (std::int64_t next = 2; next <= most && next * next <= size; ++next)
        if (size % next == 0) small = next;
    return {small, size / small};
}

}   // namespace trainer
