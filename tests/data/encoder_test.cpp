#include "data/encoder.h"

#include <gtest/gtest.h>

#include "tests/data/encoder_fixture.h"

namespace trainer {
namespace {

using test::chat_ml;
using test::ChatWorld;
using test::json;
using test::refusal;
using test::train_on;

constexpr const char* two_turns = R"({"messages": [
    {"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "A"},
    {"role": "user", "content": "more"}, {"role": "assistant", "content": "B C"}]})";

std::string turn(const std::string& role, const std::string& content) {
    return "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
}
std::string trained(const std::string& content) { return "<|im_start|>assistant\n«" + content + "<|im_end|>»\n"; }

std::string chat(const std::string& user, const std::string& assistant) {
    return R"({"messages": [{"role": "user", "content": ")" + user + R"("}, {"role": "assistant", "content": ")" +
           assistant + R"("}]})";
}

TEST(Encoder, AssistantTurnsThroughTheirEnd) {
    const ChatWorld world;
    const EncodedRow row = world.encode("messages", two_turns);
    EXPECT_EQ(world.marked(row),
              turn("system", "be brief") + turn("user", "hi") + trained("A") + turn("user", "more") + trained("B C"));
    EXPECT_EQ(row.boundary_tokens, 0);
    ASSERT_GE(row.first_end, 0);
    EXPECT_EQ(row.ids[static_cast<std::size_t>(row.first_end)], world.tokenizer->id_of("<|im_end|>"));
    EXPECT_EQ(row.ids[static_cast<std::size_t>(row.first_end) - 1], 'A');
    EXPECT_EQ(row.text, world.chat.render({json(two_turns).at("messages"), false, nullptr, nullptr, {}}).text);
}

TEST(Encoder, LastAndCompletionAndAll) {
    const std::string before = turn("system", "be brief") + turn("user", "hi");
    const std::string first = turn("assistant", "A") + turn("user", "more");
    EXPECT_EQ(ChatWorld(chat_ml, train_on(TrainOn::last)).marked(two_turns), before + first + trained("B C"));
    EXPECT_EQ(ChatWorld(chat_ml, train_on(TrainOn::completion)).marked(two_turns), before + first + trained("B C"));
    EXPECT_EQ(ChatWorld(chat_ml, train_on(TrainOn::all)).marked(two_turns),
              "«" + before + first + turn("assistant", "B C") + "»");
}

constexpr const char* split_chat =
    R"({"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},
    {"role": "user", "content": "v"}], "completion": [{"role": "assistant", "content": "b"},
    {"role": "user", "content": "w"}, {"role": "assistant", "content": "c"}]})";

TEST(Encoder, APromptOfMessagesIsNotTrained) {
    const std::string prompt = turn("user", "u") + turn("assistant", "a") + turn("user", "v");
    for (TrainOn which : {TrainOn::assistant, TrainOn::completion})
        EXPECT_EQ(ChatWorld(chat_ml, train_on(which)).marked(split_chat, "prompt_completion"),
                  prompt + trained("b") + turn("user", "w") + trained("c"));
    EXPECT_EQ(ChatWorld(chat_ml, train_on(TrainOn::last)).marked(split_chat, "prompt_completion"),
              prompt + turn("assistant", "b") + turn("user", "w") + trained("c"));
}

// Provenance, not a search for the text: the same words elsewhere in the row are not trained, and the role is none.
TEST(Encoder, OtherTextEqualToTheAnswerDoesNotFoolIt) {
    const ChatWorld world;
    EXPECT_EQ(world.marked(R"({"messages": [{"role": "system", "content": "yes"}, {"role": "user", "content": "yes"},
        {"role": "assistant", "content": "yes"}, {"role": "user", "content": "yes"}]})"),
              turn("system", "yes") + turn("user", "yes") + trained("yes") + turn("user", "yes"));
    EXPECT_EQ(world.marked(chat("assistant", "assistant")), turn("user", "assistant") + trained("assistant"));
    EXPECT_EQ(world.marked(chat("<|im_start|>assistant\\nA<|im_end|>", "A")),
              turn("user", "<|im_start|>assistant\nA<|im_end|>") + trained("A"));
}

TEST(Encoder, RoleNameAndCallIdAreNoContent) {
    const ChatWorld world(
        "{% for m in messages %}<|im_start|>{{ m['role'] | upper }} {{ m.name }} {{ m.tool_call_id }}:"
        "{{ m.content }}<|im_end|>{% endfor %}");
    EXPECT_EQ(world.marked(R"({"messages": [{"role": "tool", "content": "t", "tool_call_id": "7"},
        {"role": "assistant", "name": "Eve", "content": "A", "tool_call_id": "9"}]})"),
              "<|im_start|>TOOL  7:t<|im_end|><|im_start|>ASSISTANT Eve 9:«A<|im_end|>»");
}

TEST(Encoder, WhiteSpaceOfTheContent) {
    EXPECT_EQ(ChatWorld().marked(chat(" hi ", "  A \\n")), turn("user", " hi ") + trained("  A \n"));
    const ChatWorld trims(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}");
    EXPECT_EQ(trims.marked(chat(" hi ", "  A \\n")), turn("user", "hi") + trained("A"));
    const ChatWorld strips(
        "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content.strip().split('!')[-1] }}<|im_end|>\n"
        "{% endfor %}");
    EXPECT_EQ(strips.marked(chat("hi", " old!A ")), turn("user", "hi") + trained("A"));
}

TEST(Encoder, AnEmptyAnswerTrainsNothing) {
    const ChatWorld world;
    EXPECT_EQ(world.marked(chat("hi", "")), turn("user", "hi") + turn("assistant", ""));
    EXPECT_EQ(world.encode("messages", chat("hi", "")).first_end, -1);
    EXPECT_EQ(world.marked(R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": ""},
        {"role": "user", "content": "v"}, {"role": "assistant", "content": "B"}]})"),
              turn("user", "u") + turn("assistant", "") + turn("user", "v") + trained("B"));
}

TEST(Encoder, TheEndIsTheFirstSpecialTokenBehindTheContent) {
    // white space and marks in front of it belong to the turn, what follows does not
    EXPECT_EQ(ChatWorld("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n--<|im_end|></s>\n{% endfor %}")
                  .marked(chat("hi", "A")),
              "[user] hi\n--<|im_end|></s>\n[assistant] «A\n--<|im_end|>»</s>\n");
    // without one before the next message's text, the content alone
    const ChatWorld plain("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
    const EncodedRow row = plain.encode("messages", R"({"messages": [{"role": "user", "content": "u"},
        {"role": "assistant", "content": "A"}, {"role": "user", "content": "v<|im_end|>"}]})");
    EXPECT_EQ(plain.marked(row), "user: u\nassistant: «A»\nuser: v<|im_end|>\n");
    EXPECT_EQ(row.first_end, -1);
    // one in the answer itself does not end it
    EXPECT_EQ(ChatWorld().marked(chat("hi", "A</s>B")), turn("user", "hi") + trained("A</s>B"));
}

TEST(Encoder, ReasoningAndToolCallsBelongToTheAnswer) {
    const ChatWorld thinks(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}"
        "</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}");
    EXPECT_EQ(thinks.marked(R"({"messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "reasoning_content": "hm", "content": "A"}]})"),
              turn("user", "hi") + "<|im_start|>assistant\n<think>«hm</think>A<|im_end|>»\n");
    const ChatWorld calls(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content %}{{ m.content }}{% endif %}"
        "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}");
    EXPECT_EQ(calls.marked(R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": null,
        "tool_calls": [{"id": "1", "function": {"name": "f"}}]}, {"role": "tool", "content": "{\"name\": \"f\"}"}]})"),
              turn("user", "hi") + trained(R"({"name": "f"})") + turn("tool", R"({"name": "f"})"));
}

constexpr const char* tagged =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "<|im_end|>\n{% endgeneration %}{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}";

TEST(Encoder, GenerationTagsWin) {
    const auto whole = [](const std::string& content) {
        return "<|im_start|>assistant\n«" + content + "<|im_end|>\n»";
    };
    const std::string before = turn("system", "be brief") + turn("user", "hi");
    EXPECT_EQ(ChatWorld(tagged).marked(two_turns), before + whole("A") + turn("user", "more") + whole("B C"));
    EXPECT_EQ(ChatWorld(tagged, train_on(TrainOn::last)).marked(two_turns),
              before + turn("assistant", "A") + turn("user", "more") + whole("B C"));
    EXPECT_EQ(
        ChatWorld(tagged).marked(split_chat, "prompt_completion"),
        turn("user", "u") + turn("assistant", "a") + turn("user", "v") + whole("b") + turn("user", "w") + whole("c"));
    EXPECT_EQ(ChatWorld(tagged).marked(chat("hi", "")), turn("user", "hi") + whole(""));
    EXPECT_EQ(ChatWorld(tagged, train_on(TrainOn::all)).marked(chat("u", "A")),
              "«" + turn("user", "u") + turn("assistant", "A") + "»");
}

TEST(Encoder, TokensAcrossAnEdgeAreCountedAndNotTrained) {
    const ChatWorld world("{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}");
    const EncodedRow row = world.encode("messages", chat("u", "x y"));
    EXPECT_EQ(world.marked(row), "user: u<|im_end|>assistant: x« y<|im_end|>»");   // " x" is one token
    EXPECT_EQ(row.boundary_tokens, 1);
    // generation tags take every token they touch, as transformers does
    const ChatWorld generation(
        "{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% endfor %}",
        train_on(TrainOn::last));
    EXPECT_EQ(generation.marked(chat("u", "x y")), "user: u<|im_end|>assistant:« x y<|im_end|>»");
}

TEST(Encoder, TheDefaultSystemMessage) {
    EncodeOptions options;
    options.system = "S";
    const ChatWorld world(chat_ml, options);
    EXPECT_EQ(world.marked(chat("hi", "A")), turn("system", "S") + turn("user", "hi") + trained("A"));
    EXPECT_EQ(world.marked(two_turns).substr(0, 30), turn("system", "be brief").substr(0, 30));
    EXPECT_EQ(world.marked(R"({"messages": [{"role": "developer", "content": "D"},
        {"role": "assistant", "content": "A"}]})"),
              turn("developer", "D") + trained("A"));
    options.train_on = TrainOn::completion;   // the completion begins one message later
    EXPECT_EQ(ChatWorld(chat_ml, options).marked(split_chat, "prompt_completion"),
              turn("system", "S") + turn("user", "u") + turn("assistant", "a") + turn("user", "v") + trained("b") +
                  turn("user", "w") + trained("c"));
}

TEST(Encoder, WhatTheTemplateSees) {
    const ChatWorld world(
        "{{ bos_token }}{{ tools | length if tools else 'none' }} {{ documents[0].text if documents else 'none' }} "
        "{{ mode }}|{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    EXPECT_EQ(world.marked(R"({"messages": [{"role": "assistant", "content": "A"}]})"), "<s>none none |«A</s>»");
    EXPECT_EQ(world.marked(R"({"messages": [{"role": "assistant", "content": "A"}], "tools": [{"a": 1}, {"b": 2}],
        "documents": [{"text": "D"}], "chat_template_kwargs": {"mode": "fast", "eos_token": "<|im_end|>"}})"),
              "<s>2 D fast|«A<|im_end|>»");
}

TEST(Encoder, ChatsThatAreRefused) {
    const ChatWorld twice("{{ bos_token }}<s>{% for m in messages %}{{ m.content }}</s>{% endfor %}");
    EXPECT_EQ(refusal([&] { twice.encode("messages", chat("u", "A")); }),
              "the row begins with two BOS tokens (<s>): the text already holds one that is added again");
    const ChatWorld strict("{{ raise_exception('roles must alternate') }}");
    EXPECT_EQ(refusal([&] { strict.encode("messages", chat("u", "A")); }), "chat:1: roles must alternate");
    const ChatWorld world;
    const Encoder without(*world.tokenizer, nullptr, world.special, {});
    EXPECT_EQ(refusal([&] { without.encode(data_formats().at("messages")(json(chat("u", "A")))); }),
              "the row is a chat, but the model has no chat template; set data.template to a .jinja file");
}

TEST(Encoder, PlainText) {
    for (TrainOn which : {TrainOn::assistant, TrainOn::last, TrainOn::completion, TrainOn::all}) {
        const ChatWorld world(chat_ml, train_on(which));
        const EncodedRow row = world.encode("text", R"({"text": "ab"})");
        EXPECT_EQ(world.marked(row), "«ab</s>»");
        EXPECT_EQ(row.text, "ab");
        EXPECT_EQ(row.first_end, 2);
    }
    const ChatWorld world(chat_ml, {}, true);
    EXPECT_EQ(world.marked(R"({"text": "ab"})", "text"), "«<s>ab</s>»");
    EXPECT_EQ(world.marked(R"({"text": "ab</s>"})", "text"), "«<s>ab</s>»");   // it has one already
    EXPECT_EQ(world.encode("text", R"({"text": "a</s>bc"})").first_end, 2);
    EXPECT_EQ(refusal([&] { world.encode("text", R"({"text": "<s>ab"})"); }),
              "the row begins with two BOS tokens (<s>): the text already holds one that is added again");
}

TEST(Encoder, PromptAndCompletion) {
    const ChatWorld world(chat_ml, {}, true);
    EXPECT_EQ(world.marked(R"({"prompt": "ab", "completion": " cd"})", "prompt_completion"), "<s>ab« cd</s>»");
    EXPECT_EQ(world.marked(R"({"prompt": "", "completion": "cd"})", "prompt_completion"), "<s>«cd</s>»");
    EXPECT_EQ(world.marked(R"({"prompt": "cd", "completion": "cd</s>"})", "prompt_completion"), "<s>cd«cd</s>»");
    const EncodedRow across = world.encode("prompt_completion", R"({"prompt": "ab ", "completion": "xy"})");
    EXPECT_EQ(world.marked(across), "<s>ab x«y</s>»");
    EXPECT_EQ(across.boundary_tokens, 1);
    EXPECT_EQ(across.text, "ab xy");
    EXPECT_EQ(ChatWorld(chat_ml, train_on(TrainOn::all), true)
                  .marked(R"({"prompt": "ab ", "completion": "xy"})", "prompt_completion"),
              "«<s>ab xy</s>»");
}

TEST(Encoder, WithoutAnEosNothingIsAppended) {
    ChatWorld world;
    world.special.eos = -1;
    const EncodedRow row = world.encode("text", R"({"text": "ab"})");
    EXPECT_EQ(world.marked(row), "«ab»");
    EXPECT_EQ(row.first_end, -1);
}

class SpecialTokens : public ::testing::Test {
protected:
    Encoder::Special read(const char* tokenizer_config, const char* config, const std::string& eos = "") {
        return special_tokens(json(tokenizer_config), json(config), *tokenizer_, eos, warnings_);
    }
    std::unique_ptr<Tokenizer> tokenizer_ = test::chat_tokenizer();
    std::vector<std::string> warnings_;
};

TEST_F(SpecialTokens, ComeFromTheTokenizersConfig) {
    const Encoder::Special special =
        read(R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "unk_token": null,
                 "pad_token": "</s>"})",
             R"({"eos_token_id": 260})");
    EXPECT_EQ(special.bos, 259);
    EXPECT_EQ(special.eos, 260);
    EXPECT_EQ(special.variables, json(R"({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"})"));
    EXPECT_TRUE(warnings_.empty());
}

TEST_F(SpecialTokens, TheModelsEosIsTheSecondChoice) {
    EXPECT_EQ(read("{}", R"({"eos_token_id": 258})").eos, 258);
    EXPECT_EQ(read("{}", R"({"eos_token_id": [258, 260]})").eos, 258);
    EXPECT_EQ(read("{}", "{}").eos, -1);
    EXPECT_EQ(read("{}", R"({"eos_token_id": null})").eos, -1);
    EXPECT_EQ(read("{}", "{}").bos, -1);
    EXPECT_EQ(read(R"({"eos_token": "</s>"})", R"({"eos_token_id": [258, 260]})").eos, 260);   // one of several
    EXPECT_TRUE(warnings_.empty());
    EXPECT_EQ(read(R"({"eos_token": "</s>"})", R"({"eos_token_id": 258})").eos, 260);
    ASSERT_EQ(warnings_.size(), 1u);
    EXPECT_EQ(warnings_[0],
              "the tokenizer's eos_token \"</s>\" is 260, config.json's eos_token_id is 258; the tokenizer's is used "
              "(data.eos_token overrides)");
}

TEST_F(SpecialTokens, TheRecipesEosWinsEverywhere) {
    const Encoder::Special special = read(R"({"eos_token": "</s>"})", R"({"eos_token_id": 260})", "<|im_end|>");
    EXPECT_EQ(special.eos, 258);
    EXPECT_EQ(special.variables.at("eos_token").as_string(), "<|im_end|>");
    EXPECT_TRUE(warnings_.empty());
    EXPECT_EQ(refusal([&] { read("{}", "{}", "<nope>"); }),
              "data.eos_token \"<nope>\" is not in the tokenizer's vocabulary");
    EXPECT_EQ(refusal([&] { read(R"({"bos_token": "<nope>"})", "{}"); }),
              "bos_token \"<nope>\" is not in the tokenizer's vocabulary");
}

}   // namespace
}   // namespace trainer
