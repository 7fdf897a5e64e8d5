// What `trainer verify` finds equal, and that it finds what is not.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "configs/json.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"
#include "trainer/checkpoint/sealed_json.h"
#include "trainer/verify/comparison.h"

namespace trainer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

class Verify : public ::testing::Test {
protected:
    ScratchFolder folder;
    void SetUp() override { write_setup(folder.path()); }
    void TearDown() override {
        for (const auto& entry : fs::directory_iterator(folder.path()))
            EXPECT_FALSE(entry.path().filename().string().starts_with(".trainer-verify")) << "left behind";
    }
    ProgramResult run(const std::vector<std::string>& arguments) { return run_program(arguments, folder.path()); }
    Node run_json(std::vector<std::string> arguments, int code) {
        arguments.emplace_back("--json");
        const ProgramResult result = run(arguments);
        EXPECT_EQ(result.code, code) << result.err;
        const auto lines = json_lines(result.out);
        EXPECT_EQ(lines.size(), 1u);
        return lines.empty() ? Node::map() : lines[0];
    }
};

std::vector<std::string> names_of(const Node& list) {
    std::vector<std::string> names;
    for (const Node& one : list.as_list()) names.push_back(one.at("name").as_string());
    return names;
}

TEST_F(Verify, ResumeIsEqual) {
    const ProgramResult result = run({"verify", "resume", "recipe.yaml", "--steps", "4", "--stops", "2"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("4 steps; killed (SIGKILL) after step "));
    EXPECT_THAT(result.out, HasSubstr("stopped (SIGTERM) after step "));
    EXPECT_THAT(result.out, HasSubstr("what             straight      resumed       equal\nweights "));
    EXPECT_THAT(result.out, Not(HasSubstr("NO")));
    EXPECT_FALSE(fs::exists(folder / "out"));
}

// What a recipe has room for in its own steps need not fit into the few of a verification.
TEST_F(Verify, ResumeIsEqualWithManyCycles) {
    const ProgramResult result = run({"verify", "resume", "recipe.yaml", "training.steps=100",
                                      "schedule={name: cosine, cycles: 20}", "--steps", "4", "--stops", "1"});
    EXPECT_EQ(result.code, 0) << result.err;
}

TEST_F(Verify, ResumeOfTwoRanksIsEqual) {
    const Node report = run_json({"verify", "resume", "recipe.yaml", "training.sharding=gradients", "peft=null",
                                  "training.micro_batch=auto", "--steps", "3", "--stops", "1", "--nproc", "2"},
                                 0);
    EXPECT_TRUE(report.at("equal").as_bool());
    EXPECT_EQ(report.at("stops").size(), 1u);
    EXPECT_THAT(names_of(report.at("runs")), ElementsAre("resumed"));
}

TEST_F(Verify, RanksAreEqualWhenSumsAreStrict) {
    const Node report = run_json({"verify", "ranks", "recipe.yaml", "--steps", "2", "--ranks", "1,2,5"}, 0);
    EXPECT_TRUE(report.at("equal").as_bool());
    EXPECT_THAT(names_of(report.at("runs")),
                ElementsAre("2 ranks", "2 ranks, sharding optimizer", "2 ranks, sharding gradients"));
    EXPECT_THAT(names_of(report.at("left_out")), ElementsAre("5 ranks"));
    EXPECT_THAT(report.at("left_out").as_list()[0].at("reason").as_string(), HasSubstr("too few for 5 ranks"));
}

// It is chosen for the most ranks that a step has rows for.
TEST_F(Verify, RanksShareAMicroBatchThatIsChosen) {
    const Node report = run_json(
        {"verify", "ranks", "recipe.yaml", "training.micro_batch=auto", "--steps", "1", "--ranks", "1,3,64"}, 0);
    EXPECT_TRUE(report.at("equal").as_bool());
    EXPECT_THAT(names_of(report.at("runs")),
                ElementsAre("3 ranks", "3 ranks, sharding optimizer", "3 ranks, sharding gradients"));
    EXPECT_THAT(names_of(report.at("left_out")), ElementsAre("64 ranks"));
}

TEST_F(Verify, RulesForWholeMatricesAreNotShared) {
    const Node report =
        run_json({"verify", "ranks", "recipe.yaml", "optimizer={name: muon}", "--steps", "1", "--ranks", "1,2"}, 0);
    EXPECT_THAT(names_of(report.at("runs")), ElementsAre("2 ranks"));
    EXPECT_THAT(names_of(report.at("left_out")), ElementsAre("sharding optimizer", "sharding gradients"));
}

TEST_F(Verify, RanksDifferWhenSumsAreRepeatable) {
    const std::vector<std::string> words = {
        "verify", "ranks",   "recipe.yaml", "training.determinism=repeatable", "--steps",
        "2",      "--ranks", "1,2",         "training.micro_batch=1"};
    const ProgramResult result = run(words);
    EXPECT_EQ(result.code, 78);
    EXPECT_THAT(result.out, HasSubstr("2 ranks against 1 rank: weights, optimizer state, metrics differ; step 1: "));
    EXPECT_THAT(result.out, HasSubstr("  NO\n"));
    EXPECT_EQ(result.err,
              "error: verify: the bits differ with the ranks or their sharding; sums are repeatable here, which does "
              "not promise them. training.determinism=strict does\n");
    const Node report = run_json(words, 78);
    EXPECT_FALSE(report.at("equal").as_bool());
    EXPECT_FALSE(report.at("runs").as_list()[0].at("equal").as_bool());
}

TEST_F(Verify, InvarianceHolds) {
    const Node report = run_json({"verify", "invariance", "recipe.yaml", "--steps", "2"}, 0);
    EXPECT_TRUE(report.at("equal").as_bool());
    EXPECT_THAT(names_of(report.at("runs")), ::testing::IsSupersetOf({"2 threads", "3 threads", "recompute block"}));
    EXPECT_THAT(names_of(report.at("close")), ElementsAre("micro_batch 1", "micro_batch 4", "packing true"));
    for (const Node& one : report.at("close").as_list()) EXPECT_LT(one.at("grad_norm").as_number(), 1e-4);
}

// Other leaves are compared without updates in the backward pass, whose steps have one; so is a sample of two sources.
TEST_F(Verify, InvarianceHoldsWithUpdatesInTheBackwardPass) {
    const Node report =
        run_json({"verify", "invariance", "recipe.yaml", "optimizer.in_backward=true", "peft=null",
                  "training.clip_norm=0", "training.micro_batch=4", "--steps", "2",
                  "data.train=[{path: train.jsonl, format: messages}, {path: valid.jsonl, format: messages}]"},
                 0);
    EXPECT_TRUE(report.at("equal").as_bool());
    EXPECT_THAT(names_of(report.at("close")), ElementsAre("micro_batch 2", "packing true"));
}

TEST_F(Verify, FailureOfARunKeepsItsCode) {
    const ProgramResult result = run({"verify", "ranks", "recipe.yaml", "optimizer.lr=1e38", "--ranks", "1"});
    EXPECT_EQ(result.code, 80);
    EXPECT_THAT(result.err, HasSubstr("error: the run diverged: step "));
    EXPECT_THAT(result.err, HasSubstr(" ended with exit code 80\n"));
}

TEST_F(Verify, ATerminatedVerificationLeavesNothing) {
    Program program({"verify", "resume", "recipe.yaml", "--steps", "100000"}, folder.path());
    const auto started = [&] {
        for (const auto& entry : fs::directory_iterator(folder.path()))
            if (entry.path().filename().string().starts_with(".trainer-verify"))
                return fs::exists(entry.path() / "run/metrics.jsonl");
        return false;
    };
    while (program.running() && !started()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    program.signal(SIGTERM);
    const ProgramResult result = program.wait();
    EXPECT_EQ(result.code, 130);
    EXPECT_EQ(result.err, "error: verify: interrupted\n");
}

TEST_F(Verify, DataThatCanBeReadOnceIsRefused) {
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    const ProgramResult result = run({"verify", "resume", "recipe.yaml", "data.train.path=pipe"});
    EXPECT_EQ(result.code, 65);
    EXPECT_EQ(result.err,
              "error: pipe: is no regular file; verify reads it once for every run, so save it to a file "
              "first\n");
}

class VerifyReceipt : public Verify {
protected:
    void SetUp() override {
        Verify::SetUp();
        ASSERT_EQ(run({"run", "recipe.yaml"}).code, 0);
    }
    void change(const std::string& name, std::size_t at) const {
        std::string text = get_text(folder / name);
        text[at] = text[at] == ' ' ? '\t' : ' ';
        put_text(folder / name, text);
    }
    // The receipt with another value, sealed again.
    void forge(const std::string& map, const std::string& key, Node value) const {
        Node receipt = read_json(folder / "out/receipt.json");
        receipt.erase("digest");
        receipt.find(map)->set(key, std::move(value));
        put_text(folder / "out/receipt.json", sealed_json(receipt));
    }
    static std::string result_of(const Node& list, const std::string& name) {
        for (const Node& one : list.as_list())
            if (one.at("name").as_string() == name) return one.at("result").as_string();
        return "not listed";
    }
};

TEST_F(VerifyReceipt, OfAFinishedRunHolds) {
    const Node report = run_json({"verify", "receipt", "out/receipt.json"}, 0);
    EXPECT_TRUE(report.at("equal").as_bool());
    EXPECT_TRUE(report.at("reproducible_here").as_bool());
    for (const char* name : {"adapter_model.safetensors", "metrics.jsonl", "recipe.yaml", "trainer_state.json"})
        EXPECT_EQ(result_of(report.at("files"), name), "equal") << name;
    for (const char* name : {"program", "numerics", "recipe", "base", "data", "matrix products", "compiler"})
        EXPECT_EQ(result_of(report.at("environment"), name), "equal") << name;
}

TEST_F(VerifyReceipt, NamesFilesThatWereChangedOrAreMissing) {
    change("out/adapter_model.safetensors", 700);
    fs::remove(folder / "out/README.md");
    const ProgramResult result = run({"verify", "receipt", "out"});
    EXPECT_EQ(result.code, 84);
    EXPECT_EQ(result.err,
              "error: out/adapter_model.safetensors: other bytes than the run wrote\n"
              "error: out/README.md: no such file\n");
    EXPECT_THAT(result.out, HasSubstr("all that the result depends on is the same here\n"));
}

TEST_F(VerifyReceipt, TellsWhatIsDifferentHere) {
    change("train.jsonl", get_text(folder / "train.jsonl").find("the"));
    change("model/tokenizer_config.json", 1);
    const ProgramResult result = run({"verify", "receipt", "out"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("not the same here: base, data; the same run may end in other bits\n"));
    fs::remove(folder / "train.jsonl");
    const Node report = run_json({"verify", "receipt", "out"}, 0);
    EXPECT_EQ(result_of(report.at("environment"), "data"), "unknown");
    EXPECT_EQ(result_of(report.at("environment"), "base"), "differs");
    EXPECT_FALSE(report.at("reproducible_here").as_bool());
}

TEST_F(VerifyReceipt, NoByteOfItCanBeChanged) {
    const std::string text = get_text(folder / "out/receipt.json");
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        EXPECT_FALSE(seal_holds(changed)) << "byte " << i;
    }
    EXPECT_TRUE(seal_holds(text));
    put_text(folder / "out/receipt.json", [&] {
        std::string changed = text;
        changed[text.find("\"steps\": 3") + 9] = '4';
        return changed;
    }());
    const ProgramResult result = run({"verify", "receipt", "out"});
    EXPECT_EQ(result.code, 84);
    EXPECT_EQ(result.err,
              "error: out/receipt.json: its digest is not that of its text; it has been changed or damaged since it "
              "was written\n");
}

TEST_F(VerifyReceipt, ThatIsMalformedIsRefused) {
    forge("files", "../train.jsonl", std::string(64, '0'));
    EXPECT_EQ(run({"verify", "receipt", "out"}).err,
              "error: out/receipt.json: files: \"../train.jsonl\" does not lie beside the receipt\n");
}

// The words for bits that should be equal.
TEST(VerifyVerdict, BitsThatWerePromisedAreOurBug) {
    RunRecord one;
    one.name = "1 rank";
    one.weights = "a";
    RunRecord other = one;
    other.name = "2 ranks";
    BitComparison comparison(one);
    comparison.add(other);
    EXPECT_TRUE(comparison.equal());
    other.weights = "b";
    comparison.add(other);
    EXPECT_FALSE(comparison.equal());
    EXPECT_EQ(comparison.differences(), "2 ranks against 1 rank: weights differ\n");
    Verdict verdict;
    fail_bits(verdict, true, Determinism::strict, "the ranks");
    EXPECT_EQ(verdict.code, Exit::internal);
    EXPECT_THAT(verdict.failure, HasSubstr("although sums are strict; this is a bug of ours"));
}

TEST(VerifyRecord, TheFirstDifferenceOfMetricsIsNamed) {
    RunRecord one, other;
    one.lines = {parse_json(R"({"step": 1, "loss": 2.0, "grad_norm": 1.0})", "one")};
    other.lines = {parse_json(R"({"step": 1, "loss": 2.5, "grad_norm": 1.0})", "other")};
    one.metrics = "a";
    other.metrics = "b";
    EXPECT_EQ(first_difference(one, other), "step 1: loss 2.0 and 2.5");
    EXPECT_DOUBLE_EQ(largest_relative_difference(one, other, "loss"), 0.25);
    EXPECT_EQ(largest_relative_difference(one, other, "grad_norm"), 0);
    other.lines.clear();
    EXPECT_TRUE(std::isinf(largest_relative_difference(one, other, "loss")));
}

}   // namespace
}   // namespace trainer::test
