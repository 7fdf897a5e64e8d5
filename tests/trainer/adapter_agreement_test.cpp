// An adapter's configuration and its tensors must be of one adapter.
#include <gmock/gmock.h>

#include "configs/json.h"
#include "hub/adapter.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;
namespace fs = std::filesystem;

constexpr const char* others = "adapter: adapter_model.safetensors has tensors of ";
constexpr const char* missing = "adapter: adapter_model.safetensors has no tensors of ";

// adapter/ was trained on q_proj and v_proj of both layers of model/.
class AdapterAgreement : public ::testing::Test {
protected:
    TinyProject project;
    const std::vector<Words> uses = {
        {"verify", "adapter", "adapter", "--base", "model"},
        {"merge", "adapter", "--base", "model", "--out", "written"},
        {"generate", "model", "--adapter", "adapter", "--prompt", "a", "--max-tokens", "2"},
        {"run", "recipe.yaml", "peft={continue_from: adapter}", "output=written"},
        {"combine", "adapter", "--weights", "1", "--out", "written"}};

    void SetUp() override {
        project.run({"checkpoint.every=null", "training.steps=2", "optimizer.lr=1e-2",
                     "peft={method: lora, rank: 4, targets: [q_proj, v_proj]}"});
        fs::rename(project.last_output(), project.path() / "adapter");
    }
    void set(const std::string& key, const Node& value) {
        Node config = read_json(project.path() / "adapter/adapter_config.json");
        config.set(key, value);
        put_text(project.path() / "adapter/adapter_config.json", to_json(config));
    }
    ProgramResult call(const Words& words) {
        fs::remove_all(project.path() / "written");
        return run_program(words, project.path());
    }
};

TEST_F(AdapterAgreement, TensorsOfOtherModulesAreRefused) {
    const std::pair<std::pair<const char*, Node>, const char*> cases[] = {
        {{"target_modules", Node::List{"q_proj"}},
         "model.layers.0.self_attn.v_proj, model.layers.1.self_attn.v_proj, which adapter_config.json does not choose "
         "(target_modules [q_proj]); the two files are not of one adapter, or one was changed\n"},
        {{"target_modules", Node(R"(.*\.0\..*\.(q|v)_proj)")},
         "model.layers.1.self_attn.q_proj, model.layers.1.self_attn.v_proj, which"},
        {{"exclude_modules", Node::List{"v_proj"}}, "model.layers.0.self_attn.v_proj, model.layers.1.self_attn.v_proj"},
        {{"layers_to_transform", Node::List{1}}, "model.layers.0.self_attn.q_proj, model.layers.0.self_attn.v_proj"},
    };
    const std::string before = get_text(project.path() / "adapter/adapter_config.json");
    for (const auto& [change, message] : cases) {
        set(change.first, change.second);
        for (const Words& words : uses) {
            SCOPED_TRACE(std::string(change.first) + " " + words[0]);
            const ProgramResult result = call(words);
            EXPECT_EQ(result.code, 65) << result.err;
            EXPECT_THAT(result.err, HasSubstr(std::string(others) + message));
            EXPECT_FALSE(fs::exists(project.path() / "written"));
        }
        put_text(project.path() / "adapter/adapter_config.json", before);
    }
}

TEST_F(AdapterAgreement, ChosenModulesWithoutTensorsAreRefused) {
    set("target_modules", Node::List{"q_proj", "v_proj", "down_proj"});
    for (const Words& words : uses) {
        SCOPED_TRACE(words[0]);
        const ProgramResult result = call(words);
        if (words[0] == "combine") {   // has no model that would say which modules there are
            EXPECT_EQ(result.code, 0) << result.err;
            continue;
        }
        EXPECT_EQ(result.code, 65) << result.err;
        EXPECT_THAT(result.err, HasSubstr(std::string(missing) +
                                          "model.layers.0.mlp.down_proj, model.layers.1.mlp.down_proj, which "
                                          "adapter_config.json chooses (target_modules [q_proj, v_proj, down_proj])"));
    }
}

// What PEFT may write of the same modules.
TEST_F(AdapterAgreement, AllFormsOfTheSameChoiceAreTaken) {
    const Node choices[] = {Node(R"(.*\.(q|v)_proj)"), Node(R"((?<=x).*\.(q|v)_proj)"), Node(),
                            Node(Node::List{"self_attn.q_proj", "v_proj", "visual.qkv"}),
                            Node(Node::List{"model.layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "v_proj"})};
    for (const Node& targets : choices) {
        set("target_modules", targets);
        for (const Words& words : uses) {
            SCOPED_TRACE(to_json(targets) + " " + words[0]);
            const ProgramResult result = call(words);
            EXPECT_EQ(result.code, 0) << result.err;
        }
    }
}

// PEFT saves no others but embeddings and output layer that way.
TEST_F(AdapterAgreement, AWholeMatrixThatNothingAsksForIsRefused) {
    const fs::path file = project.path() / "adapter/adapter_model.safetensors";
    const AdapterFile read(project.path() / "adapter");
    std::vector<AdapterTensor> tensors;
    for (const FileTensor& tensor : read.tensors()) {
        tensors.push_back({tensor.name, tensor.shape, nullptr,
                           std::vector<float>(static_cast<std::size_t>(element_count(tensor.shape)))});
        read.read(tensor.name, tensors.back().made.data());
    }
    tensors.push_back(
        {"base_model.model.model.layers.0.self_attn.o_proj.weight", {32, 32}, nullptr, std::vector<float>(1024, 1)});
    write_adapter(project.path() / "adapter", read.config(), tensors);
    const ProgramResult result = call(uses[0]);
    EXPECT_EQ(result.code, 65);
    EXPECT_THAT(result.err, HasSubstr("self_attn.o_proj.weight is explained neither by the adapter's configuration nor "
                                      "by the model"));
}

}   // namespace
}   // namespace trainer::test
