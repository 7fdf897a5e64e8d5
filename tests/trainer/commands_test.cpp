// What commands write to standard output for other programs.
#include <gmock/gmock.h>

#include "configs/json.h"
#include "data/tokenizer.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Commands : public ::testing::Test {
protected:
    ScratchFolder folder;
    void SetUp() override { write_setup(folder.path()); }
    ProgramResult run(const std::vector<std::string>& arguments) { return run_program(arguments, folder.path()); }
};

TEST_F(Commands, PreviewLabelsAreTheAnswers) {
    const ProgramResult result = run({"preview", "recipe.yaml", "--json"});
    ASSERT_EQ(result.code, 0) << result.err;
    const auto rows = json_lines(result.out);
    const auto sources = json_lines(get_text(folder / "train.jsonl"));
    ASSERT_EQ(rows.size(), sources.size());
    const auto tokenizer = make_tokenizer(read_json(folder / "model/tokenizer.json"));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXPECT_THAT(keys_of(rows[i]), ElementsAre("source", "row", "text", "input_ids", "labels"));
        EXPECT_EQ(rows[i].at("source").as_string(), "train.jsonl");
        EXPECT_EQ(rows[i].at("row").as_integer(), static_cast<std::int64_t>(i) + 1);
        std::string text, answers;
        for (const Node& message : sources[i].at("messages").as_list()) {
            const std::string content = message.at("content").as_string() + "<|im_end|>";
            text += "<|im_start|>" + message.at("role").as_string() + "\n" + content + "\n";
            if (message.at("role").as_string() == "assistant") answers += content;
        }
        EXPECT_EQ(rows[i].at("text").as_string(), text);
        const Node::List& ids = rows[i].at("input_ids").as_list();
        const Node::List& labels = rows[i].at("labels").as_list();
        ASSERT_EQ(ids.size(), labels.size());
        std::vector<std::int32_t> all, trained;
        for (std::size_t t = 0; t < ids.size(); ++t) {
            all.push_back(static_cast<std::int32_t>(ids[t].as_integer()));
            if (labels[t].as_integer() == -100) continue;
            EXPECT_EQ(labels[t].as_integer(), ids[t].as_integer());
            trained.push_back(all.back());
        }
        EXPECT_EQ(tokenizer->decode(all, false), text);
        EXPECT_EQ(tokenizer->decode(trained, false), answers);
    }
}

TEST_F(Commands, PreviewShowsRowsThatCannotBeUsed) {
    put_text(folder / "train.jsonl", "{}\n[]\n");
    const ProgramResult result = run({"preview", "recipe.yaml", "--json"});
    ASSERT_EQ(result.code, 0) << result.err;
    const auto rows = json_lines(result.out);
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0].at("dropped").as_string(), "train.jsonl:1: field \"messages\" is missing");
    EXPECT_EQ(rows[1].at("dropped").as_string(), "train.jsonl:2: expected a JSON object, found a list");
}

TEST_F(Commands, PreviewForPeopleMarksWhatIsTrained) {
    put_text(folder / "train.jsonl",
             R"({"messages": [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "ate"}]})"
             "\n");
    EXPECT_EQ(run({"preview", "recipe.yaml", "--rows", "1"}).out,
              "── train.jsonl:1, 28 tokens, 3 trained\n<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n"
              "⟦ate<|im_end|>⟧\n\n");
}

TEST_F(Commands, CheckAsJson) {
    const ProgramResult good = run({"check", "recipe.yaml", "--json"});
    ASSERT_EQ(good.code, 0) << good.err;
    const auto lines = json_lines(good.out);
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_THAT(keys_of(lines[0]), ElementsAre("plan", "data", "errors"));
    EXPECT_EQ(lines[0].at("plan").at("trainable_parameters").as_integer(), 4096);
    EXPECT_EQ(lines[0].at("data").at("train").at("kept").as_integer(), 12);
    EXPECT_EQ(lines[0].at("errors").size(), 0u);
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));

    const ProgramResult bad = run({"check", "recipe.yaml", "--json", "training.batch=0", "optimizer.lr=0"});
    EXPECT_EQ(bad.code, 78);
    const auto complaints = json_lines(bad.out);
    ASSERT_EQ(complaints.size(), 1u);
    EXPECT_TRUE(complaints[0].at("plan").is_null());
    EXPECT_EQ(complaints[0].at("errors").size(), 2u);
}

TEST_F(Commands, CheckShowsWhatMemoryDecides) {
    const std::vector<std::string> open = {"check", "recipe.yaml", "training.micro_batch=auto",
                                           "training.recompute=auto"};
    EXPECT_THAT(run(open).out, testing::HasSubstr("\ndecided by memory: recompute none, micro_batch 4\n"));
    std::vector<std::string> as_json = open;
    as_json.emplace_back("--json");
    const Node plan = json_lines(run(as_json).out).at(0).at("plan");
    EXPECT_EQ(plan.at("recompute").as_string(), "none");
    EXPECT_EQ(plan.at("micro_batch").as_integer(), 4);
}

TEST_F(Commands, CheckForPeople) {
    const ProgramResult result = run({"check", "recipe.yaml"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("training data: 12 rows, 12 kept, 0 cut"));
    EXPECT_THAT(result.out, HasSubstr("recipe.yaml: no mistakes found\n"));
    EXPECT_THAT(result.out, HasSubstr("steps: 3, 2 an epoch over 5 packs\n"));
    EXPECT_THAT(run({"check", "recipe.yaml", "data.packing=false"}).out,
                HasSubstr("steps: 3, 3 an epoch over 12 rows\n"));
    EXPECT_THAT(run({"check", "recipe.yaml", "data.max_length=100000"}).out,
                HasSubstr("steps: 3, 1 an epoch over 1 pack\n"));
}

TEST_F(Commands, GenerateAsJson) {
    const ProgramResult result = run({"generate", "model", "--prompt", "the cat", "--json", "--max-tokens", "5",
                                      "--temperature", "0.8", "--top-p", "0.9", "--top-k", "20", "--seed", "3"});
    ASSERT_EQ(result.code, 0) << result.err;
    const auto lines = json_lines(result.out);
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0].at("prompt").as_string(), "the cat");
    EXPECT_EQ(lines[0].at("input_ids").size(), 5u);   // "th", "e", " ", "c", "at"
    EXPECT_LE(lines[0].at("output_ids").size(), 5u);
}

TEST_F(Commands, SampledTextDependsOnTheSeedAlone) {
    const auto text = [&](const char* seed) {
        return run({"generate", "model", "--prompt", "the", "--max-tokens", "20", "--temperature", "1", "--seed", seed})
            .out;
    };
    EXPECT_EQ(text("1"), text("1"));
    EXPECT_NE(text("1"), text("2"));
}

TEST_F(Commands, SchemaAndListsAndInfo) {
    EXPECT_EQ(parse_json(run({"schema"}).out, "schema").at("type").as_string(), "object");
    for (const char* what : {"models", "methods", "optimizers", "schedules", "formats", "objectives", "recipe"})
        for (const bool explain : {false, true}) {
            const ProgramResult result = run(explain ? std::vector<std::string>{"list", what, "--explain"}
                                                     : std::vector<std::string>{"list", what});
            EXPECT_EQ(result.code, 0) << what;
            EXPECT_FALSE(result.out.empty()) << what;
        }
    EXPECT_THAT(run({"list", "recipe", "--explain"}).out, HasSubstr("training.clip_norm"));
    EXPECT_THAT(run({"info"}).out, HasSubstr("threads: 2\n"));
    EXPECT_THAT(run({"info", "model"}).out, HasSubstr("parameters: 27040\n"));
    EXPECT_EQ(run({"--help"}).code, 0);
    EXPECT_THAT(run({"--version"}).out, HasSubstr("."));
}

}   // namespace
}   // namespace trainer::test
