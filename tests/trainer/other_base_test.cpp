// Adapters are known to belong to the weights that they were trained on.
#include <gmock/gmock.h>

#include <set>

#include "hub/adapter.h"
#include "hub/safetensors.h"
#include "hub/snapshot.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<std::string>;
namespace fs = std::filesystem;

constexpr const char* other_weights = ": was trained on other weights";
constexpr const char* other_format = ": was trained on weights of another format";

// adapter/ was trained on model/; sister/ is a model of the same shape.
class OtherBase : public ::testing::Test {
protected:
    TinyProject project;

    void SetUp() override {
        TinyShape shape;
        shape.seed = 2;
        write_tiny_model(project.path() / "sister", shape);
        project.run({"checkpoint.every=null", "training.steps=2", "optimizer.lr=1e-2"});
        fs::rename(project.last_output(), project.path() / "adapter");
    }
    ProgramResult call(const Words& words) { return run_program(words, project.path()); }
    // As adapter/, but called so and trained on `base`.
    void train_on(const std::string& base, const std::string& name) {
        project.run({"checkpoint.every=null", "training.steps=2", "optimizer.lr=1e-2",
                     "model.base=" + (project.path() / base).string()});
        fs::rename(project.last_output(), project.path() / name);
    }
    // What base was compressed to in blocks of `block`.
    void pack(const std::string& base, const std::string& name, const std::string& block = "64") {
        ASSERT_EQ(call({"export", "bitsandbytes", base, "--out", name, "--block-size", block}).code, 0);
    }
    // All commands that take an adapter on this base, with what lets them use another.
    std::vector<std::pair<Words, std::string>> uses_on(const std::string& base) {
        return {{{"merge", "adapter", "--base", base, "--out", "merged"}, "--other-base"},
                {{"verify", "adapter", "adapter", "--base", base}, "--other-base"},
                {{"generate", base, "--adapter", "adapter", "--prompt", "a", "--max-tokens", "2"}, "--other-base"},
                {{"run", "recipe.yaml", "model.base=" + base, "peft={continue_from: adapter}", "output=more"},
                 "peft.other_base=true"},
                {{"run", "recipe.yaml", "model.base=" + base,
                  "peft={method: lora, targets: [v_proj], name: b, beside: {a: adapter}}", "output=more"},
                 "peft.other_base=true"}};
    }
    void clear() {
        for (const char* made : {"merged", "more"}) fs::remove_all(project.path() / made);
    }
    // The adapter as PEFT would have written it.
    void forget_base() {
        const fs::path file = project.path() / "adapter/adapter_model.safetensors";
        const AdapterFile read(project.path() / "adapter");
        std::vector<AdapterTensor> tensors;
        for (const FileTensor& tensor : read.tensors()) {
            tensors.push_back({tensor.name, tensor.shape, nullptr,
                               std::vector<float>(static_cast<std::size_t>(element_count(tensor.shape)))});
            read.read(tensor.name, tensors.back().made.data());
        }
        fs::create_directories(project.path() / "plain");
        write_adapter(project.path() / "plain", read.config(), tensors);
        fs::rename(project.path() / "plain/adapter_model.safetensors", file);
    }
};

TEST_F(OtherBase, OfTheSameShapeIsRefused) {
    for (auto [words, permission] : uses_on("./sister")) {
        SCOPED_TRACE(words[0] + " " + words[1]);
        const ProgramResult refused = call(words);
        EXPECT_EQ(refused.code, 65) << refused.err;
        EXPECT_THAT(refused.err, HasSubstr(std::string("error: adapter") + other_weights + " (it names "));
        EXPECT_THAT(refused.err, HasSubstr("than those of ./sister, though their names, types and shapes are the same; "
                                           "name the base that it belongs to, or use it all the same with "));
        clear();
        words.push_back(permission);
        const ProgramResult allowed = call(words);
        EXPECT_EQ(allowed.code, 0) << allowed.err;
        EXPECT_THAT(allowed.err, HasSubstr(std::string("adapter") + other_weights));
        clear();
    }
}

TEST_F(OtherBase, ItsOwnIsUsedWithoutAWord) {
    for (const auto& [words, permission] : uses_on("./model")) {
        SCOPED_TRACE(words[0] + " " + words[1]);
        const ProgramResult result = call(words);
        EXPECT_EQ(result.code, 0) << result.err;
        EXPECT_THAT(result.err, Not(HasSubstr("was trained on")));
        clear();
    }
}

TEST_F(OtherBase, InAnotherFormatIsAWarning) {
    pack("./model", "packed");
    const ProgramResult packed = call({"verify", "adapter", "adapter", "--base", "./packed"});
    EXPECT_EQ(packed.code, 0) << packed.err;
    EXPECT_THAT(packed.err, HasSubstr(std::string("adapter") + other_format));
    EXPECT_THAT(packed.err, HasSubstr("than those of ./packed; whether both are one model cannot be told"));
}

TEST_F(OtherBase, InOtherBlocksIsAnotherFormat) {
    pack("./model", "packed");
    pack("./model", "wide", "128");
    train_on("./packed", "small");
    const ProgramResult wide = call({"verify", "adapter", "small", "--base", "./wide"});
    EXPECT_EQ(wide.code, 0) << wide.err;
    EXPECT_THAT(wide.err, HasSubstr(std::string("small") + other_format));
    EXPECT_EQ(call({"verify", "adapter", "small", "--base", "./packed"}).err, "");
}

// The same model has other values when something else compressed it.
TEST_F(OtherBase, CompressedToOtherValuesIsAWarning) {
    pack("./model", "packed");
    pack("./sister", "packed_sister");
    train_on("./packed", "small");
    const ProgramResult result = call({"verify", "adapter", "small", "--base", "./packed_sister"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("small: was trained on other compressed weights (it names "));
    EXPECT_THAT(result.err, HasSubstr("than those of ./packed_sister; whether both are one model cannot be told"));
}

// Whoever names it knows that its format is another.
TEST_F(OtherBase, TheOriginalOfACompressedBaseIsItsOwn) {
    pack("./model", "packed");
    train_on("./packed", "small");
    const ProgramResult merged = call({"merge", "small", "--into-original", "./model", "--out", "merged"});
    EXPECT_EQ(merged.code, 0) << merged.err;
    EXPECT_EQ(merged.err, "");
    EXPECT_EQ(call({"merge", "adapter", "--into-original", "./sister", "--out", "more"}).code, 65);
}

TEST_F(OtherBase, IsNotKnownToAnAdapterOfPeft) {
    forget_base();
    for (const auto& [words, permission] : uses_on("./sister")) {
        SCOPED_TRACE(words[0] + " " + words[1]);
        const ProgramResult result = call(words);
        EXPECT_EQ(result.code, 0) << result.err;
        EXPECT_THAT(result.err, Not(HasSubstr("was trained on")));
        clear();
    }
}

// What is gone on with on another base belongs to that one.
TEST_F(OtherBase, IsTheBaseOfWhatIsTrainedOnIt) {
    ASSERT_EQ(call({"run", "recipe.yaml", "model.base=./sister", "peft={continue_from: adapter, other_base: true}",
                    "output=more"})
                  .code,
              0);
    EXPECT_EQ(AdapterFile(project.path() / "more").base(),
              digest_of_weights(*open_snapshot((project.path() / "sister").string()).weights));
}

TEST_F(OtherBase, StaysKnownWhenAdaptersAreCombined) {
    ASSERT_EQ(call({"combine", "adapter", "adapter", "--weights", "0.5,0.5", "--out", "both"}).code, 0);
    EXPECT_TRUE(AdapterFile(project.path() / "both").base());
    EXPECT_EQ(AdapterFile(project.path() / "both").base(), AdapterFile(project.path() / "adapter").base());
}

// All are compared with the first that says what it was made for.
TEST_F(OtherBase, IsFoundWhenAdaptersAreCombined) {
    fs::copy(project.path() / "adapter", project.path() / "made_for_model");
    forget_base();
    train_on("./sister", "made_for_sister");
    pack("./model", "packed");
    train_on("./packed", "made_for_packed");
    Words words = {"combine", "adapter", "made_for_model", "made_for_sister", "made_for_packed", "--weights", "1,1,1,1",
                   "--out",   "all"};
    const ProgramResult refused = call(words);
    EXPECT_EQ(refused.code, 65);
    EXPECT_THAT(refused.err,
                HasSubstr("error: made_for_sister was trained on other weights than made_for_model; combine "
                          "adapters of one base, or combine them all the same with --other-base\n"));
    EXPECT_FALSE(fs::exists(project.path() / "all"));
    words.push_back("--other-base");
    const ProgramResult result = call(words);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("warning: made_for_sister was trained on other weights than made_for_model\n"));
    EXPECT_THAT(result.err, HasSubstr("warning: made_for_packed was trained on weights of another format than "
                                      "made_for_model; whether both are of one model cannot be told\n"));
    EXPECT_THAT(result.err, Not(HasSubstr("adapter was trained on")));
    EXPECT_FALSE(AdapterFile(project.path() / "all").base());
}

// Blocks of compressed matrices are part of the layout.
TEST(WeightsDigest, KnowsTheBlocksOfCompressedWeights) {
    ScratchFolder folder;
    write_tiny_model(folder / "model");
    const auto layout_of = [&](const Words& choice) {
        Words words = {"export", "bitsandbytes", "./model", "--out", "packed"};
        words.insert(words.end(), choice.begin(), choice.end());
        EXPECT_EQ(run_program(words, folder.path()).code, 0);
        const std::string layout = digest_of_weights(*open_snapshot((folder / "packed").string()).weights).layout;
        fs::remove_all(folder / "packed");
        return layout;
    };
    const std::vector<Words> choices = {
        {"--block-size", "64"}, {"--block-size", "32"}, {"--no-double-quant"}, {"--type", "int8"}, {"--type", "fp4"}};
    std::set<std::string> layouts;
    for (const Words& choice : choices) layouts.insert(layout_of(choice));
    EXPECT_EQ(layouts.size(), choices.size());
    EXPECT_EQ(layout_of({}), layout_of({"--block-size", "64"}));
}

TEST(WeightsDigest, KnowsWeightsInAnyShards) {
    ScratchFolder folder;
    write_tiny_model(folder / "model");
    const auto digest = [&](const char* name) {
        return digest_of_weights(*open_snapshot((folder / name).string()).weights);
    };
    const WeightsDigest whole = digest("model");
    fs::copy(folder / "model", folder / "split");
    const SafetensorsFile file(folder / "model" / "model.safetensors");
    std::string map;
    for (const FileTensor& tensor : file.tensors()) {
        const std::string shard = tensor.name + ".safetensors";
        write_safetensors(folder / "split" / shard,
                          {{tensor.name, tensor.dtype, tensor.shape, file.bytes(tensor), {}}});
        map += (map.empty() ? "\"" : ", \"") + tensor.name + "\": \"" + shard + "\"";
    }
    fs::remove(folder / "split" / "model.safetensors");
    put_text(folder / "split" / "model.safetensors.index.json", "{\"weight_map\": {" + map + "}}");
    EXPECT_EQ(digest("split"), whole);

    fs::copy(folder / "model", folder / "changed");
    set_weights(folder / "changed" / "model.safetensors", "model.norm.weight", 3, 4, 0.5f);
    EXPECT_EQ(digest("changed").layout, whole.layout);
    EXPECT_NE(digest("changed").values, whole.values);

    fs::copy(folder / "model", folder / "rounded");
    fs::remove(folder / "rounded" / "model.safetensors");
    write_tiny_weights(folder / "rounded" / "model.safetensors", tiny_tensors(), 1, FileDType::bf16);
    EXPECT_NE(digest("rounded").layout, whole.layout);
}

}   // namespace
}   // namespace trainer::test
