#include "peft/oft.h"

#include "autograd/cpu/gemm.h"
#include "autograd/ops/block_rotation.h"
#include "configs/error.h"
#include "peft/adapter_config.h"
#include "peft/low_rank_adapter.h"
#include "peft/low_rank_values.h"
#include "peft/targets.h"
#include "peft/whole_copies.h"

namespace trainer {

namespace {

class OftAdapter : public Adapter {
public:
    OftAdapter(const Linear& linear, std::int64_t block, ParameterSet& parameters)
        : block_(block),
          upper_(declare_trained(parameters, adapter_parameter_name(linear.name, "oft_R.weight"),
                                 Shape(linear.in_features / block, block * (block - 1) / 2))) {}

    AdapterForm form() const override {
        return InputTransform{
            [this](const Tensor& x, const ForwardContext&) { return block_rotation(x, upper_, block_); }};
    }
    void prepare(Place place) override { upper_.value = Tensor::empty(upper_.shape, upper_.trained_dtype, place); }
    void merge_weight(Tensor& weight) const override {   // W Rᵀ
        const Tensor rotations = block_rotations(upper_, block_);
        Tensor before = Tensor::empty(weight.shape(), DType::f32);
        copy(weight, before);
        for (std::int64_t begin = 0; begin < weight.columns(); begin += block_) {
            Tensor part = weight.column_range(begin, begin + block_);
            gemm(Cpu{}, part, before.column_range(begin, begin + block_), false,
                 rotations.row_range(begin, begin + block_), true, false);
        }
    }
    Parameter& upper() const { return upper_; }

private:
    std::int64_t block_;
    Parameter& upper_;
};

class Oft : public PeftMethod {
public:
    explicit Oft(const AdapterOptions& options) : options_(options) {}

    void attach(Declarations& model) override {
        selected_ = select_targets(model, options_);
        refuse_embeddings(selected_, "oft");
        refuse_head(selected_, "peft.method");
        for (const auto& parameter : model.parameters.all()) parameter->trainable = false;
        for (Linear* linear : selected_.linears) {
            const std::int64_t block = nearest_divisor(linear->in_features, options_.oft_block_size);
            require(block > 1, Exit::bad_recipe,
                    "peft.oft_block_size: {} has {} inputs, of which no block of about {} can be made; a block of one "
                    "cannot turn",
                    linear->name, linear->in_features, options_.oft_block_size);
            auto adapter = std::make_unique<OftAdapter>(*linear, block, model.parameters);
            own_.push_back(&adapter->upper());
            linear->adapters.push_back(std::move(adapter));
        }
        copies_.attach(model, options_, selected_);
        trained_ = own_;
        trained_.insert(trained_.end(), copies_.parameters().begin(), copies_.parameters().end());
    }

    void initialise(std::uint64_t) override {
        for (Parameter* upper : own_) fill(*upper, 0);
        copies_.initialise();
    }

    const std::vector<Parameter*>& parameters() const override { return trained_; }

    AdapterConfig config() const override {
        AdapterConfig config = adapter_config(options_, selected_);
        config.type = AdapterType::oft;
        return config;
    }

private:
    AdapterOptions options_;
    Selection selected_;
    std::vector<Parameter*> own_;
    WholeCopies copies_;
    std::vector<Parameter*> trained_;
};

}   // namespace

std::unique_ptr<PeftMethod> make_oft(const AdapterOptions& options) { return std::make_unique<Oft>(options); }

std::int64_t nearest_divisor(std::int64_t size, std::int64_t wanted) {
    if (wanted >= size) return size;
    for (std::int64_t distance = 0;; ++distance) {
        if (wanted > distance && size % (wanted - distance) == 0) return wanted - distance;
        if (wanted + distance <= size && size % (wanted + distance) == 0) return wanted + distance;
    }
}

}   // namespace trainer
