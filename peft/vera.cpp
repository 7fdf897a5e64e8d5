#include "peft/vera.h"

#include <algorithm>
#include <cmath>

#include "autograd/cpu/gemm.h"
#include "autograd/ops/add.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/scale_columns.h"
#include "autograd/random.h"
#include "configs/error.h"
#include "peft/adapter_config.h"
#include "peft/low_rank_adapter.h"
#include "peft/low_rank_values.h"
#include "peft/targets.h"
#include "peft/whole_copies.h"

namespace trainer {

namespace {

// The first rows and columns of a frozen matrix, as a weight.
class Corner : public Weight {
public:
    Corner(Parameter& whole, std::int64_t rows, std::int64_t columns) : whole_(whole), rows_(rows), columns_(columns) {}

    std::int64_t out_features() const override { return rows_; }
    std::int64_t in_features() const override { return columns_; }
    Place place() const override { return whole_.value.place(); }
    void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y,
                      bool accumulate) const override {
        const Tensor part = in(x.dtype()).row_range(begin, end);
        product(y, x, false, part, true, accumulate);
    }
    void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                         bool accumulate) const override {
        const Tensor part = in(dy.dtype()).row_range(begin, end);
        product(dx, dy, false, part, false, accumulate);
    }
    void rows(const Tensor&, Tensor&) const override { fail(Exit::internal, "{}: rows of a corner", whole_.name); }
    Tensor dense(DType dtype) const override {
        Tensor out = Tensor::empty({rows_, columns_}, dtype, place());
        copy(in(dtype), out);
        return out;
    }
    std::size_t bytes() const override { return 0; }   // counted by the whole
    std::uint64_t version() const override { return whole_.version(); }

private:
    Tensor in(DType dtype) const { return whole_.in(dtype).row_range(0, rows_).column_range(0, columns_); }

    Parameter& whole_;
    std::int64_t rows_;
    std::int64_t columns_;
};

struct Projection {
    Parameter* a = nullptr;   // (r, the most inputs)
    Parameter* b = nullptr;   // (the most outputs, r)
};

// weight (out, in) = rows of it times `factors`
void scale_rows_by(Tensor& weight, const Parameter& factors) {
    for (std::int64_t o = 0; o < weight.rows(); ++o) {
        auto* row = weight.data<float>() + o * weight.stride();
        for (std::int64_t i = 0; i < weight.columns(); ++i) row[i] *= factors.value.data<float>()[o];
    }
}

class VeraAdapter : public Adapter {
public:
    VeraAdapter(const Linear& linear, const Projection& shared, float dropout, ParameterSet& parameters)
        : shared_(shared),
          dropout_(dropout),
          site_(site_key(linear.name, "vera_dropout")),
          a_(*shared.a, shared.a->shape.rows(), linear.in_features),
          b_(*shared.b, linear.out_features, shared.b->shape.columns()),
          factors_b_(declare_trained(parameters, adapter_parameter_name(linear.name, "vera_lambda_b"),
                                     Shape(linear.out_features))),
          factors_d_(declare_trained(parameters, adapter_parameter_name(linear.name, "vera_lambda_d"),
                                     Shape(shared.a->shape.rows()))) {
        terms_a_.weight = &a_;
        terms_b_.weight = &b_;
    }

    AdapterForm form() const override {
        return General{[this](const Tensor& x, const LinearTerms& bare, const ForwardContext& context) {
            const Layout& layout = context.layout;
            const Tensor dropped = context.training ? dropout(x, dropout_, site_, layout) : x;
            const Tensor inner = scale_columns(linear(dropped, terms_a_, layout, false), factors_d_);   // (N, r)
            const Tensor update = scale_columns(linear(inner, terms_b_, layout, false), factors_b_);    // (N, out)
            return add(linear(x, bare, layout, context.training), update);
        }};
    }
    void prepare(Place place) override {
        for (Parameter* part : {shared_.a, shared_.b})   // by the first of the layers
            if (!part->value.defined() || part->value.place() != place)
                part->value = Tensor::empty(part->shape, DType::f32, place);
        for (Parameter* part : trained()) part->value = Tensor::empty(part->shape, part->trained_dtype, place);
    }
    void merge_weight(Tensor& weight) const override {
        Tensor a = a_.dense(DType::f32), b = b_.dense(DType::f32);
        scale_rows_by(a, factors_d_);
        scale_rows_by(b, factors_b_);
        add_product(weight, b, a, 1);
    }
    void initialise(float first) {
        fill(factors_b_, 0);
        fill(factors_d_, first);
    }
    std::vector<Parameter*> trained() const { return {&factors_b_, &factors_d_}; }

private:
    Projection shared_;
    float dropout_;
    std::uint64_t site_;
    Corner a_;
    Corner b_;
    LinearTerms terms_a_;
    LinearTerms terms_b_;
    Parameter& factors_b_;
    Parameter& factors_d_;
};

class Vera : public PeftMethod {
public:
    explicit Vera(const AdapterOptions& options) : options_(options) {}

    void attach(Declarations& model) override {
        selected_ = select_targets(model, options_);
        refuse_embeddings(selected_, "vera");
        refuse_head(selected_, "peft.method");
        for (const auto& parameter : model.parameters.all()) parameter->trainable = false;
        declare_projection(model.parameters);
        for (Linear* linear : selected_.linears) {
            auto adapter =
                std::make_unique<VeraAdapter>(*linear, shared_, static_cast<float>(options_.dropout), model.parameters);
            adapters_.push_back(adapter.get());
            const std::vector<Parameter*> own = adapter->trained();
            trained_.insert(trained_.end(), own.begin(), own.end());
            linear->adapters.push_back(std::move(adapter));
        }
        copies_.attach(model, options_, selected_);
        trained_.insert(trained_.end(), copies_.parameters().begin(), copies_.parameters().end());
    }

    void initialise(std::uint64_t seed) override {
        for (Parameter* matrix : frozen())
            fill_uniform(*matrix, std::sqrt(6.0f / static_cast<float>(matrix->shape.columns())), seed);
        for (VeraAdapter* adapter : adapters_) adapter->initialise(static_cast<float>(options_.d_initial));
        copies_.initialise();
    }

    const std::vector<Parameter*>& parameters() const override { return trained_; }
    std::vector<Parameter*> frozen() const override { return {shared_.a, shared_.b}; }

    AdapterConfig config() const override {
        AdapterConfig config = adapter_config(options_, selected_);
        config.type = AdapterType::vera;
        config.d_initial = options_.d_initial;
        return config;
    }

private:
    void declare_projection(ParameterSet& parameters) {
        std::int64_t in = 0, out = 0;
        for (const Linear* linear : selected_.linears) {
            in = std::max(in, linear->in_features);
            out = std::max(out, linear->out_features);
        }
        shared_.a = &declare_trained(parameters, std::string(vera_a), Shape(options_.rank, in));
        shared_.b = &declare_trained(parameters, std::string(vera_b), Shape(out, options_.rank));
        for (Parameter* matrix : frozen()) matrix->trainable = false;
    }

    AdapterOptions options_;
    Selection selected_;
    Projection shared_;
    std::vector<VeraAdapter*> adapters_;   // owned by the slots
    WholeCopies copies_;
    std::vector<Parameter*> trained_;
};

}   // namespace

std::unique_ptr<PeftMethod> make_vera(const AdapterOptions& options) { return std::make_unique<Vera>(options); }

}   // namespace trainer
