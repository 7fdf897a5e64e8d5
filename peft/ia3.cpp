#include "peft/ia3.h"

#include <algorithm>

#include "autograd/ops/scale_columns.h"
#include "configs/error.h"
#include "peft/adapter_config.h"
#include "peft/low_rank_adapter.h"
#include "peft/low_rank_values.h"
#include "peft/targets.h"
#include "peft/whole_copies.h"

namespace trainer {

namespace {

class Ia3Adapter : public Adapter {
public:
    Ia3Adapter(const Linear& linear, bool scales_input, ParameterSet& parameters)
        : scales_input_(scales_input),
          factors_(declare_trained(parameters, adapter_parameter_name(linear.name, "ia3_l"),
                                   scales_input ? Shape(1, linear.in_features) : Shape(linear.out_features, 1))) {}

    AdapterForm form() const override {
        if (!scales_input_) return OutputScale{&factors_};
        return InputTransform{[this](const Tensor& x, const ForwardContext&) { return scale_columns(x, factors_); }};
    }
    void prepare(Place place) override {
        factors_.value = Tensor::empty(factors_.shape, factors_.trained_dtype, place);
    }
    void merge_weight(Tensor& weight) const override {
        const auto* factor = factors_.value.data<float>();
        for (std::int64_t o = 0; o < weight.rows(); ++o) {
            auto* row = weight.data<float>() + o * weight.stride();
            for (std::int64_t i = 0; i < weight.columns(); ++i) row[i] *= factor[scales_input_ ? i : o];
        }
    }
    void merge_bias(Tensor& bias) const override {
        if (scales_input_) return;
        for (std::int64_t o = 0; o < bias.elements(); ++o) bias.data<float>()[o] *= factors_.value.data<float>()[o];
    }
    Parameter& factors() const { return factors_; }

private:
    bool scales_input_;
    Parameter& factors_;
};

class Ia3 : public PeftMethod {
public:
    explicit Ia3(const AdapterOptions& options) : options_(options) {}

    void attach(Declarations& model) override {
        selected_ = select_targets(model, options_);
        refuse_embeddings(selected_, "ia3");
        refuse_head(selected_, "peft.method");
        find_feedforward();
        for (const auto& parameter : model.parameters.all()) parameter->trainable = false;
        for (Linear* linear : selected_.linears) {
            auto adapter = std::make_unique<Ia3Adapter>(*linear, scales_input(*linear), model.parameters);
            factors_.push_back(&adapter->factors());
            linear->adapters.push_back(std::move(adapter));
        }
        copies_.attach(model, options_, selected_);
        trained_ = factors_;
        trained_.insert(trained_.end(), copies_.parameters().begin(), copies_.parameters().end());
    }

    void initialise(std::uint64_t) override {
        for (Parameter* factors : factors_) fill(*factors, 1);
        copies_.initialise();
    }

    const std::vector<Parameter*>& parameters() const override { return trained_; }

    AdapterConfig config() const override {
        AdapterConfig config = adapter_config(options_, selected_);
        config.type = AdapterType::ia3;
        config.feedforward = feedforward_;
        if (options_.targets.names.empty()) return config;
        // PEFT wants each of them to be among the targets, word for word
        config.feedforward.clear();
        for (const std::string& target : options_.targets.names)
            if (std::any_of(selected_.linears.begin(), selected_.linears.end(), [&](const Linear* linear) {
                    return is_match(linear->name, {{target}, ""}) && scales_input(*linear);
                }))
                config.feedforward.push_back(target);
        return config;
    }

private:
    bool scales_input(const Linear& linear) const {
        return !feedforward_.empty() && is_match(linear.name, {feedforward_, ""});
    }

    // Those entries that are adapted. One that the recipe names and is not would be without effect.
    void find_feedforward() {
        std::vector<std::string> names;
        for (const Linear* linear : selected_.linears) names.push_back(linear->name);
        const auto is_adapted = [&](const std::string& entry) {
            return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
                return is_match(name, {{entry}, ""});
            });
        };
        for (const std::string& entry : options_.feedforward) {
            if (is_adapted(entry))
                feedforward_.push_back(entry);
            else
                require(options_.feedforward == AdapterOptions().feedforward, Exit::bad_recipe,
                        "peft.feedforward: \"{}\" is none of the adapted layers, which are {}", entry,
                        join(target_suffixes(selected_)));
        }
    }

    AdapterOptions options_;
    Selection selected_;
    std::vector<std::string> feedforward_;
    std::vector<Parameter*> factors_;
    WholeCopies copies_;
    std::vector<Parameter*> trained_;
};

}   // namespace

std::unique_ptr<PeftMethod> make_ia3(const AdapterOptions& options) { return std::make_unique<Ia3>(options); }

}   // namespace trainer
