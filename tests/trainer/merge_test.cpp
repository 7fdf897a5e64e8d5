// A merged model does what base and adapter do together.
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "configs/json.h"
#include "hub/safetensors.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;

// A run's adapter of a method, its project and how to call the program there.
class Merge : public ::testing::Test {
protected:
    TinyProject project;

    std::string adapter(const std::string& section) {
        project.run({"peft={" + section + "}", "optimizer.lr=1e-2", "checkpoint.every=null", "training.steps=3"});
        return project.last_output().string();
    }
    ProgramResult call(const Words& words) { return run_program(words, project.path()); }
    ProgramResult merge(const std::string& folder, const Words& more = {}) {
        Words words = {"merge", folder, "--out", "merged"};
        words.insert(words.end(), more.begin(), more.end());
        return call(words);
    }
    // A drawn answer, which depends on every logit.
    std::string written(const std::string& model, const std::string& with = "") {
        Words words = {"generate", model,    "--prompt", "the cat that", "--max-tokens", "24", "--temperature",
                       "2",        "--seed", "3",        "--json"};
        if (!with.empty()) words.insert(words.end(), {"--adapter", with});
        const ProgramResult result = call(words);
        EXPECT_EQ(result.code, 0) << result.err;
        return result.out;
    }
    bool exists(const std::string& name) const { return std::filesystem::exists(project.path() / name); }
};

TEST_F(Merge, OfEveryMethodWritesWhatBaseAndAdapterWrite) {
    const std::string base = (project.path() / "model").string();
    const std::string alone = written(base);
    for (const std::string& section :
         Words{"method: rslora, rank: 4, modules_to_save: [norm]", "method: dora, rank: 4",
               "method: pissa, rank: 4, targets: [q_proj, down_proj]", "method: olora, rank: 4",
               "method: ia3, modules_to_save: [input_layernorm]", "method: lora, targets: [embed_tokens, v_proj]"}) {
        SCOPED_TRACE(section);
        const std::string saved = adapter(section);
        const ProgramResult result =
            merge(saved, section.find("embed") == std::string::npos ? Words{} : Words{"--untie"});
        ASSERT_EQ(result.code, 0) << result.err;
        EXPECT_THAT(result.out, HasSubstr("largest logit gap "));
        const std::string expected = written(base, saved);
        EXPECT_EQ(written("merged"), expected);
        EXPECT_NE(expected, alone);
        std::filesystem::remove_all(project.path() / "merged");
    }
}

TEST_F(Merge, RoundsOnceAndSplitsIntoShards) {
    const std::string saved = adapter("rank: 4");
    ASSERT_EQ(merge(saved).code, 0);
    ASSERT_EQ(call({"merge", saved, "--out", "small", "--dtype", "bf16", "--shard-size", "0.00004"}).code, 0);
    EXPECT_TRUE(exists("small/model.safetensors.index.json"));
    EXPECT_EQ(read_json(project.path() / "small/config.json").at("dtype").as_string(), "bfloat16");
    const Node index = read_json(project.path() / "small/model.safetensors.index.json");
    const SafetensorsFile whole(project.path() / "merged/model.safetensors");
    for (const FileTensor& tensor : whole.tensors()) {
        const SafetensorsFile shard(project.path() / "small" / index.at("weight_map").at(tensor.name).as_string());
        const auto count = static_cast<std::size_t>(element_count(tensor.shape));
        std::vector<bf16> rounded(count), found(count);
        whole.read(tensor, DType::bf16, rounded.data());
        shard.read(shard.at(tensor.name), DType::bf16, found.data());
        EXPECT_EQ(std::memcmp(rounded.data(), found.data(), count * sizeof(bf16)), 0) << tensor.name;
    }
}

TEST_F(Merge, IntoAQuantisedBaseUnpacked) {
    const std::string saved = adapter("rank: 4");
    ASSERT_EQ(call({"export", "bitsandbytes", "model", "--out", "packed"}).code, 0);
    const ProgramResult result = merge(saved, {"--base", "packed", "--dequantise"});
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(read_json(project.path() / "merged/config.json").find("quantization_config"), nullptr);
    EXPECT_EQ(written("merged"), written("packed", saved));
    ASSERT_EQ(call({"merge", saved, "--out", "original", "--into-original", "model"}).code, 0);
    EXPECT_EQ(written("original"), written("model", saved));
}

TEST_F(Merge, BeyondTheToleranceKeepsNothing) {
    const std::string saved = adapter("rank: 4");
    const ProgramResult result = merge(saved, {"--dtype", "bf16", "--tolerance", "1e-6"});
    EXPECT_EQ(result.code, 84);
    EXPECT_THAT(result.err, HasSubstr("of the logits' range, more than 1e-06; nothing was kept."));
    EXPECT_FALSE(exists("merged"));
    EXPECT_EQ(merge(saved, {"--dtype", "bf16", "--no-verify"}).code, 0);
    EXPECT_TRUE(exists("merged/config.json"));
}

// Wherever Ctrl-C comes, there is a whole model or nothing.
TEST_F(Merge, InterruptedKeepsNothing) {
    const std::string saved = adapter("rank: 4");
    int stopped = 0;
    for (int delay = 0; delay < 60; delay += 2) {
        SCOPED_TRACE(delay);
        Program program({"merge", saved, "--out", "merged"}, project.path());
        std::this_thread::sleep_for(std::chrono::milliseconds(delay));
        program.signal(SIGINT);
        const ProgramResult result = program.wait();
        if (result.code == 0) {
            EXPECT_EQ(written("merged"), written("model", saved));
            std::filesystem::remove_all(project.path() / "merged");
            continue;
        }
        ++stopped;
        EXPECT_EQ(result.code, 130) << result.err;   // also where no guard stands yet: 128 + SIGINT
        EXPECT_FALSE(exists("merged"));
    }
    EXPECT_GT(stopped, 0);
}

TEST_F(Merge, TakesTheAdaptersTemplateAndEndOfText) {
    const std::string saved = adapter("rank: 4");
    put_text(saved + "/chat_template.jinja", "{{ messages[0].content }}");
    Node config = read_json(saved + "/tokenizer_config.json");
    config.set("eos_token", "<|endoftext|>");
    put_text(saved + "/tokenizer_config.json", to_json(config));
    const ProgramResult result = merge(saved);
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(get_text(project.path() / "merged/chat_template.jinja"), "{{ messages[0].content }}");
    EXPECT_EQ(read_json(project.path() / "merged/tokenizer_config.json").at("eos_token").as_string(), "<|endoftext|>");
    EXPECT_NE(to_json(read_json(project.path() / "merged/config.json").at("eos_token_id")),
              to_json(read_json(project.path() / "model/config.json").at("eos_token_id")));
}

TEST_F(Merge, AnAdapterIsReadTheSameAgain) {
    const ProgramResult result = call({"verify", "adapter", adapter("method: dora, rank: 4"), "--json"});
    ASSERT_EQ(result.code, 0) << result.err;
    const Node verdict = json_lines(result.out).at(0);
    EXPECT_TRUE(verdict.at("equal").as_bool());
    EXPECT_TRUE(verdict.at("same_logits").as_bool());
    EXPECT_EQ(verdict.at("modules").as_integer(), 14);
    EXPECT_GT(verdict.at("largest_change").as_number(), 0);
}

TEST_F(Merge, AnAdapterThatWasNotTrainedIsFound) {
    project.run({"peft={rank: 4}", "training.steps=1", "optimizer.lr=1e-9", "checkpoint.every=null"});   // rate 0
    const std::string saved = project.last_output().string();
    const ProgramResult result = call({"verify", "adapter", saved});
    EXPECT_EQ(result.code, 65);
    EXPECT_THAT(result.err, HasSubstr(saved + ": changes nothing: every logit of the prompts is the base's"));
    EXPECT_THAT(result.out, HasSubstr("0 of 14 modules"));
}

// It takes away from the weights what it adds again, which leaves rounding.
TEST_F(Merge, AnAdapterThatOnlyRoundsIsFound) {
    for (const char* section : {"method: pissa, rank: 4", "method: olora, rank: 8"}) {
        project.run({"peft={" + std::string(section) + "}", "training.steps=1", "checkpoint.every=null"});   // rate 0
        const std::string saved = project.last_output().string();
        const ProgramResult result = call({"verify", "adapter", saved});
        EXPECT_EQ(result.code, 65);
        EXPECT_EQ(result.err, "error: " + saved +
                                  ": 14 of 14 modules have no effect: model.layers.0.mlp.down_proj takes away again "
                                  "what it adds, which is as it began\n");
        EXPECT_THAT(result.out, HasSubstr("0 of 14 modules"));
        EXPECT_THAT(result.out, HasSubstr("NO"));
    }
}

// An update with a small rate is more than that, though what it does is no more than rounding.
TEST_F(Merge, AnAdapterOfOneSmallStepHasAnEffect) {
    for (const char* section : {"method: lora, rank: 4", "method: pissa, rank: 4"}) {
        project.run(
            {"peft={" + std::string(section) + "}", "training.steps=2", "optimizer.lr=1e-8", "checkpoint.every=null"});
        const ProgramResult result = call({"verify", "adapter", project.last_output().string(), "--json"});
        EXPECT_EQ(result.code, 0) << section << result.err;
    }
}

}   // namespace
}   // namespace trainer::test
