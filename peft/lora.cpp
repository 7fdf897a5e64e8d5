#include "peft/lora.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "autograd/cpu/parallel_each.h"
#include "configs/error.h"
#include "peft/adapter_config.h"
#include "peft/dora_adapter.h"
#include "peft/low_rank_values.h"
#include "peft/targets.h"
#include "peft/trained_tokens.h"
#include "peft/whole_copies.h"

namespace trainer {

namespace {

class Lora : public PeftMethod {
public:
    explicit Lora(const AdapterOptions& options) : options_(options) {}

    void attach(Declarations& model) override {
        selected_ = select_targets(model, options_);
        add_target_parameters(model, options_, selected_);
        check_patterns(options_, selected_);
        check_combination();
        for (const auto& parameter : model.parameters.all()) parameter->trainable = false;
        for (Linear* linear : selected_.linears) attach(*linear, model.parameters);
        for (Embedding* embedding : selected_.embeddings) attach(*embedding, model.parameters);
        copies_.attach(model, options_, selected_);
        tokens_.attach(model, options_);
        for (const auto& some : {copies_.parameters(), tokens_.parameters()})
            trained_.insert(trained_.end(), some.begin(), some.end());
    }

    void initialise(std::uint64_t seed) override {
        initialise_adapters(seed);
        for (const Embedding* embedding : selected_.embeddings) {
            fill(*embedding->adapters.back().a, 0);   // its own stands behind those that act beside it
            fill_normal(*embedding->adapters.back().b, 1, seed);
        }
        copies_.initialise();
        tokens_.initialise();
    }

    const std::vector<Parameter*>& parameters() const override { return trained_; }

    AdapterConfig config() const override {
        AdapterConfig config = adapter_config(options_, selected_);
        if (!takes_from_weight()) return config;
        // α/r stays: (2α)/(2r), and √2 α / √(2r)
        const double factor = options_.rslora ? std::sqrt(2.0) : 2.0;
        config.rank *= 2;
        config.alpha *= factor;
        for (auto& [pattern, rank] : config.rank_pattern) rank *= 2;
        for (auto& [pattern, alpha] : config.alpha_pattern) alpha *= factor;
        return config;
    }

    std::vector<AdapterTensor> tensors(const std::function<const float*(const Parameter&)>& values) const override {
        std::vector<AdapterTensor> all = PeftMethod::tensors(values);
        if (!takes_from_weight()) return all;
        for (const LowRankAdapter* adapter : adapters_) {
            const LowRank low = adapter->low_rank();
            join_rows(all, *low.a, *low.initial_a, values);
            join_columns(all, *low.b, *low.initial_b, values);
        }
        return all;
    }

private:
    // Decompositions run side by side, as many as fit into `most`, but one at least. What they hold beside tensors is
    // counted by one of that size.
    void initialise_adapters(std::uint64_t seed) {
        constexpr std::size_t most = std::size_t{256} << 20;
        std::size_t largest = 0;
        for (const LowRankAdapter* adapter : adapters_) largest = std::max(largest, adapter->initial_workspace());
        const auto run = [&](std::int64_t i) { adapters_[static_cast<std::size_t>(i)]->initialise(seed); };
        const auto count = static_cast<std::int64_t>(adapters_.size());
        if (largest == 0) return parallel_each(count, run, false);
        const PurposeScope purpose(Purpose::workspace);
        const auto together = std::clamp<std::int64_t>(static_cast<std::int64_t>(most / largest), 1,
                                                       std::min<std::int64_t>(count, omp_get_max_threads()));
        const Place place = adapters_.front()->a().value.place();
        const Tensor counted =
            Tensor::empty(together * static_cast<std::int64_t>(largest / sizeof(double)), DType::u64, place);
        std::vector<Tensor> planned;   // the weights of all that run at once; elsewhere each run makes its own
        for (std::int64_t i = 0; place.is_meta() && i < together; ++i)
            for (const LowRankAdapter* adapter : adapters_)
                if (adapter->initial_workspace() == largest) {
                    planned.push_back(adapter->layer_weight());
                    break;
                }
        for (std::int64_t begin = 0; begin < count; begin += together)
            parallel_each(
                std::min(together, count - begin), [&](std::int64_t i) { run(begin + i); }, together > 1);
    }

    bool takes_from_weight() const {
        return options_.init == LowRankInit::pissa || options_.init == LowRankInit::olora;
    }

    LowRankOptions of_module(const std::string& name) const {
        const std::int64_t rank = by_pattern(options_.rank_pattern, name, options_.rank);
        return {rank, static_cast<float>(low_rank_scale(options_, name, rank)), static_cast<float>(options_.dropout),
                options_.init};
    }

    void attach(Linear& linear, ParameterSet& parameters) {
        const LowRankOptions options = of_module(linear.name);
        require(!takes_from_weight() || options.rank <= std::min(linear.in_features, linear.out_features),
                Exit::bad_recipe, "peft.rank: init {} takes {} directions out of {}, which has {} → {} features",
                enum_name(options_.init), options.rank, linear.name, linear.in_features, linear.out_features);
        std::unique_ptr<LowRankAdapter> adapter;
        if (options_.dora)
            adapter = std::make_unique<DoraAdapter>(linear, options, parameters);
        else
            adapter = std::make_unique<LowRankAdapter>(linear, options, parameters);
        adapters_.push_back(adapter.get());
        const std::vector<Parameter*> trained = adapter->trained();
        trained_.insert(trained_.end(), trained.begin(), trained.end());
        linear.adapters.push_back(std::move(adapter));
    }

    void attach(Embedding& embedding, ParameterSet& parameters) {
        const LowRankOptions options = of_module(embedding.name);
        Parameter& a = declare_trained(parameters, adapter_parameter_name(embedding.name, "lora_embedding_A"),
                                       Shape(options.rank, embedding.shape().rows()));
        Parameter& b = declare_trained(parameters, adapter_parameter_name(embedding.name, "lora_embedding_B"),
                                       Shape(embedding.shape().columns(), options.rank));
        trained_.insert(trained_.end(), {&a, &b});
        embedding.adapters.push_back({&a, &b, options.scale});
    }

    void check_combination() const {
        if (takes_from_weight()) {
            const std::string_view init = enum_name(options_.init);
            require(
                !options_.dora, Exit::bad_recipe,
                "peft.dora: with init {} the lengths of the rows would not start at those of the weight; use one of "
                "them",
                init);
            require(selected_.embeddings.empty(), Exit::bad_recipe,
                    "peft.init: {} takes parts of a linear layer's weight; leave the embedding out of targets", init);
            require(
                !options_.rslora || (options_.rank_pattern.entries.empty() && options_.alpha_pattern.entries.empty()),
                Exit::bad_recipe,
                "peft.init: {} is saved as a LoRA of twice the rank, which rslora scales rightly only without "
                "rank_pattern and alpha_pattern",
                init);
        }
        if (!options_.dora) return;
        require(selected_.embeddings.empty(), Exit::bad_recipe,
                "peft.dora: only linear layers have lengths of rows to train; leave the embedding out of targets");
        refuse_head(selected_, "peft.dora");
    }

    // The tensor of `parameter` becomes [parameter; initial].
    static void join_rows(std::vector<AdapterTensor>& all, const Parameter& parameter, const Parameter& initial,
                          const std::function<const float*(const Parameter&)>& values) {
        AdapterTensor& tensor = find(all, parameter);
        const auto count = static_cast<std::size_t>(parameter.shape.elements());
        const float* now = values(parameter);
        const std::vector<float> before = converted(initial.value, DType::f32).to_vector<float>();
        tensor.shape[0] *= 2;
        tensor.made.assign(now, now + count);
        tensor.made.insert(tensor.made.end(), before.begin(), before.end());
    }

    // The tensor of `parameter` becomes [parameter, −initial].
    static void join_columns(std::vector<AdapterTensor>& all, const Parameter& parameter, const Parameter& initial,
                             const std::function<const float*(const Parameter&)>& values) {
        AdapterTensor& tensor = find(all, parameter);
        const float* now = values(parameter);
        const std::vector<float> before = converted(initial.value, DType::f32).to_vector<float>();
        const std::int64_t rank = parameter.shape.columns();
        tensor.shape[1] *= 2;
        tensor.made.clear();
        for (std::int64_t row = 0; row < parameter.shape.rows(); ++row) {
            tensor.made.insert(tensor.made.end(), now + row * rank, now + (row + 1) * rank);
            for (std::int64_t k = 0; k < rank; ++k)
                tensor.made.push_back(-before[static_cast<std::size_t>(row * rank + k)]);
        }
    }

    static AdapterTensor& find(std::vector<AdapterTensor>& all, const Parameter& parameter) {
        return *std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == parameter.name; });
    }

    AdapterOptions options_;
    Selection selected_;
    std::vector<LowRankAdapter*> adapters_;   // owned by the slots
    WholeCopies copies_;
    TrainedTokens tokens_;
    std::vector<Parameter*> trained_;
};

template <typename Change>
std::unique_ptr<PeftMethod> changed(AdapterOptions options, Change change) {
    change(options);
    return make_lora(options);
}

}   // namespace

double low_rank_scale(const AdapterOptions& options, const std::string& module, std::int64_t rank) {
    const double alpha = by_pattern(options.alpha_pattern, module, options.alpha);
    const auto r = static_cast<double>(rank);
    return alpha / (options.rslora ? std::sqrt(r) : r);
}

std::unique_ptr<PeftMethod> make_lora(const AdapterOptions& options) { return std::make_unique<Lora>(options); }

std::unique_ptr<PeftMethod> make_rslora(const AdapterOptions& options) {
    return changed(options, [](AdapterOptions& o) { o.rslora = true; });
}
std::unique_ptr<PeftMethod> make_dora(const AdapterOptions& options) {
    return changed(options, [](AdapterOptions& o) { o.dora = true; });
}
std::unique_ptr<PeftMethod> make_pissa(const AdapterOptions& options) {
    return changed(options, [](AdapterOptions& o) { o.init = LowRankInit::pissa; });
}
std::unique_ptr<PeftMethod> make_olora(const AdapterOptions& options) {
    return changed(options, [](AdapterOptions& o) { o.init = LowRankInit::olora; });
}

}   // namespace trainer
