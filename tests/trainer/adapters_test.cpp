// Adapter methods through the whole program: they learn, exactly; saved ones go on; parts of the base can stay frozen.
#include <gmock/gmock.h>

#include <cmath>

#include "configs/error.h"
#include "configs/json.h"
#include "configs/yaml.h"
#include "hub/adapter.h"
#include "hub/safetensors.h"
#include "peft/registry.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

using Words = std::vector<std::string>;

Words method(const std::string& section, const Words& more = {}) {
    Words words = {"peft={" + section + "}", "optimizer.lr=1e-2", "checkpoint.every=null"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

double eval_loss(const FinishedRun& run, std::size_t index) {
    return run.evaluations.at(index).at("eval_loss").as_number();
}

// The error of reading a recipe.
Error refusal(const TinyProject& project, const Words& overrides) {
    try {
        project.inputs(overrides);
    } catch (const Error& error) {
        return error;
    }
    return Error(Exit::done, "");
}

const Words sections = {"method: rslora, rank: 4, modules_to_save: [norm]",
                        "method: dora, rank: 4, dropout: 0.2",
                        "method: pissa, rank: 4, targets: [q_proj, down_proj]",
                        "method: olora, rank: 4",
                        "method: ia3",
                        "method: lora, targets: [embed_tokens, v_proj], init: gaussian, loraplus_lr_ratio: 4",
                        "method: lora, rank: 4, targets: [v_proj], trainable_token_indices: [35, 14, 2]",
                        "method: loha, rank: 4",
                        "method: lokr, rank: 2, decompose_both: true",
                        "method: vera, rank: 32, d_initial: 0.5",
                        "method: oft, oft_block_size: 8"};

TEST(Adapters, EveryMethodLearnsAndRecomputesToTheSameBits) {
    TinyProject project;
    for (const std::string& section : sections)
        for (const char* precision : {"training.precision=f32", "training.precision=bf16"}) {
            SCOPED_TRACE(section + " " + precision);
            const FinishedRun run = project.run(method(section, {precision}));
            EXPECT_LT(eval_loss(run, 1), eval_loss(run, 0));
            for (const char* recompute : {"training.recompute=norms", "training.recompute=block"})
                expect_equal_bits(run, project.run(method(section, {precision, recompute})));
        }
}

TEST(Adapters, ThePlanOfMemoryHolds) {
    TinyProject project;
    for (const std::string& section : sections) {
        SCOPED_TRACE(section);
        const FinishedRun run = project.run(method(section));
        const auto measured = static_cast<double>(run.outcome.memory.peak_total());
        EXPECT_GE(static_cast<double>(run.planned_bytes), measured);
        EXPECT_LE(static_cast<double>(run.planned_bytes), 1.3 * measured);
    }
}

TEST(Adapters, ASavedOneGoesOnWhereItWas) {
    TinyProject project;
    for (const std::string& section : sections) {
        SCOPED_TRACE(section);
        const FinishedRun first = project.run(method(section));
        const std::string saved = project.last_output().string();
        const std::string config = get_text(saved + "/adapter_config.json");
        const FinishedRun second = project.run(method("continue_from: " + saved));
        EXPECT_NEAR(eval_loss(second, 0), eval_loss(first, 1), 1e-5 * eval_loss(first, 1));
        EXPECT_LT(eval_loss(second, 1), eval_loss(second, 0));
        EXPECT_EQ(get_text(project.last_output() / "adapter_config.json"), config);
        // the recipe of the run can be read again
        const Node peft = read_yaml(project.last_output() / "recipe.yaml").at("peft");
        const AdapterConfig read = AdapterFile(saved).config();
        EXPECT_EQ(peft.at("rank").as_integer(),
                  read.type == AdapterType::ia3 || read.type == AdapterType::oft ? 16 : read.rank);
        Complaints complaints;
        read_recipe(read_yaml(project.last_output() / "recipe.yaml"), complaints);
        complaints.raise();
    }
}

TEST(Adapters, KeysThatContradictTheSavedOneAreRefused) {
    TinyProject project;
    project.run(method("method: rslora, rank: 4, alpha: 8", {"training.steps=1"}));
    const std::string saved = project.last_output().string();
    const auto message = [&](const std::string& keys) {
        const std::string text = refusal(project, {"peft={continue_from: " + saved + keys + "}"}).what();
        const std::size_t at = text.find(": peft.");
        return at == std::string::npos ? text : text.substr(at + 2);
    };
    EXPECT_EQ(message(", rank: 4, rslora: true, loraplus_lr_ratio: 2"), "");
    EXPECT_EQ(message(", rank: 8"), "peft.rank: the adapter in " + saved + " has 4, found 8; leave the key out");
    EXPECT_EQ(message(", method: ia3"),
              "peft.method: the adapter in " + saved + " has \"lora\", found \"ia3\"; leave the key out");
    EXPECT_EQ(message(", method: dora"),
              "peft.method: the adapter in " + saved + " is a lora with dora false, not dora; leave the key out");
    EXPECT_EQ(message(", method: rslora, rank: 4"), "");
    EXPECT_EQ(message(", method: loha"),
              "peft.method: the adapter in " + saved + " has \"lora\", found \"loha\"; leave the key out");
    EXPECT_EQ(message(", init: pissa"),
              "peft.init: the adapter in " + saved + " has \"default\", found \"pissa\"; leave the key out");
    EXPECT_EQ(refusal(project, {"peft={continue_from: nowhere}"}).code(), Exit::no_input);
    project.run(method("method: lora, rank: 4", {"training.steps=1"}));
    const std::string plain = project.last_output().string();
    EXPECT_THAT(refusal(project, {"peft={method: rslora, continue_from: " + plain + "}"}).what(),
                ::testing::EndsWith("peft.method: the adapter in " + plain +
                                    " is a lora with rslora false, not rslora; leave the key out"));
    project.run(method("method: loha, rank: 4", {"training.steps=1"}));
    const std::string product = project.last_output().string();
    EXPECT_THAT(refusal(project, {"peft={method: rslora, continue_from: " + product + "}"}).what(),
                ::testing::EndsWith("peft.method: the adapter in " + product +
                                    " has \"loha\", found \"rslora\"; leave the key out"));
    std::filesystem::rename(saved + "/adapter_model.safetensors", saved + "/adapter_model.bin");
    EXPECT_EQ(refusal(project, {"peft={continue_from: " + saved + "}"}).code(), Exit::refused);
}

// A new LoRA changes nothing at first, so that a run beside a saved one begins where that one ended.
TEST(Adapters, OthersActBesideTheTrainedOne) {
    TinyProject project;
    for (const char* targets : {"[v_proj, down_proj]", "[embed_tokens, q_proj]"}) {
        const FinishedRun first = project.run(method(std::string("rank: 4, targets: ") + targets));
        const std::string style = project.last_output().string();
        const std::string before = get_text(style + "/adapter_model.safetensors");
        const Words section = method("rank: 2, targets: [v_proj, k_proj], name: tone, beside: {style: " + style + "}");
        const FinishedRun second = project.run(section);
        const std::filesystem::path tone = project.last_output() / "tone";
        EXPECT_NEAR(eval_loss(second, 0), eval_loss(first, 1), 1e-5 * eval_loss(first, 1));
        EXPECT_LT(eval_loss(second, 1), eval_loss(second, 0));
        EXPECT_EQ(get_text(style + "/adapter_model.safetensors"), before);
        const AdapterFile saved(tone);
        EXPECT_EQ(saved.config().targets, (std::vector<std::string>{"k_proj", "v_proj"}));
        for (const AdapterModule& module : saved.modules()) EXPECT_EQ(module.rank, 2) << module.name;
        EXPECT_NE(get_text(project.last_output() / "README.md").find("style ("), std::string::npos);
        EXPECT_FALSE(std::filesystem::exists(project.last_output() / "adapter_config.json"));
        Words again = section;
        again.push_back("training.recompute=block");
        expect_equal_bits(second, project.run(again));
    }
}

TEST(Adapters, ThatCannotActTogetherAreRefused) {
    TinyProject project;
    const auto saved = [&](const std::string& section) {
        project.run(method(section, {"training.steps=1"}));
        return project.last_output().string();
    };
    const auto beside = [&](const std::string& style, const std::string& keys) {
        return refusal(project, {"peft={beside: {style: " + style + "}, " + keys + "}"});
    };
    const std::string lora = saved("rank: 4, targets: [q_proj], modules_to_save: [o_proj]");
    const std::string tokens = saved("rank: 4, targets: [q_proj], trainable_token_indices: [5]");
    const std::string ia3 = saved("method: ia3");
    const std::string dora = saved("method: dora, rank: 2, targets: [q_proj]");
    EXPECT_EQ(beside(lora, "rank: 2, targets: [q_proj]").code(), Exit::done);
    const std::pair<Error, std::string> cases[] = {
        {beside(ia3, "rank: 2"),
         "peft.beside: style is of the type IA3, default of the type LORA; only adapters of one type can act together"},
        {beside(dora, "rank: 2"),
         "peft.beside: style is a DoRA, which scales the rows of the weight by norms that hold for it alone; it cannot "
         "act together with others"},
        {beside(lora, "rank: 2, targets: [q_proj], modules_to_save: [o_proj]"),
         "peft.modules_to_save: another adapter replaces model.layers.0.self_attn.o_proj.weight; only one of them can"},
        {beside(lora, "rank: 2, targets: [o_proj]"),
         "peft.targets: model.layers.0.self_attn.o_proj is replaced as a whole by another adapter (modules_to_save); "
         "leave it out"},
        {beside(lora, "rank: 2, targets: [v_proj], modules_to_save: [q_proj]"),
         "peft.modules_to_save: another adapter adapts model.layers.0.self_attn.q_proj.weight; only one of them can"},
        {beside(tokens, "rank: 2, targets: [v_proj], trainable_token_indices: [6]"),
         "peft.trainable_token_indices: another adapter brings tokens of model.embed_tokens too; only one can"}};
    for (const auto& [error, message] : cases) {
        EXPECT_EQ(error.code(), Exit::bad_recipe) << error.what();
        EXPECT_EQ(std::string(error.what()), message);
    }
    EXPECT_EQ(beside("nowhere", "rank: 2").code(), Exit::no_input);
}

TEST(Adapters, ParametersAreAdaptedAsTheirLayers) {
    TinyProject project;
    const FinishedRun one = project.run(method("rank: 4, targets: [q_proj], target_parameters: [down_proj.weight]"));
    const AdapterConfig config = AdapterFile(project.last_output()).config();
    EXPECT_EQ(config.targets, std::vector<std::string>{"q_proj"});
    EXPECT_EQ(config.target_parameters, std::vector<std::string>{"down_proj.weight"});
    expect_equal_bits(one, project.run(method("rank: 4, targets: [q_proj, down_proj]")));
    const auto message = [&](const std::string& keys) {
        return std::string(refusal(project, {"peft={rank: 4, " + keys + "}"}).what());
    };
    EXPECT_EQ(
        message("targets: [q_proj], target_parameters: [q_proj.weight]"),
        "peft.target_parameters: model.layers.0.self_attn.q_proj.weight is adapted by targets already; name it in "
        "one of them");
    EXPECT_EQ(message("targets: [q_proj], target_parameters: [experts.gate_up_proj]"),
              "peft.target_parameters: \"experts.gate_up_proj\" is no weight of a linear layer of the model; it has "
              "down_proj.weight, gate_proj.weight, k_proj.weight, o_proj.weight, q_proj.weight, up_proj.weight, "
              "v_proj.weight. Weights that hold the matrices of several experts are not supported, nor are models that "
              "have them");
}

TEST(Adapters, ParametersMayBeAllThereIs) {
    TinyProject project;
    const FinishedRun named = project.run(method("rank: 4, targets: [down_proj]"));
    for (const char* none : {"", ", targets: []"}) {
        expect_equal_bits(named,
                          project.run(method(std::string("rank: 4, target_parameters: [down_proj.weight]") + none)));
        const AdapterConfig config = AdapterFile(project.last_output()).config();
        EXPECT_TRUE(config.targets.empty() && config.target_regex.empty());
        EXPECT_EQ(config.target_parameters, std::vector<std::string>{"down_proj.weight"});
        EXPECT_TRUE(read_json(project.last_output() / "adapter_config.json").at("target_modules").is_list());
    }
    const std::string saved = project.last_output().string();
    project.run(method("continue_from: " + saved));
    const std::string message =
        refusal(project, {"peft={rank: 4, target_parameters: [q_proj.weight], exclude: [q_proj]}"}).what();
    EXPECT_EQ(message, "peft.exclude: has no effect without targets, of which it takes some");
}

TEST(Adapters, AMistakeInASavedOneIsOneOfItsFile) {
    TinyProject project;
    project.run(method("rank: 4, targets: [q_proj]", {"training.steps=1"}));
    const std::string saved = project.last_output().string(), config = saved + "/adapter_config.json";
    const std::string text = get_text(config);
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string other = text;
        other.replace(other.find(from), from.size(), to);
        put_text(config, other);
        const Error error = refusal(project, {"peft={continue_from: " + saved + "}"});
        EXPECT_TRUE(error.code() == Exit::bad_data || error.code() == Exit::done) << error.what();
        return std::string(error.what());
    };
    EXPECT_EQ(with("\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]"),
              config +
                  ": modules_to_save: the model has no lm_head of its own: its output layer is the embedding, whose "
                  "weights are used twice");
    EXPECT_EQ(with("\"trainable_token_indices\": null", "\"trainable_token_indices\": [100000]")
                  .substr(0, config.size() + 51),
              config + ": trainable_token_indices: there is no token 100000");
    EXPECT_EQ(with("\"rank_pattern\": {}", "\"rank_pattern\": {\"(q\": 4}").substr(0, config.size() + 56),
              config + ": rank_pattern or alpha_pattern is no regular expression");
    EXPECT_EQ(with("\"rank_pattern\": {}", "\"rank_pattern\": {\"v_proj\": 8}"), "");   // PEFT does not mind
}

TEST(Adapters, OfAnotherBaseAreRefused) {
    TinyProject project;
    project.run(method("rank: 4", {"training.steps=1"}));
    const std::string saved = project.last_output().string();
    TinyShape wider;
    wider.intermediate = 96;
    const Error error = refusal(TinyProject(16, wider), {"peft={continue_from: " + saved + "}"});
    EXPECT_EQ(error.code(), Exit::bad_data);
    EXPECT_NE(std::string(error.what()).find("it belongs to another base"), std::string::npos) << error.what();
}

TEST(Adapters, TheTiedHeadHasNoAdapterOfItsOwn) {
    const TinyProject project;
    const Error error = refusal(project, {"peft.targets=[q_proj, lm_head]"});
    EXPECT_EQ(error.code(), Exit::bad_recipe);
    EXPECT_EQ(std::string(error.what()),
              "peft.targets: the model has no lm_head of its own: its output layer is the embedding, whose weights are "
              "used twice");
}

TEST(Adapters, TheModelCardNamesTheMethod) {
    TinyProject project;
    project.run(method("method: ia3", {"training.steps=1"}));
    EXPECT_NE(get_text(project.last_output() / "README.md").find("\n- ia3\n"), std::string::npos);
}

// What is frozen is saved as the base has it, even where it was computed with in bf16.
TEST(UnfrozenParameters, OnlyTheyAreTrained) {
    TinyProject project;
    const FinishedRun run = project.run({"peft=null", "training.unfrozen_parameters=[.*norm, model.layers.1.mlp.up]",
                                         "training.precision=bf16", "optimizer.lr=2e-2"});
    EXPECT_LT(eval_loss(run, 1), eval_loss(run, 0));
    const SafetensorsFile base(project.path() / "model/model.safetensors");
    const SafetensorsFile saved(project.last_output() / "model.safetensors");
    const auto values = [](const SafetensorsFile& file, const std::string& name) {
        std::vector<float> out(static_cast<std::size_t>(element_count(file.at(name).shape)));
        file.read(file.at(name), DType::f32, out.data());
        return out;
    };
    for (const FileTensor& tensor : base.tensors()) {
        const bool trained =
            tensor.name.find("norm") != std::string::npos || tensor.name == "model.layers.1.mlp.up_proj.weight";
        EXPECT_EQ(values(base, tensor.name) != values(saved, tensor.name), trained) << tensor.name;
    }
}

TEST(UnfrozenParameters, ThatNobodyHasAreRefused) {
    const TinyProject project;
    const Error error = refusal(project, {"peft=null", "training.unfrozen_parameters=['.*bias$']"});
    EXPECT_EQ(error.code(), Exit::bad_recipe);
    EXPECT_EQ(std::string(error.what()),
              "training.unfrozen_parameters: no name of a parameter begins with a match of \".*bias$\"; such a name is "
              "model.layers.1.mlp.down_proj.weight");
}

}   // namespace
}   // namespace trainer::test
