// Training and validation data that cannot be used.
#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using Spoil = std::function<void(const fs::path&)>;

const std::string good = R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"
                         "\n";

// train.jsonl: a good row, then this one.
Spoil row(const std::string& text) { return with_file("train.jsonl", good + text + "\n"); }

Spoil message(const std::string& text) {
    return row(R"({"messages": [{"role": "user", "content": "a"}, )" + text + "]}");
}

// The same with data.train of another format.
Spoil row_as(const std::string& format, const std::string& text) {
    return [=](const fs::path& folder) {
        put_text(folder / "train.jsonl", text + "\n");
        with_recipe("train.jsonl, format: messages", "train.jsonl, format: " + format)(folder);
    };
}

Spoil both(const Spoil& one, const Spoil& other) {
    return [=](const fs::path& folder) {
        one(folder);
        other(folder);
    };
}

TEST(Mistakes, DataRows) {
    std::string listed;
    for (int line = 1; line <= 20; ++line)
        listed += "error: train.jsonl:" + std::to_string(line) + ": field \"messages\" is missing\n";
    check_mistakes({
        {"malformed", run_recipe, row(R"({"messages": [)"), 65,
         "error: train.jsonl:2:15: expected a value, found the end of the text"},
        {"text after the object", run_recipe, row("{} {}"), 65,
         "error: train.jsonl:2:4: expected the end of the document, found '{'"},
        {"key twice", run_recipe, row(R"({"messages": [], "messages": []})"), 65,
         "error: train.jsonl:2:18: key \"messages\" stands twice, first on line 2"},
        {"no object", run_recipe, row(R"(["a"])"), 65, "error: train.jsonl:2: expected a JSON object, found a list"},
        {"not UTF-8", run_recipe, row("{\"messages\": \"\xFF\"}"), 65,
         "error: train.jsonl:2:15: the text is not valid UTF-8 here"},
        {"field missing", run_recipe, row(R"({"mesages": []})"), 65,
         "error: train.jsonl:2: field \"messages\" is missing"},
        {"messages no list", run_recipe, row(R"({"messages": "a"})"), 65,
         "error: train.jsonl:2: messages: expected a list of messages, found the string \"a\""},
        {"messages empty", run_recipe, row(R"({"messages": []})"), 65,
         "error: train.jsonl:2: messages: the list of messages is empty"},
        {"message no map", run_recipe, message("3"), 65,
         "error: train.jsonl:2: messages[1]: expected a map with role and content, found the integer 3"},
        {"role missing", run_recipe, message(R"({"content": "b"})"), 65,
         "error: train.jsonl:2: messages[1]: \"role\" is missing"},
        {"role unknown", run_recipe, message(R"({"role": "assistent", "content": "b"})"), 65,
         "error: train.jsonl:2: messages[1].role: unknown role \"assistent\"; did you mean \"assistant\"? expected one "
         "of system, developer, user, assistant, tool"},
        {"role no text", run_recipe, message(R"({"role": 1, "content": "b"})"), 65,
         "error: train.jsonl:2: messages[1].role: expected a string, found the integer 1"},
        {"content missing", run_recipe, message(R"({"role": "assistant"})"), 65,
         "error: train.jsonl:2: messages[1]: \"content\" is missing"},
        {"content a number", run_recipe, message(R"({"role": "assistant", "content": 3})"), 65,
         "error: train.jsonl:2: messages[1].content: expected a string or a list of parts, found the integer 3"},
        {"content null", run_recipe, message(R"({"role": "assistant", "content": null})"), 65,
         "error: train.jsonl:2: messages[1]: \"content\" is missing"},
        {"part of another type", run_recipe,
         message(R"({"role": "assistant", "content": [{"type": "image", "url": "x"}]})"), 65,
         "error: train.jsonl:2: messages[1].content[0]: parts of type \"image\" are not supported, expected \"text\""},
        {"no assistant turn", run_recipe, message(R"({"role": "user", "content": "b"})"), 65,
         "error: train.jsonl:2: messages: there is no assistant turn"},
        {"tools no list", run_recipe,
         row(R"({"messages": [{"role": "assistant", "content": "b"}], "tools": {"a": 1}})"), 65,
         "error: train.jsonl:2: tools: expected a list, found a map"},
        {"prompt missing", run_recipe, row_as("prompt_completion", R"({"completion": "b"})"), 65,
         "error: train.jsonl:1: field \"prompt\" is missing"},
        {"completion empty", run_recipe, row_as("prompt_completion", R"({"prompt": "a", "completion": ""})"), 65,
         "error: train.jsonl:1: completion: the text is empty"},
        {"completion a number", run_recipe, row_as("prompt_completion", R"({"prompt": "a", "completion": 3})"), 65,
         "error: train.jsonl:1: completion: expected a string or a list of messages, found the integer 3"},
        {"prompt a list, completion a text", run_recipe,
         row_as("prompt_completion", R"({"prompt": [{"role": "user", "content": "a"}], "completion": "b"})"), 65,
         "error: train.jsonl:1: completion: expected a list of messages, found the string \"b\""},
        {"text missing", run_recipe, row_as("text", R"({"txt": "b"})"), 65,
         "error: train.jsonl:1: field \"text\" is missing"},
        {"text empty", run_recipe, row_as("text", R"({"text": ""})"), 65,
         "error: train.jsonl:1: text: the text is empty"},
        {"too long", run_recipe, with_recipe("max_length: 256", "max_length: 150\n  overlong: error"), 65,
         "error: train.jsonl:10: the row has 163 tokens, data.max_length is 150 (data.overlong: error)"},
        {"the template refuses", run_recipe,
         both(with_key("model/tokenizer_config.json", "chat_template",
                       "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% "
                       "endif %}{{ m.content + '<|im_end|>' }}{% endfor %}"),
              row(R"({"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "b"}]})")),
         65, "error: train.jsonl:2: chat_template:1: no system here"},
        {"no template", run_recipe,
         both(with_key("model/tokenizer_config.json", "chat_template", Node()),
              both(with_file("train.jsonl", good), with_file("valid.jsonl", good))),
         65,
         "error: train.jsonl:1: the row is a chat, but the model has no chat template; set data.template to a .jinja "
         "file\nerror: valid.jsonl:1: the row is a chat, but the model has no chat template; set data.template to a "
         ".jinja file"},
        {"two in one pass", run_recipe, with_file("train.jsonl", "{\n" + good + "[]\n"), 65,
         "error: train.jsonl:1:2: expected a key in double quotes, found the end of the text\nerror: train.jsonl:3: "
         "expected a JSON object, found a list"},
        {"more than are listed", run_recipe,
         [](const fs::path& folder) {
             std::string text;
             for (int i = 0; i < 23; ++i) text += "{}\n";
             put_text(folder / "train.jsonl", text);
         },
         65, listed + "error: … and 3 more bad rows"},
        {"in the validation data", run_recipe, with_file("valid.jsonl", good + "{}\n"), 65,
         "error: valid.jsonl:2: field \"messages\" is missing"},
    });
}

TEST(Mistakes, DataAsAWhole) {
    check_mistakes({
        {"train missing", run_recipe, without("train.jsonl"), 66, "error: data.train: there is no file train.jsonl"},
        {"train and valid missing", run_recipe, both(without("train.jsonl"), without("valid.jsonl")), 66,
         "error: data.train: there is no file train.jsonl\nerror: data.valid: there is no file valid.jsonl"},
        {"train is a folder", run_recipe, with_recipe("path: train.jsonl", "path: model"), 66,
         "error: data.train: model is a folder, expected a file"},
        {"train empty", run_recipe, with_file("train.jsonl", ""), 65, "error: train.jsonl: there are no rows"},
        {"train blank", run_recipe, with_file("train.jsonl", "\n  \n\n"), 65, "error: train.jsonl: there are no rows"},
        {"valid empty", run_recipe, with_file("valid.jsonl", ""), 65, "error: valid.jsonl: there are no rows"},
        {"all rows dropped", run_recipe,
         both(with_file("valid.jsonl", good), with_recipe("max_length: 256", "max_length: 30\n  overlong: drop")), 65,
         "error: train.jsonl: all 12 rows are dropped: 12 longer than max_length (first train.jsonl:1)"},
        {"nothing to train on", run_recipe, with_recipe("max_length: 256", "max_length: 3"), 65,
         "error: train.jsonl: all 12 rows are dropped: 12 nothing to train on after truncation (first "
         "train.jsonl:1)\nerror: valid.jsonl: all 4 rows are dropped: 4 nothing to train on after truncation (first "
         "valid.jsonl:1)"},
        {"no row learns to end", run_recipe,
         with_key("model/tokenizer_config.json", "chat_template",
                  "{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}"),
         65,
         "error: train.jsonl: no row trains an EOS or end-of-turn token, so the model would never learn to stop; check "
         "data.template, data.eos_token and data.max_length\nerror: valid.jsonl: no row trains an EOS or end-of-turn "
         "token, so the model would never learn to stop; check data.template, data.eos_token and data.max_length"},
        {"all rows skipped", run_recipe,
         both(with_file("train.jsonl", "{}\n[]\n"), with_recipe("max_length: 256", "on_bad_row: skip")), 65,
         "error: train.jsonl: all 2 rows are dropped: 2 cannot be used as written (first train.jsonl:1: field "
         "\"messages\" is missing)"},
        {"drop_last leaves no step", run_recipe,
         both(with_file("train.jsonl", good), with_recipe("max_length: 256", "drop_last: true")), 65,
         "error: data: 1 rows give no full step of training.batch 4; lower it or set data.drop_last: false"},
        {"weight leaves no row", run_recipe,
         both(with_file("train.jsonl", good), with_recipe("format: messages", "format: messages, weight: 1e-9")), 65,
         "error: train.jsonl: the weights leave no row"},
        {"unreadable", run_recipe,
         [](const fs::path& folder) { fs::permissions(folder / "train.jsonl", fs::perms::none); }, 66,
         "error: data.train: train.jsonl cannot be read: Permission denied\n"
         "error: output: out cannot be created: Permission denied",
         true},
    });
}

}   // namespace
}   // namespace trainer::test
