#include "peft/adapters_beside.h"

#include <algorithm>
#include <utility>

#include "configs/error.h"

namespace trainer {

namespace {

class BesideOthers : public PeftMethod {
public:
    BesideOthers(std::unique_ptr<PeftMethod> trained, std::string name, const std::vector<NamedAdapter>& others)
        : trained_(std::move(trained)), name_(std::move(name)), others_(others) {}

    void attach(Declarations& model) override {
        others_.attach(model);
        trained_->attach(model);
        std::vector<std::string> names = others_.names();
        std::vector<AdapterConfig> configs = others_.configs();
        names.push_back(name_);
        configs.push_back(trained_->config());
        check_together(names, configs, Exit::bad_recipe, "peft.beside");
    }
    void initialise(std::uint64_t seed) override {
        others_.initialise();
        trained_->initialise(seed);
    }
    const std::vector<Parameter*>& parameters() const override { return trained_->parameters(); }
    std::vector<Parameter*> frozen() const override { return trained_->frozen(); }
    AdapterConfig config() const override { return trained_->config(); }
    std::vector<AdapterTensor> tensors(const std::function<const float*(const Parameter&)>& values) const override {
        return trained_->tensors(values);
    }

private:
    std::unique_ptr<PeftMethod> trained_;
    std::string name_;
    FrozenAdapters others_;
};

}   // namespace

FrozenAdapters::FrozenAdapters(const std::vector<NamedAdapter>& adapters) {
    for (const NamedAdapter& one : adapters) {
        names_.push_back(one.name);
        adapters_.push_back(std::make_unique<SavedAdapter>(one.folder, one.name));
    }
}

void FrozenAdapters::attach(Declarations& model) {
    check_together(names_, configs(), Exit::bad_data, "adapters");
    for (const auto& adapter : adapters_) adapter->attach(model);
}

void FrozenAdapters::initialise() {
    for (const auto& adapter : adapters_) adapter->initialise();
}

std::vector<std::string> FrozenAdapters::notes() const {
    std::vector<std::string> all;
    for (const auto& adapter : adapters_) all.insert(all.end(), adapter->notes().begin(), adapter->notes().end());
    return all;
}

std::vector<AdapterConfig> FrozenAdapters::configs() const {
    std::vector<AdapterConfig> all;
    for (const auto& adapter : adapters_) all.push_back(adapter->config());
    return all;
}

void check_together(const std::vector<std::string>& names, const std::vector<AdapterConfig>& configs, Exit code,
                    const std::string& where) {
    if (configs.size() < 2) return;
    for (std::size_t i = 0; i < configs.size(); ++i) {
        require(configs[i].type == configs.front().type, code,
                "{}: {} is of the type {}, {} of the type {}; only adapters of one type can act together", where,
                names.front(), adapter_type_name(configs.front().type), names[i], adapter_type_name(configs[i].type));
        require(configs[i].type == AdapterType::lora || configs[i].type == AdapterType::ia3, code,
                "{}: {} is of the type {}; only LORA and IA3 can act together with others", where, names[i],
                adapter_type_name(configs[i].type));
        require(!configs[i].use_dora, code,
                "{}: {} is a DoRA, which scales the rows of the weight by norms that hold for it alone; it cannot act "
                "together with others",
                where, names[i]);
        require(configs[i].bias == "none", code,
                "{}: {} trains biases ({}); of several adapters that act together none may", where, names[i],
                configs[i].bias);
    }
}

std::unique_ptr<PeftMethod> beside_others(std::unique_ptr<PeftMethod> trained, const std::string& name,
                                          const std::vector<NamedAdapter>& others) {
    return std::make_unique<BesideOthers>(std::move(trained), name, others);
}

}   // namespace trainer
