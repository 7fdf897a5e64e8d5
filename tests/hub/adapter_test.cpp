#include "hub/adapter.h"

#include <gtest/gtest.h>

#include <limits>

#include "configs/error.h"
#include "hub/card.h"
#include "tests/hub/files.h"

namespace trainer {
namespace {

using namespace test;

struct Refusal {
    Exit code;
    std::string message;   // without the path of the folder
};

Refusal refusal(const TemporaryFolder& folder) {
    try {
        AdapterFile file(folder.path());
    } catch (const Error& error) {
        std::string text = error.what();
        const std::string path = folder.path().string();
        if (text.starts_with(path)) text.erase(0, path.size());
        return {error.code(), text};
    }
    return {Exit::done, ""};
}

void write_good(const TemporaryFolder& folder) {
    AdapterConfig config;
    config.rank = 2;
    config.targets = {"v_proj", "q_proj"};
    const std::vector<float> values(8, 0.5f);
    write_adapter(folder.path(), config,
                  {{"base_model.model.layers.0.q_proj.lora_A.weight", {2, 4}, values.data(), {}},
                   {"base_model.model.layers.0.q_proj.lora_B.weight", {3, 2}, nullptr, std::vector<float>(6, 0.25f)}});
}

TEST(Adapter, ReadsWhatItWrote) {
    const TemporaryFolder folder;
    write_good(folder);
    const AdapterFile file(folder.path());
    EXPECT_EQ(file.config().targets, (std::vector<std::string>{"q_proj", "v_proj"}));
    ASSERT_EQ(file.modules().size(), 1u);
    EXPECT_EQ(file.modules()[0].in, 4);
    EXPECT_EQ(file.modules()[0].out, 3);
    EXPECT_TRUE(file.notes().empty());
    std::vector<float> b(6);
    file.read("base_model.model.layers.0.q_proj.lora_B.weight", b.data());
    EXPECT_EQ(b, std::vector<float>(6, 0.25f));
}

TEST(Adapter, OneWithANameIsFoundBelow) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "tone");
    put(folder / "tone/adapter_config.json", "{}");
    const Refusal found = refusal(folder);
    EXPECT_EQ(found.code, Exit::no_input);
    EXPECT_EQ(found.message, "/adapter_config.json: no such file; did you mean " + (folder / "tone").string() + "?");
}

TEST(Adapter, RefusesBadConfigs) {
    const std::pair<const char*, const char*> cases[] = {
        {R"({"r":2})", ": key \"peft_type\" is missing"},
        {R"({"peft_type":"BOFT"})",
         ": peft_type \"BOFT\" is not supported (supported: LORA, LOHA, LOKR, VERA, OFT, IA3)"},
        {R"({"peft_type":"LORA","r":2,"target_modules":["q_proj"],"lora_bias":true})", ": lora_bias is not supported"},
        {R"({"peft_type":"LORA","r":2,"target_modules":["q_proj"],"bias":"some"})",
         ": bias: expected none, all or lora_only, found \"some\""},
        {R"({"peft_type":"LORA","r":0,"target_modules":["q_proj"]})", ": r: expected a positive integer, found 0"},
        {R"({"peft_type":"LORA","r":"2","target_modules":["q_proj"]})",
         ": r: expected an integer, found the string \"2\""},
        {R"({"peft_type":"LORA","r":2,"target_modules":[]})", ": target_modules is empty"},
        {R"({"peft_type":"LORA","r":2,"target_modules":["q_proj"],"init_lora_weights":"pissa"})",
         ": init_lora_weights \"pissa\" changes the base weights and is not supported; convert the adapter to a plain "
         "LoRA"},
        {"[]", ": expected a map, found a list"},
    };
    for (const auto& [config, message] : cases) {
        const TemporaryFolder folder;
        write_good(folder);
        put(folder / "adapter_config.json", config);
        const Refusal found = refusal(folder);
        EXPECT_EQ(found.code, Exit::bad_data) << config;
        EXPECT_EQ(found.message, "/adapter_config.json" + std::string(message));
    }
}

// PEFT fills them in by the kind of model.
TEST(Adapter, WithoutTargetsHasThoseOfPeft) {
    for (const std::string config :
         {R"({"peft_type":"LORA","r":2})", R"({"peft_type":"LORA","r":2,"target_modules":null})"}) {
        const TemporaryFolder folder;
        write_good(folder);
        put(folder / "adapter_config.json", config);
        EXPECT_EQ(AdapterFile(folder.path()).config().targets, (std::vector<std::string>{"q_proj", "v_proj"}));
    }
    const TemporaryFolder folder;
    AdapterConfig config;
    config.type = AdapterType::ia3;
    config.targets = {"up_proj"};
    write_adapter(folder.path(), config,
                  {{"base_model.model.layers.0.k_proj.ia3_l", {3, 1}, nullptr, std::vector<float>(3, 1)}});
    EXPECT_EQ(AdapterFile(folder.path()).config().feedforward, std::vector<std::string>());   // [], not null
    put(folder / "adapter_config.json", R"({"peft_type":"IA3","target_modules":null,"feedforward_modules":null})");
    const AdapterFile file(folder.path());
    EXPECT_EQ(file.config().targets, (std::vector<std::string>{"k_proj", "v_proj", "down_proj"}));
    EXPECT_EQ(file.config().feedforward, std::vector<std::string>{"down_proj"});
}

TEST(Adapter, RefusesBadWeights) {
    const std::string a = R"("base_model.model.m.lora_A.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})";
    const std::pair<std::string, const char*> cases[] = {
        {a, ": module m has no lora_B.weight"},
        {a + R"(,"base_model.model.m.lora_B.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]})",
         ": module m: lora_A has shape [2, 1] and lora_B [1, 3], expected [rank, in] and [out, rank]"},
        {R"("base_model.model.m.lora_A.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
         R"("base_model.model.m.lora_B.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]})",
         ": module m has rank 1, adapter_config.json says 2"},
        {R"("m.lora_A.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})",
         ": tensor m.lora_A.weight: expected a name that begins with base_model.model."},
        {R"("base_model.model.m.lora_A.weight":{"dtype":"I32","shape":[2,1],"data_offsets":[0,8]})",
         ": tensor base_model.model.m.lora_A.weight has dtype I32, expected F32, BF16 or F16"},
        {R"("base_model.model.m.lora_B.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
         ": tensor base_model.model.m.lora_B.bias is of a kind of adapter that is not supported"},
        {R"("base_model.model.m.hada_w1_a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})",
         ": module m has no hada_w1_b"},
        {R"("base_model.model.m.lokr_w1_a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})",
         ": module m has no lokr_w1_b"},
        {R"("base_model.model.m.vera_lambda_b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
         ": module m has no vera_lambda_d"},
        {R"("base_model.model.m.ia3_l":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]})",
         ": module m is not of the type that adapter_config.json says"},
        {R"("base_model.model.m.ia3_l":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
         ": tensor base_model.model.m.ia3_l has shape [2], expected [out, 1] or [1, in]"},
        {R"("base_model.model.m.oft_R.weight":{"dtype":"F32","shape":[0,9000000000000000000],"data_offsets":[0,0]})",
         ": module m: oft_R has shape [0, 9000000000000000000], expected [blocks, b (b - 1) / 2]"},
        {R"("base_model.model.m.oft_R.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]})",
         ": module m: oft_R has shape [1, 2], expected [blocks, b (b - 1) / 2]"},
        {R"("base_model.model.m.lokr_w1":{"dtype":"F32","shape":[0,9000000000000000000],"data_offsets":[0,0]},)"
         R"("base_model.model.m.lokr_w2":{"dtype":"F32","shape":[0,9000000000000000000],"data_offsets":[0,0]})",
         ": base_model.model.m.lokr_w1 has shape [0, 9000000000000000000], expected two dimensions above 0"},
        {R"("base_model.model.lm_head.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})",
         ": holds no LORA tensors"},
    };
    for (const auto& [header, message] : cases) {
        const TemporaryFolder folder;
        write_good(folder);
        const std::size_t end = header.rfind(',');
        const std::size_t size = std::stoul(header.substr(end + 1));
        put(folder / "adapter_model.safetensors", safetensors("{" + header + "}", std::string(size, '\0')));
        const Refusal found = refusal(folder);
        EXPECT_EQ(found.code, Exit::bad_data);
        EXPECT_EQ(found.message, "/adapter_model.safetensors" + std::string(message));
    }
}

TEST(Adapter, NumbersThatAreNotFiniteAreRefusedWhenTheyAreRead) {
    const TemporaryFolder folder;
    const float a[8] = {}, b[6] = {0, 0, 0, 0, std::numeric_limits<float>::infinity(), 0};
    AdapterConfig config;
    config.targets = {"q_proj"};
    config.rank = 2;
    const std::string module = "base_model.model.layers.0.q_proj.";
    write_adapter(folder.path(), config,
                  {{module + "lora_A.weight", {2, 4}, a, {}}, {module + "lora_B.weight", {3, 2}, b, {}}});
    const AdapterFile file(folder.path());
    std::vector<float> values(8);
    file.read(module + "lora_A.weight", values.data());
    try {
        file.read(module + "lora_B.weight", values.data());
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::diverged);
        EXPECT_EQ(error.what(), (folder / "adapter_model.safetensors").string() + ": tensor " + module +
                                    "lora_B.weight holds inf (element 4); such an adapter cannot be used. Its file is "
                                    "damaged, or it diverged when it was trained");
    }
}

TEST(Adapter, MissingAndPickled) {
    const TemporaryFolder folder;
    EXPECT_EQ(refusal(folder).code, Exit::no_input);
    write_good(folder);
    std::filesystem::remove(folder / "adapter_model.safetensors");
    EXPECT_EQ(refusal(folder).code, Exit::no_input);
    put(folder / "adapter_model.bin", "x");
    EXPECT_EQ(refusal(folder).code, Exit::refused);
}

TEST(Card, OfAnAdapter) {
    ModelCard card;
    card.title = "devil";
    card.base_model = "org/tiny";
    card.license = "no";
    card.results = {{"Loss", "1.2345"}};
    card.versions = {{"trainer", "0.1.0"}};
    EXPECT_EQ(card_text(card),
              "---\nbase_model: org/tiny\nlibrary_name: peft\nlicense: \"no\"\npipeline_tag: text-generation\ntags:\n"
              "- base_model:adapter:org/tiny\n- lora\n- transformers\n---\n\n# devil\n\n"
              "### Results on the evaluation set\n\n- Loss: 1.2345\n\n### Framework versions\n\n- trainer 0.1.0\n");
}

}   // namespace
}   // namespace trainer
