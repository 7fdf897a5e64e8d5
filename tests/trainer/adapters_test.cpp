// Adapter methods through the whole program: they learn, exactly; saved ones go on; parts of the base can stay frozen.
#include <gtest/gtest.h>

#include <cmath>

#include "configs/error.h"
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
                        "method: lora, rank: 4, targets: [v_proj], trainable_token_indices: [35, 14, 2]"};

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
        EXPECT_EQ(peft.at("rank").as_integer(), read.type == AdapterType::ia3 ? 16 : read.rank);
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
    EXPECT_EQ(message(", rank: 4, rslora: true, method: rslora, loraplus_lr_ratio: 2"), "");
    EXPECT_EQ(message(", rank: 8"), "peft.rank: the adapter in " + saved + " has 4, found 8; leave the key out");
    EXPECT_EQ(message(", method: ia3"),
              "peft.method: the adapter in " + saved + " has \"lora\", found \"ia3\"; leave the key out");
    EXPECT_EQ(message(", method: dora"),
              "peft.method: the adapter in " + saved + " is a lora with dora false, not dora; leave the key out");
    EXPECT_EQ(message(", init: pissa"),
              "peft.init: the adapter in " + saved + " has \"default\", found \"pissa\"; leave the key out");
    EXPECT_EQ(refusal(project, {"peft={continue_from: nowhere}"}).code(), Exit::no_input);
    std::filesystem::rename(saved + "/adapter_model.safetensors", saved + "/adapter_model.bin");
    EXPECT_EQ(refusal(project, {"peft={continue_from: " + saved + "}"}).code(), Exit::refused);
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
