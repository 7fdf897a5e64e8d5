#include "models/llama.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/tape.h"
#include "configs/error.h"
#include "configs/json.h"
#include "models/registry.h"
#include "tests/models/random_values.h"

namespace trainer {
namespace {

using test::layout_of;
using test::randomise;

Node config(const std::string& changes = "{}") {
    Node out = parse_json(R"({"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu"})",
                          "config.json");
    const Node change = parse_json(changes, "changes");
    for (const Node::Entry& entry : change.as_map()) out.set(entry.key, entry.value);
    return out;
}

std::vector<std::string> names(CausalLm& model) {
    std::vector<std::string> out;
    for (const auto& parameter : model.parameters().all())
        out.push_back(parameter->name + " " + parameter->shape.text());
    return out;
}

TEST(Llama, DeclaresTheHubsNamesAndShapes) {
    const std::unique_ptr<CausalLm> model = make_causal_lm(config(R"({"num_hidden_layers": 1})"));
    EXPECT_EQ(names(*model),
              (std::vector<std::string>{
                  "model.embed_tokens.weight (40, 16)", "model.norm.weight (16)",
                  "model.layers.0.input_layernorm.weight (16)", "model.layers.0.self_attn.q_proj.weight (16, 16)",
                  "model.layers.0.self_attn.k_proj.weight (8, 16)", "model.layers.0.self_attn.v_proj.weight (8, 16)",
                  "model.layers.0.self_attn.o_proj.weight (16, 16)",
                  "model.layers.0.post_attention_layernorm.weight (16)", "model.layers.0.mlp.gate_proj.weight (24, 16)",
                  "model.layers.0.mlp.up_proj.weight (24, 16)", "model.layers.0.mlp.down_proj.weight (16, 24)"}));
    for (const auto& parameter : model->parameters().all())
        EXPECT_EQ(parameter->decay, parameter->name.find("norm") == std::string::npos) << parameter->name;
    const CausalLmShape& shape = model->shape();
    EXPECT_EQ(shape.head_dim, 4);
    EXPECT_EQ(shape.kv_heads, 2);
    EXPECT_TRUE(shape.tied_head);
}

TEST(Llama, HeadsOfAnotherSizeAndWithoutGroups) {
    const auto model = make_llama(config(R"({"head_dim": 6, "num_key_value_heads": null, "num_hidden_layers": 1})"));
    EXPECT_EQ(model->parameters().find("model.layers.0.self_attn.k_proj.weight")->shape, Shape(24, 16));
    EXPECT_EQ(model->parameters().find("model.layers.0.self_attn.o_proj.weight")->shape, Shape(16, 24));
}

TEST(Llama, BiasesAreThereWhenTheConfigSaysSo) {
    const auto biases = [](const char* changes) {
        const auto model = make_llama(config(changes));
        std::string out;
        for (const auto& parameter : model->parameters().all())
            if (parameter->name.starts_with("model.layers.1.") && parameter->name.ends_with(".bias")) {
                out += parameter->name.substr(15) + " ";
                EXPECT_FALSE(parameter->decay);
            }
        return out;
    };
    EXPECT_EQ(biases("{}"), "");
    EXPECT_EQ(biases(R"({"attention_bias": true})"),
              "self_attn.q_proj.bias self_attn.k_proj.bias self_attn.v_proj.bias self_attn.o_proj.bias ");
    EXPECT_EQ(biases(R"({"mlp_bias": true})"), "mlp.gate_proj.bias mlp.up_proj.bias mlp.down_proj.bias ");
}

std::string refused(const Node& node) {
    try {
        make_causal_lm(node);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_data) << error.what();
        return error.what();
    }
    return "";
}

TEST(Llama, ConfigsThatAreRefused) {
    EXPECT_EQ(refused(config()), "");
    for (const char* key :
         {"model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
        Node without = config();
        without.erase(key);
        EXPECT_NE(refused(without).find(key), std::string::npos) << key;
        EXPECT_NE(refused(config("{\"" + std::string(key) + "\": []}")), "") << key;
    }
    const std::pair<const char*, const char*> cases[] = {
        {R"({"num_key_value_heads": 3})",
         "config.json:2:56: num_attention_heads 4 is no multiple of num_key_value_heads 3"},
        {R"({"num_key_value_heads": 8})",
         "config.json:2:56: num_attention_heads 4 is no multiple of num_key_value_heads 8"},
        {R"({"num_attention_heads": 0})",
         "changes:1:25: num_attention_heads is 0, expected an integer from 1 to 1048576"},
        {R"({"vocab_size": -1})", "changes:1:16: vocab_size is -1, expected an integer from 1 to 2147483647"},
        {R"({"hidden_size": 2147483648})",
         "changes:1:17: hidden_size is 2147483648, expected an integer from 1 to 1048576"},
        {R"({"num_hidden_layers": 2147483647})",
         "changes:1:23: num_hidden_layers is 2147483647, expected an integer from 1 to 10000"},
        {R"({"num_attention_heads": 6, "num_key_value_heads": 2})",
         "config.json:1:58: hidden_size 16 is no multiple of num_attention_heads 6, and there is no head_dim"},
        {R"({"num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": null})",
         "config.json:1:58: hidden_size 16 is no multiple of num_attention_heads 32, and there is no head_dim"},
        {R"({"head_dim": 5})", "changes:1:14: head_dim 5 is odd"},
        {R"({"hidden_act": "gelu"})",
         "changes:1:16: hidden_act \"gelu\" is not supported for llama, expected \"silu\""},
        {R"({"attention_dropout": 0.1})", "changes:1:23: attention_dropout 0.1 is not supported, expected 0"},
        {R"({"rms_norm_eps": -1})", "changes:1:18: rms_norm_eps is -1, expected 0 or a positive number"},
    };
    for (const auto& [changes, message] : cases) EXPECT_EQ(refused(config(changes)), message);
    for (const double eps : {std::nan(""), HUGE_VAL}) {
        Node changed = config();
        changed.set("rms_norm_eps", eps);
        EXPECT_NE(refused(changed).find("rms_norm_eps"), std::string::npos) << eps;
    }
    EXPECT_NE(refused(config(R"({"model_type": "lama"})")).find("llama"), std::string::npos);
    EXPECT_NE(refused(config(R"({"rope_scaling": {"rope_type": "yarn"}})")).find("yarn"), std::string::npos);
}

// Each key that is listed is read: a list in its place is refused.
TEST(Llama, ReadsTheKeysItLists) {
    for (const std::string& key : llama_config_keys()) {
        Node changed = config(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1,
            "high_freq_factor": 4, "original_max_position_embeddings": 64}})");
        ASSERT_EQ(refused(changed), "");
        if (key == "rope_parameters") changed.erase("rope_scaling");
        if (key == "rope_parameters" || key == "rope_scaling")
            changed.set(key, parse_json(R"({"rope_type": "yarn"})", "config.json"));
        else
            changed.set(key, Node::list());
        EXPECT_NE(refused(changed), "") << key;
    }
}

TEST(Llama, NullMeansTheDefault) {
    EXPECT_EQ(refused(config(R"({"rms_norm_eps": null, "hidden_act": null, "attention_dropout": null,
        "max_position_embeddings": null, "tie_word_embeddings": null, "rope_theta": null})")),
              "");
}

struct Pass {
    float loss = 0;
    std::vector<std::vector<float>> gradients;   // of the trainable parameters, in order
};

class LlamaPass : public ::testing::Test {
protected:
    void prepare(const char* changes, const std::string& trainable) {
        model_ = make_llama(config(changes));
        for (const auto& parameter : model_->parameters().all())
            parameter->trainable = parameter->name.find(trainable) != std::string::npos;
        model_->prepare(Place::cpu(), DType::f32, 64);
        unsigned seed = 1;
        for (const auto& parameter : model_->parameters().all()) randomise(*parameter, seed++, 0.3f);
    }

    Pass run(Recompute recompute = Recompute::none) {
        const Layout layout = layout_of({3, 4});
        const std::vector<std::int32_t> ids = {1, 2, 3, 4, 5, 6, 7};
        const std::vector<std::int32_t> targets = {2, 3, -100, 5, -100, 7, -100};
        const ForwardContext context{layout, true, true, recompute};
        for (Parameter* parameter : model_->parameters().trainable()) parameter->gradient = Tensor();
        Tape tape;
        Tensor loss;
        {
            const Recording record(tape);
            const Tensor x = model_->embed(Tensor::from<std::int32_t>(ids, Shape(7)), context);
            loss = linear_cross_entropy(model_->hidden(x, context), model_->head(context),
                                        Tensor::from<std::int32_t>(targets, Shape(7)), layout, true)
                       .loss;
        }
        tape.backward(loss, Tensor::from<float>(std::vector<float>{1}, loss.shape()));
        Pass out;
        out.loss = loss.data<float>()[0];
        for (Parameter* parameter : model_->parameters().trainable())
            out.gradients.push_back(parameter->gradient.defined() ? parameter->gradient.to_vector<float>()
                                                                  : std::vector<float>());
        return out;
    }

    const Parameter* head_weight() const {
        const Layout layout;
        return model_->head({layout}).dense.front().weight;
    }

    std::unique_ptr<CausalLm> model_;
};

TEST_F(LlamaPass, RecomputeChangesNoBit) {
    for (const char* trainable : {"", "q_proj", "layers.0.mlp"}) {   // everything, or with a frozen embedding
        prepare(R"({"attention_bias": true, "mlp_bias": true})", trainable);
        const Pass kept = run(Recompute::none);
        for (const Recompute recompute : {Recompute::norms, Recompute::block}) {
            const Pass again = run(recompute);
            EXPECT_EQ(kept.loss, again.loss);
            EXPECT_EQ(kept.gradients, again.gradients);
        }
        for (const std::vector<float>& gradient : kept.gradients) EXPECT_FALSE(gradient.empty());
    }
}

TEST_F(LlamaPass, AnUntiedHeadHasAWeightOfItsOwn) {
    prepare(R"({"tie_word_embeddings": false})", "");
    Parameter* head = model_->parameters().find("lm_head.weight");
    ASSERT_NE(head, nullptr);
    EXPECT_EQ(head->shape, Shape(40, 16));
    EXPECT_EQ(head_weight(), head);
    const Pass untied = run();

    // with the head's values in the embedding's place, its gradient is the sum of both
    const std::vector<float> embedding =
        model_->parameters().find("model.embed_tokens.weight")->value.to_vector<float>();
    copy(Tensor::from<float>(embedding, Shape(40, 16)), head->value);
    head->changed();
    const Pass same = run();
    EXPECT_NE(same.loss, untied.loss);
    const Tensor by_head = head->gradient;
    const Tensor by_embedding = model_->parameters().find("model.embed_tokens.weight")->gradient;
    std::vector<float> sum = by_head.to_vector<float>();
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += by_embedding.data<float>()[i];

    std::unique_ptr<CausalLm> other = std::move(model_);
    prepare("{}", "");
    EXPECT_EQ(model_->parameters().find("lm_head.weight"), nullptr);
    EXPECT_EQ(head_weight(), model_->parameters().find("model.embed_tokens.weight"));
    for (const auto& parameter : model_->parameters().all()) {
        copy(other->parameters().find(parameter->name)->value, parameter->value);
        parameter->changed();
    }
    EXPECT_EQ(run().loss, same.loss);
    EXPECT_LT(test::relative_error(model_->parameters().find("model.embed_tokens.weight")->gradient,
                                   Tensor::from<float>(sum, Shape(40, 16))),
              1e-6);
}

TEST_F(LlamaPass, ItRunsOnMetaWithoutBytes) {
    const auto model = make_llama(config());
    model->prepare(Place::meta(), DType::bf16, 64);
    const Layout real = layout_of({3, 4});
    Layout layout = real;
    layout.positions = Tensor::empty(Shape(7), DType::i32, Place::meta());
    layout.token_keys = Tensor::empty(Shape(7), DType::u64, Place::meta());
    const ForwardContext context{layout};
    const Tensor ids = Tensor::empty(Shape(7), DType::i32, Place::meta());
    const Tensor hidden = model->hidden(model->embed(ids, context), context);
    EXPECT_EQ(hidden.shape(), Shape(7, 16));
    EXPECT_EQ(hidden.dtype(), DType::bf16);
    EXPECT_TRUE(hidden.place().is_meta());
}

}   // namespace
}   // namespace trainer
