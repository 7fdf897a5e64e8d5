#include "models/llama.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/add.h"
#include "configs/error.h"
#include "models/attention.h"
#include "models/blocks.h"
#include "models/config_values.h"
#include "models/embedding.h"
#include "models/mlp.h"
#include "models/norm.h"
#include "models/rope_frequencies.h"

namespace trainer {

namespace {

struct LlamaConfig {
    CausalLmShape shape;
    std::int64_t intermediate = 0;
    float norm_eps = 1e-6f;
    bool attention_bias = false;
    bool mlp_bias = false;
    std::vector<float> frequencies;
};

// Beyond these no model is, and a damaged config would make us declare weights without end.
constexpr std::int64_t most_features = 1 << 20;
constexpr std::int64_t most_layers = 10000;

LlamaConfig read_config(const Node& config) {
    LlamaConfig out;
    CausalLmShape& shape = out.shape;
    shape.vocabulary = positive(config, "vocab_size");
    shape.hidden = positive(config, "hidden_size", most_features);
    shape.layers = static_cast<int>(positive(config, "num_hidden_layers", most_layers));
    shape.heads = static_cast<int>(positive(config, "num_attention_heads", most_features));
    shape.kv_heads = static_cast<int>(positive_or(config, "num_key_value_heads", shape.heads, most_features));
    shape.head_dim = static_cast<int>(positive_or(config, "head_dim", 0, most_features));
    if (shape.head_dim == 0) {
        require(shape.hidden % shape.heads == 0, Exit::bad_data,
                "{}: hidden_size {} is no multiple of num_attention_heads {}, and there is no head_dim",
                place_of(config, "hidden_size"), shape.hidden, shape.heads);
        shape.head_dim = static_cast<int>(shape.hidden / shape.heads);
    }
    shape.max_positions = positive_or(config, "max_position_embeddings", 2048);
    shape.tied_head = flag(config, "tie_word_embeddings", false);
    out.intermediate = positive(config, "intermediate_size");
    out.attention_bias = flag(config, "attention_bias", false);
    out.mlp_bias = flag(config, "mlp_bias", false);
    if (const Node* eps = config.find_value("rms_norm_eps")) out.norm_eps = static_cast<float>(eps->as_number());
    require(out.norm_eps >= 0 && std::isfinite(out.norm_eps), Exit::bad_data,
            "{}: rms_norm_eps is {}, expected 0 or a positive number", place_of(config, "rms_norm_eps"), out.norm_eps);
    require(shape.heads % shape.kv_heads == 0, Exit::bad_data,
            "{}: num_attention_heads {} is no multiple of num_key_value_heads {}",
            place_of(config, "num_attention_heads"), shape.heads, shape.kv_heads);
    require(shape.head_dim % 2 == 0, Exit::bad_data, "{}: head_dim {} is odd", place_of(config, "head_dim"),
            shape.head_dim);
    if (const Node* activation = config.find_value("hidden_act"))
        require(activation->as_string() == "silu", Exit::bad_data,
                "{}: hidden_act \"{}\" is not supported for llama, expected \"silu\"", place_of(config, "hidden_act"),
                activation->as_string());
    if (const Node* dropped = config.find_value("attention_dropout"))
        require(dropped->as_number() == 0, Exit::bad_data, "{}: attention_dropout {} is not supported, expected 0",
                place_of(config, "attention_dropout"), dropped->as_number());
    out.frequencies = rope_frequencies(config, shape.head_dim);
    return out;
}

class LlamaBlock : public Block {
public:
    LlamaBlock(const Scope& scope, const LlamaConfig& config, const RopeTable& table, int layer)
        : input_norm_(scope / "input_layernorm", config.shape.hidden, config.norm_eps),
          attention_(scope / "self_attn",
                     {config.shape.hidden,
                      {config.shape.heads, config.shape.kv_heads, config.shape.head_dim,
                       1.0f / std::sqrt(static_cast<float>(config.shape.head_dim))},
                      config.attention_bias},
                     layer),
          post_attention_norm_(scope / "post_attention_layernorm", config.shape.hidden, config.norm_eps),
          mlp_(scope / "mlp", config.shape.hidden, config.intermediate, config.mlp_bias),
          table_(table) {}

    void prepare(Place place, DType compute) {
        input_norm_.prepare(place, compute);
        attention_.prepare(place, compute);
        post_attention_norm_.prepare(place, compute);
        mlp_.prepare(place, compute);
    }

    Tensor forward(const Tensor& x, const ForwardContext& context) const override {
        Tensor norm = input_norm_(x, context);                       // (N, C)
        const Tensor attended = attention_(norm, table_, context);   // (N, C)
        input_norm_.leave_memory(std::move(norm), x, context);
        AddNorm middle = post_attention_norm_(attended, x, context);   // (N, C) twice
        const Tensor transformed = mlp_(middle.norm, context);         // (N, C)
        post_attention_norm_.leave_memory(std::move(middle.norm), middle.sum, context);
        return add(middle.sum, transformed);
    }

    std::vector<Weight*> weights() const override {
        std::vector<Weight*> all = attention_.weights();
        const std::vector<Weight*> mlp = mlp_.weights();
        all.insert(all.end(), mlp.begin(), mlp.end());
        return all;
    }

private:
    Norm input_norm_;
    SelfAttention attention_;
    Norm post_attention_norm_;
    GatedMlp mlp_;
    const RopeTable& table_;
};

class Llama : public CausalLm {
public:
    explicit Llama(const LlamaConfig& config)
        : config_(config),
          embedding_(Scope(declarations_) / "model" / "embed_tokens", config.shape.vocabulary, config.shape.hidden),
          norm_(Scope(declarations_) / "model" / "norm", config.shape.hidden, config.norm_eps) {
        const Scope layers = Scope(declarations_) / "model" / "layers";
        for (int i = 0; i < config.shape.layers; ++i) {
            auto block = std::make_unique<LlamaBlock>(layers / i, config_, table_, i);
            prepared_.push_back(block.get());
            blocks_.push_back(std::move(block));
        }
        if (!config.shape.tied_head)
            head_ = std::make_unique<LinearGroup>(Scope(declarations_), config.shape.hidden,
                                                  std::vector<LinearSpec>{{"lm_head", config.shape.vocabulary}});
    }

    void prepare(Place place, DType compute, std::int64_t longest) override {
        compute_ = compute;
        embedding_.prepare(place, compute);
        for (LlamaBlock* block : prepared_) block->prepare(place, compute);
        norm_.prepare(place, compute);
        if (head_) head_->prepare(place, compute);
        const PurposeScope purpose(Purpose::weights);
        table_ = make_rope_table(config_.frequencies, std::max<std::int64_t>(longest, 1), 1.0f, place);
    }

    Tensor embed(const Tensor& ids, const ForwardContext& context) const override { return embedding_(ids, context); }

    Tensor hidden(const Tensor& x, const ForwardContext& context) const override {
        return norm_(run_blocks(blocks_, x, context), context);
    }

    const LinearTerms& head(const ForwardContext& context) const override {
        return head_ ? head_->terms(context) : embedding_.as_head(context);
    }
    const CausalLmShape& shape() const override { return config_.shape; }
    std::string block_scope(std::size_t block) const override { return format("model.layers.{}", block); }
    DType compute_dtype() const override { return compute_; }

private:
    LlamaConfig config_;
    DType compute_ = DType::f32;
    RopeTable table_;
    Embedding embedding_;
    std::vector<LlamaBlock*> prepared_;   // the blocks, as what they are
    std::vector<std::unique_ptr<Block>> blocks_;
    Norm norm_;
    std::unique_ptr<LinearGroup> head_;
};

}   // namespace

std::unique_ptr<CausalLm> make_llama(const Node& config) { return std::make_unique<Llama>(read_config(config)); }

std::vector<std::string> llama_config_keys() {
    std::vector<std::string> keys = {"vocab_size",
                                     "hidden_size",
                                     "num_hidden_layers",
                                     "num_attention_heads",
                                     "num_key_value_heads",
                                     "head_dim",
                                     "max_position_embeddings",
                                     "tie_word_embeddings",
                                     "intermediate_size",
                                     "attention_bias",
                                     "mlp_bias",
                                     "rms_norm_eps",
                                     "hidden_act",
                                     "attention_dropout"};
    keys.insert(keys.end(), rope_config_keys.begin(), rope_config_keys.end());
    return keys;
}

}   // namespace trainer
