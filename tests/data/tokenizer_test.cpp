#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <thread>

#include "data/decode_stream.h"
#include "tests/data/tokenizer_fixture.h"

namespace trainer {
namespace {

using test::byte_document;
using test::json;
using test::shown;

TEST(Tokenizer, OffsetsAreBytesOfTheText) {
    const auto tokenizer = make_tokenizer(byte_document({{"a", "b"}, {"Ġ", "ab"}}));
    EXPECT_EQ(shown(tokenizer->encode("ab ab é", false)), "256[0,2) 257[2,5) 32[5,6) 195[6,7) 169[7,8)");
    EXPECT_EQ(shown(tokenizer->encode("", true)), "");
    EXPECT_EQ(tokenizer->ids("abb", false), (std::vector<std::int32_t>{256, 98}));
}

TEST(Tokenizer, AddedTokensBeforeAndAfterTheNormalizer) {
    Node document = byte_document({{"a", "b"}});
    document.set("added_tokens", json(R"([{"id":98,"content":"b","normalized":true},
        {"id":257,"content":"<s>","special":true},{"id":258,"content":"s>b","normalized":true,"special":false},
        {"id":259,"content":"<m>","lstrip":true,"rstrip":true,"special":true}])"));
    const auto tokenizer = make_tokenizer(document);
    EXPECT_EQ(shown(tokenizer->encode("ab<s>b", false)), "97[0,1) 98[1,2) 257[2,5) 98[5,6)");
    EXPECT_EQ(shown(tokenizer->encode("é <m> a", false)), "195[0,1) 169[1,2) 259[2,7) 97[7,8)");
    EXPECT_EQ(tokenizer->vocab_size(), 260);
    EXPECT_EQ(tokenizer->id_of("<s>"), 257);
    EXPECT_EQ(tokenizer->id_of("ab"), 256);
    EXPECT_EQ(tokenizer->id_of("nothing"), -1);
    EXPECT_EQ(tokenizer->token_of(257), "<s>");
    EXPECT_EQ(tokenizer->token_of(256), "ab");
    EXPECT_EQ(tokenizer->token_of(1000), "");
    EXPECT_EQ(tokenizer->token_of(-1), "");
    EXPECT_TRUE(tokenizer->is_special(257));
    EXPECT_FALSE(tokenizer->is_special(258));
    EXPECT_FALSE(tokenizer->is_special(97));
    EXPECT_EQ(tokenizer->decode({257, 97, 1000, 258, 259}, false), "<s>as>b<m>");
    EXPECT_EQ(tokenizer->decode({257, 97, 1000, 258, 259}, true), "as>b");
}

TEST(Tokenizer, PostProcessorsWrapEachOther) {
    Node document = byte_document({});
    document.set("post_processor", json(R"({"type":"Sequence","processors":[{"type":"ByteLevel","trim_offsets":true},
        {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
         {"SpecialToken":{"id":"]","type_id":0}}],"pair":[],"special_tokens":{"[":{"id":"[","ids":[1,2],"tokens":["x","y"]},
         "]":{"id":"]","ids":[3],"tokens":["z"]}}},
        {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"^","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
         "pair":[],"special_tokens":{"^":{"id":"^","ids":[4],"tokens":["^"]}}}]})"));
    const auto tokenizer = make_tokenizer(document);
    EXPECT_EQ(shown(tokenizer->encode(" a", true)), "4[0,0) 1[0,0) 2[0,0) 32[0,1) 97[1,2) 3[2,2)");
    EXPECT_EQ(shown(tokenizer->encode(" a", false)), "32[0,1) 97[1,2)");
}

TEST(Tokenizer, DecodersJoinTokens) {
    Node document = byte_document({});
    const std::vector<std::int32_t> ids = {0x68, 0x20, 0xC3, 0xA9, 0xC3};
    EXPECT_EQ(make_tokenizer(document)->decode(ids, false), "h é\xEF\xBF\xBD");
    document.set("decoder", json(R"({"type":"Sequence","decoders":[{"type":"ByteLevel"},{"type":"Fuse"}]})"));
    EXPECT_EQ(make_tokenizer(document)->decode(ids, false), "h é\xEF\xBF\xBD");
    document.set("decoder", json(R"({"type":"Fuse"})"));
    EXPECT_EQ(make_tokenizer(document)->decode(ids, false), "hĠÃ©Ã");
    document.set("decoder", nullptr);
    EXPECT_EQ(make_tokenizer(document)->decode(ids, false), "h Ġ Ã © Ã");
}

TEST(DecodeStream, NeverSplitsACodePoint) {
    const auto tokenizer = make_tokenizer(byte_document({}));
    DecodeStream stream(*tokenizer, false);
    EXPECT_EQ(stream.push('a'), "a");
    EXPECT_EQ(stream.push(0xF0), "");
    EXPECT_EQ(stream.push(0x9F), "");
    EXPECT_EQ(stream.push(0x98), "");
    EXPECT_EQ(stream.push(0x80), "😀");
    EXPECT_EQ(stream.push(0xE4), "");
    EXPECT_EQ(stream.push('b'),
              "\xEF\xBF\xBD"
              "b");
    EXPECT_EQ(stream.push(0xC3), "");
    EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
    EXPECT_EQ(stream.finish(), "");
    EXPECT_EQ(stream.push('c'), "c");
}

TEST(DecodeStream, EqualsDecode) {
    Node document = byte_document({{"a", "b"}});
    document.set("added_tokens", json(R"([{"id":257,"content":"<s> é","special":true}])"));
    for (const char* decoder : {R"({"type":"ByteLevel"})", R"({"type":"Fuse"})", "null"}) {
        document.set("decoder", json(decoder));
        const auto tokenizer = make_tokenizer(document);
        const std::vector<std::int32_t> ids = {257, 256, 0xE4, 0xB8, 257, 0xE4, 0xB8, 0xAD, 999, 0x80, 0xF0, 0x9F};
        for (bool skip : {false, true}) {
            DecodeStream stream(*tokenizer, skip);
            std::string text;
            for (std::int32_t id : ids) text += stream.push(id);
            EXPECT_EQ(text + stream.finish(), tokenizer->decode(ids, skip)) << decoder;
        }
    }
}

TEST(Tokenizer, ThreadsAndCacheChangeNothing) {
    const auto tokenizer = make_tokenizer(byte_document({{"a", "b"}, {"Ġ", "ab"}, {"b", "a"}, {"ab", "ab"}}));
    std::string text;
    for (int i = 0; i < 3000; ++i)
        text += (i % 7 == 0 ? " " : "") + std::string(i % 3 == 0 ? "ab" : "ba") + (i % 50 == 0 ? "é" : "");
    const std::string first =
        shown(make_tokenizer(byte_document({{"a", "b"}, {"Ġ", "ab"}, {"b", "a"}, {"ab", "ab"}}))->encode(text, false));
    std::vector<std::string> results(4);
    std::vector<std::thread> threads;
    for (std::string& result : results)
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round) result = shown(tokenizer->encode(text, false));
        });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& result : results) EXPECT_EQ(result, first);
}

TEST(Tokenizer, VeryLongWords) {
    const auto tokenizer = make_tokenizer(byte_document({{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}}));
    EXPECT_EQ(tokenizer->encode(std::string(1'000'000, 'a'), false).size(), 125'000u);
}

TEST(Tokenizer, Refusals) {
    const auto message = [](const std::string& key, std::string_view value) {
        Node document = byte_document({});
        document.set(key, json(value));
        return test::refusal([&] { make_tokenizer(document); });
    };
    EXPECT_EQ(message("decoder", R"({"type":"Metaspace"})"),
              "tokenizer.json: decoder Metaspace is not supported (ByteLevel, Fuse and Sequence are)");
    EXPECT_EQ(message("post_processor", R"({"type":"BertProcessing"})"),
              "tokenizer.json: post_processor BertProcessing is not supported (ByteLevel, TemplateProcessing and "
              "Sequence are)");
    EXPECT_NE(message("normalizer", R"({"type":"Lowercase"})").find("normalizer Lowercase is not supported"),
              std::string::npos);
    EXPECT_NE(message("added_tokens", R"([{"id":300,"content":"<s>"}])").find("has the id 300 but gets 256"),
              std::string::npos);
    EXPECT_NE(message("post_processor", R"({"type":"TemplateProcessing","single":[],"special_tokens":{}})")
                  .find("sequence A once"),
              std::string::npos);
    EXPECT_NE(message("post_processor", R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},
                 {"Sequence":{"id":"A"}}],"special_tokens":{"x":{"id":"x","ids":[256],"tokens":["x"]}}})")
                  .find("beyond the vocabulary"),
              std::string::npos);
}

TEST(Tokenizer, InvalidUtf8IsAnError) {
    const auto tokenizer = make_tokenizer(byte_document({}));
    EXPECT_EQ(test::refusal([&] { tokenizer->encode("ab\xC3", false); }), "the text is not UTF-8: byte 2 is wrong");
    EXPECT_NE(test::refusal([&] { tokenizer->encode("\xED\xA0\x80", false); }), "");
}

}   // namespace
}   // namespace trainer
