#include "peft/lora.h"

#include <algorithm>
#include <cmath>

#include "autograd/random.h"
#include "peft/targets.h"

namespace trainer {

namespace {

class LoraAdapter : public Adapter {
public:
    LoraAdapter(const Linear& linear, const LoraOptions& options, ParameterSet& parameters)
        : a_(parameters.declare(parameter_name(linear, "lora_A"), Shape(options.rank, linear.in_features))),
          b_(parameters.declare(parameter_name(linear, "lora_B"), Shape(linear.out_features, options.rank))),
          scale_(static_cast<float>(options.alpha / options.rank)),
          dropout_(static_cast<float>(options.dropout)),
          site_(site_key(linear.name, "lora_dropout")) {
        for (Parameter* parameter : {&a_, &b_}) {
            parameter->trainable = true;
            parameter->in_base = false;
        }
    }

    AdapterForm form() const override { return LowRank{&a_, &b_, scale_, dropout_, site_}; }

    void prepare(Place place) override {
        a_.value = Tensor::empty(a_.shape, DType::f32, place);
        b_.value = Tensor::empty(b_.shape, DType::f32, place);
    }

    void initialise(std::uint64_t seed) {
        const float bound = 1.0f / std::sqrt(static_cast<float>(a_.shape.columns()));
        const std::uint64_t key = random_key(seed, site_key(a_.name, "initialise"));
        on(a_.value.place(), [&](Cpu) {
            auto* a = a_.value.data<float>();
            for (std::int64_t i = 0; i < a_.shape.elements(); i += 4) {
                const auto block = static_cast<std::uint64_t>(i / 4);
                const auto words =
                    philox(key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0});
                for (std::int64_t j = i; j < std::min(i + 4, a_.shape.elements()); ++j)
                    a[j] = bound * (2 * uniform(words[static_cast<std::size_t>(j - i)]) - 1);
            }
            std::fill_n(b_.value.data<float>(), b_.shape.elements(), 0.0f);
        });
        a_.changed();
        b_.changed();
    }

    Parameter& a() const { return a_; }
    Parameter& b() const { return b_; }

private:
    static std::string parameter_name(const Linear& linear, const char* part) {
        return "base_model.model." + linear.name + "." + part + ".weight";   // as PEFT names them
    }

    Parameter& a_;
    Parameter& b_;
    float scale_;
    float dropout_;
    std::uint64_t site_;
};

class Lora : public PeftMethod {
public:
    explicit Lora(const LoraOptions& options) : options_(options) {}

    void attach(Declarations& model) override {
        const std::vector<Linear*> selected = select_targets(model.linears, options_.targets);
        for (const auto& parameter : model.parameters.all()) parameter->trainable = false;
        for (Linear* linear : selected) {
            auto adapter = std::make_unique<LoraAdapter>(*linear, options_, model.parameters);
            modules_.push_back({linear->name, &adapter->a(), &adapter->b()});
            adapters_.push_back(adapter.get());
            linear->adapter = std::move(adapter);
        }
    }

    void initialise(std::uint64_t seed) override {
        for (LoraAdapter* adapter : adapters_) adapter->initialise(seed);
    }

    const std::vector<AdaptedModule>& modules() const override { return modules_; }

private:
    LoraOptions options_;
    std::vector<LoraAdapter*> adapters_;   // owned by the slots
    std::vector<AdaptedModule> modules_;
};

}   // namespace

std::unique_ptr<PeftMethod> make_lora(const LoraOptions& options) { return std::make_unique<Lora>(options); }

}   // namespace trainer
