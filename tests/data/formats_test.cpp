#include <gtest/gtest.h>

#include "data/formats/format.h"
#include "data/formats/messages.h"
#include "data/formats/prompt_completion.h"
#include "tests/data/tokenizer_fixture.h"

namespace trainer {
namespace {

using test::json;
using test::refusal;

std::string complaint(ReadFormat read, std::string_view row) {
    return refusal([&] { read(json(row)); });
}

TEST(Formats, AreInTheTable) {
    EXPECT_EQ(data_formats().at("messages"), &read_messages);
    EXPECT_EQ(data_formats().at("prompt_completion"), &read_prompt_completion);
    EXPECT_EQ(data_formats().at("text"), &read_text);
}

TEST(Formats, MessagesKeepEveryKeyTheyHave) {
    const FormattedRow row = read_messages(json(R"({"messages": [
        {"role": "developer", "content": "d"}, {"role": "user", "content": "u", "name": "Eve"},
        {"role": "assistant", "content": "a", "reasoning_content": "r"},
        {"role": "tool", "content": "t", "tool_call_id": "1"}, {"role": "assistant", "content": "b"}]})"));
    EXPECT_EQ(row.kind, FormattedRow::Kind::chat);
    EXPECT_EQ(row.messages.size(), 5u);
    EXPECT_EQ(row.messages.as_list()[1].at("name").as_string(), "Eve");
    EXPECT_EQ(row.messages.as_list()[2].at("reasoning_content").as_string(), "r");
    EXPECT_EQ(row.completion_begin, 4u);   // the last assistant turn
    EXPECT_FALSE(row.has_prompt);
    EXPECT_TRUE(row.tools.is_null());
    EXPECT_TRUE(row.documents.is_null());
    EXPECT_TRUE(row.variables.is_null());
}

TEST(Formats, NullKeysAreDroppedAtAnyDepth) {
    const FormattedRow row = read_messages(json(R"({"tools": null, "documents": null, "chat_template_kwargs": null,
        "messages": [{"role": "user", "content": "u", "tool_calls": null, "name": null},
        {"role": "assistant", "content": null, "tool_calls": [{"id": null, "function": {"name": "f", "arguments":
        {"x": null, "y": [{"z": null}, null]}}}]}]})"));
    const Node expected = json(R"([{"role": "user", "content": "u"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"y": [{}, null]}}}]}])");
    EXPECT_EQ(row.messages, expected);
    EXPECT_TRUE(row.tools.is_null());
}

TEST(Formats, ContentMayBeAListOfTexts) {
    const FormattedRow row = read_messages(json(R"({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "x": null}]},
        {"role": "assistant", "content": ""}]})"));
    EXPECT_EQ(row.messages.as_list()[0].at("content"),
              json(R"([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])"));
}

TEST(Formats, ToolsAndDocumentsMayBeJsonText) {
    const std::string_view messages = R"("messages": [{"role": "assistant", "content": "a"}])";
    const auto read = [&](const std::string& extras) {
        return read_messages(json("{" + extras + ", " + std::string(messages) + "}"));
    };
    const Node tools = json(R"([{"type": "function", "function": {"name": "f"}}])");
    EXPECT_EQ(read(R"("tools": [{"type": "function", "function": {"name": "f", "x": null}}])").tools, tools);
    EXPECT_EQ(read(R"("tools": "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]")").tools, tools);
    EXPECT_TRUE(read(R"("tools": [])").tools.is_null());   // as if there were none
    EXPECT_TRUE(read(R"("tools": "[]")").tools.is_null());
    EXPECT_EQ(read(R"("documents": [{"title": "t", "text": "x"}])").documents,
              json(R"([{"title": "t", "text": "x"}])"));
    EXPECT_EQ(read(R"("chat_template_kwargs": {"enable_thinking": false})").variables,
              json(R"({"enable_thinking": false})"));

    const auto refused = [&](const std::string& extras) { return refusal([&] { read(extras); }); };
    EXPECT_EQ(refused(R"("tools": {"a": 1})"), "tools: expected a list, found a map");
    EXPECT_EQ(refused(R"("tools": "{}")"), "tools: expected a list, found a map");
    EXPECT_EQ(refused(R"("tools": "[")").substr(0, 8), "tools:1:");
    EXPECT_EQ(refused(R"("documents": 3)"), "documents: expected a list, found the integer 3");
    EXPECT_EQ(refused(R"("chat_template_kwargs": [])"), "chat_template_kwargs: expected a map, found a list");
}

TEST(Formats, MessagesThatAreRefused) {
    const std::pair<const char*, const char*> cases[] = {
        {R"({"text": "x"})", "field \"messages\" is missing"},
        {R"({"messages": null})", "messages: expected a list of messages, found nothing (null)"},
        {R"({"messages": "x"})", "messages: expected a list of messages, found the string \"x\""},
        {R"({"messages": []})", "messages: the list of messages is empty"},
        {R"({"messages": ["x"]})", "messages[0]: expected a map with role and content, found the string \"x\""},
        {R"({"messages": [{"content": "x"}]})", "messages[0]: \"role\" is missing"},
        {R"({"messages": [{"role": null, "content": "x"}]})", "messages[0]: \"role\" is missing"},
        {R"({"messages": [{"role": 1, "content": "x"}]})", "messages[0].role: expected a string, found the integer 1"},
        {R"({"messages": [{"role": "user", "content": "x"}, {"role": "asistant", "content": "y"}]})",
         "messages[1].role: unknown role \"asistant\"; did you mean \"assistant\"? expected one of system, developer, "
         "user, assistant, tool"},
        {R"({"messages": [{"role": "gpt", "content": "y"}]})",
         "messages[0].role: unknown role \"gpt\"; expected one of system, developer, user, assistant, tool"},
        {R"({"messages": [{"role": "user"}]})", "messages[0]: \"content\" is missing"},
        {R"({"messages": [{"role": "user", "content": 3}]})",
         "messages[0].content: expected a string or a list of parts, found the integer 3"},
        {R"({"messages": [{"role": "user", "content": {"type": "text"}}]})",
         "messages[0].content: expected a string or a list of parts, found a map"},
        {R"({"messages": [{"role": "user", "content": ["x"]}]})",
         "messages[0].content[0]: expected a part with a \"type\", found the string \"x\""},
        {R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image"}]}]})",
         "messages[0].content[1]: parts of type \"image\" are not supported, expected \"text\""},
        {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
         "messages[0].content[0]: \"text\" is missing or no string"},
        {R"({"messages": [{"role": "user", "content": "x"}]})", "messages: there is no assistant turn"},
        {R"({"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "x"}]})",
         "messages[0]: \"content\" is missing"},
        {R"({"messages": [{"role": "assistant", "content": null, "tool_calls": null}]})",
         "messages[0]: \"content\" is missing"},
    };
    for (const auto& [row, message] : cases) EXPECT_EQ(complaint(read_messages, row), message) << row;
}

TEST(Formats, PromptAndCompletionAsTexts) {
    const FormattedRow row = read_prompt_completion(json(R"({"prompt": "p ", "completion": "c"})"));
    EXPECT_EQ(row.kind, FormattedRow::Kind::prompt_completion);
    EXPECT_EQ(row.prompt, "p ");
    EXPECT_EQ(row.completion, "c");
    EXPECT_EQ(read_prompt_completion(json(R"({"prompt": "", "completion": "c"})")).prompt, "");
}

TEST(Formats, PromptAndCompletionAsMessages) {
    const FormattedRow row = read_prompt_completion(json(R"({"prompt": [{"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"}, {"role": "user", "content": "v", "name": null}],
        "completion": [{"role": "assistant", "content": "b"}], "tools": "[{\"x\": 1}]"})"));
    EXPECT_EQ(row.kind, FormattedRow::Kind::chat);
    EXPECT_TRUE(row.has_prompt);
    EXPECT_EQ(row.completion_begin, 3u);
    EXPECT_EQ(row.messages, json(R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},
        {"role": "user", "content": "v"}, {"role": "assistant", "content": "b"}])"));
    EXPECT_EQ(row.tools, json(R"([{"x": 1}])"));
}

TEST(Formats, PromptsAndCompletionsThatAreRefused) {
    const std::pair<const char*, const char*> cases[] = {
        {R"({"completion": "c"})", "field \"prompt\" is missing"},
        {R"({"prompt": "p"})", "field \"completion\" is missing"},
        {R"({"prompt": "p", "completion": null})", "field \"completion\" is missing"},
        {R"({"prompt": "p", "completion": ""})", "completion: the text is empty"},
        {R"({"prompt": 1, "completion": "c"})", "prompt: expected a string or a list of messages, found the integer 1"},
        {R"({"prompt": "p", "completion": {}})", "completion: expected a string or a list of messages, found a map"},
        {R"({"prompt": "p", "completion": [{"role": "assistant", "content": "c"}]})",
         "prompt: expected a list of messages, found the string \"p\""},
        {R"({"prompt": [{"role": "user", "content": "u"}], "completion": "c"})",
         "completion: expected a list of messages, found the string \"c\""},
        {R"({"prompt": [], "completion": [{"role": "assistant", "content": "c"}]})",
         "prompt: the list of messages is empty"},
        {R"({"prompt": [{"role": "assistant", "content": "a"}], "completion": [{"role": "user", "content": "c"}]})",
         "completion: there is no assistant turn"},
        {R"({"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "bot", "content": "c"}]})",
         "completion[0].role: unknown role \"bot\"; expected one of system, developer, user, assistant, tool"},
    };
    for (const auto& [row, message] : cases) EXPECT_EQ(complaint(read_prompt_completion, row), message) << row;
}

TEST(Formats, Text) {
    const FormattedRow row = read_text(json(R"({"text": " x\n", "other": 1})"));
    EXPECT_EQ(row.kind, FormattedRow::Kind::text);
    EXPECT_EQ(row.completion, " x\n");
    EXPECT_EQ(complaint(read_text, R"({"text": ""})"), "text: the text is empty");
    EXPECT_EQ(complaint(read_text, R"({"texts": "x"})"), "field \"text\" is missing");
    EXPECT_EQ(complaint(read_text, R"({"text": ["x"]})"), "text: expected a string, found a list");
}

}   // namespace
}   // namespace trainer
