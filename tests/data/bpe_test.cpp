#include "data/bpe.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/data/tokenizer_fixture.h"

namespace trainer {
namespace {

std::string encoded(const Node& model, bool byte_level, const std::string& word) {
    Bpe::Scratch scratch;
    std::vector<Bpe::Part> parts;
    Bpe(model, byte_level).encode(word, scratch, parts);
    std::string shown;
    for (const Bpe::Part& part : parts)
        shown += (shown.empty() ? "" : " ") + std::to_string(part.id) + "[" + std::to_string(part.begin) + "," +
                 std::to_string(part.end) + ")";
    return shown;
}

Node with(Node model, const std::string& key, Node value) {
    model.set(key, std::move(value));
    return model;
}

Node letters() {
    return test::json(R"({"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3,"bc":4,"<unk>":5,"<0xC3>":6,"<0xA9>":7,
                          "abc":8},"merges":[["b","c"],["a","b"]]})");
}

TEST(Bpe, LowestRankThenLeftmost) {
    EXPECT_EQ(encoded(letters(), false, "abc"), "0[0,1) 4[1,3)");
    EXPECT_EQ(encoded(letters(), false, "abab"), "2[0,2) 2[2,4)");
    const Node same = test::byte_model({{"a", "a"}, {"aa", "aa"}});
    EXPECT_EQ(encoded(same, true, "aaa"), "256[0,2) 97[2,3)");
    EXPECT_EQ(encoded(same, true, "aaaaa"), "257[0,4) 97[4,5)");
    EXPECT_EQ(encoded(same, true, ""), "");
}

TEST(Bpe, MergesAsStrings) {
    EXPECT_EQ(encoded(with(letters(), "merges", test::json(R"(["#version: 0.2","b c","a b"])")), false, "abc"),
              "0[0,1) 4[1,3)");
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
    EXPECT_EQ(encoded(with(letters(), "ignore_merges", true), false, "abc"), "8[0,3)");
    EXPECT_EQ(encoded(with(letters(), "ignore_merges", true), false, "abcb"), "0[0,1) 4[1,3) 1[3,4)");
}

TEST(Bpe, MissingLetters) {
    EXPECT_EQ(encoded(letters(), false, "aéb"), "2[0,4)");   // dropped, and its neighbours merge
    EXPECT_EQ(encoded(with(letters(), "byte_fallback", true), false, "aé"), "0[0,1) 6[1,2) 7[2,3)");
    const Node unknown = with(letters(), "unk_token", "<unk>");
    EXPECT_EQ(encoded(unknown, false, "éxb"), "5[0,2) 5[2,3) 1[3,4)");
    EXPECT_EQ(encoded(with(unknown, "fuse_unk", true), false, "éxbx"), "5[0,3) 1[3,4) 5[4,5)");
    EXPECT_EQ(encoded(with(unknown, "byte_fallback", true), false, "éx"), "6[0,1) 7[1,2) 5[2,3)");
}

TEST(Bpe, BytesOfACodePoint) {
    EXPECT_EQ(encoded(test::byte_model({{"Ã", "©"}}), true, "é中"), "256[0,2) 228[2,3) 184[3,4) 173[4,5)");
}

// Merging by the definition: look for the best pair, merge it, begin again.
std::vector<std::int32_t> merged_slowly(const std::vector<std::int32_t>& word, const MergeTable& merges) {
    std::vector<std::int32_t> ids = word;
    for (;;) {
        std::size_t best = ids.size();
        MergeTable::Merge lowest{-1, -1};
        for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
            const auto found = merges.find(ids[i], ids[i + 1]);
            if (found.rank >= 0 && (lowest.rank < 0 || found.rank < lowest.rank)) {
                lowest = found;
                best = i;
            }
        }
        if (lowest.rank < 0) return ids;
        ids[best] = lowest.id;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

TEST(Bpe, HeapEqualsTheDefinition) {
    const Node model = test::byte_model({{"a", "b"},
                                         {"b", "a"},
                                         {"a", "a"},
                                         {"ab", "a"},
                                         {"aa", "b"},
                                         {"ba", "ab"},
                                         {"aa", "aa"},
                                         {"aba", "aab"},
                                         {"b", "b"},
                                         {"bb", "a"}});
    const Bpe bpe(model, true);
    MergeTable merges(16);
    std::int32_t rank = 0;
    for (const Node& merge : model.at("merges").as_list()) {
        const std::string &left = merge.as_list()[0].as_string(), &right = merge.as_list()[1].as_string();
        merges.insert(bpe.id_of(left), bpe.id_of(right), {rank++, bpe.id_of(left + right)});
    }
    std::mt19937 random(7);
    Bpe::Scratch scratch;
    for (int round = 0; round < 20000; ++round) {
        std::string word;
        std::vector<std::int32_t> ids, found;
        for (auto length = random() % 40 + 1; length > 0; --length) word += random() % 3 > 0 ? 'a' : 'b';
        for (char letter : word) ids.push_back(letter);
        std::vector<Bpe::Part> parts;
        bpe.encode(word, scratch, parts);
        std::int32_t end = 0;
        for (const Bpe::Part& part : parts) {
            found.push_back(part.id);
            ASSERT_EQ(part.begin, end);
            end = part.end;
        }
        ASSERT_EQ(end, static_cast<std::int32_t>(word.size()));
        ASSERT_EQ(found, merged_slowly(ids, merges)) << word;
    }
}

TEST(Bpe, Refusals) {
    const auto message = [](const Node& model) { return test::refusal([&] { Bpe bpe(model, false); }); };
    EXPECT_EQ(message(with(letters(), "type", "Unigram")), "tokenizer.json: model Unigram is not supported (BPE is)");
    EXPECT_EQ(message(with(letters(), "dropout", 0.1)), "tokenizer.json: model.dropout is not supported");
    EXPECT_EQ(message(with(letters(), "end_of_word_suffix", "</w>")),
              "tokenizer.json: model.end_of_word_suffix is not supported");
    EXPECT_EQ(message(with(letters(), "continuing_subword_prefix", "")), "");
    EXPECT_EQ(message(with(letters(), "unk_token", "[U]")),
              "tokenizer.json: model.unk_token \"[U]\" is not in model.vocab");
    EXPECT_EQ(message(with(letters(), "merges", test::json(R"([["a","z"]])"))),
              "tokenizer.json: model.merges[0]: \"z\" is not in model.vocab");
    EXPECT_EQ(message(with(letters(), "merges", test::json(R"(["a b c"])"))),
              "tokenizer.json: model.merges[0]: \"a b c\" is not two tokens with a space between");
    EXPECT_EQ(message(with(letters(), "vocab", test::json(R"({"a":0,"b":0})"))),
              "tokenizer.json: model.vocab: \"a\" and \"b\" have the same id 0");
    EXPECT_EQ(message(with(letters(), "vocab", test::json(R"({"a":4000000000})"))),
              "tokenizer.json: model.vocab: \"a\" has the id 4000000000 in a vocabulary of 1 entries");
    EXPECT_NE(message(with(letters(), "vocab", test::json(R"({"a":-1})"))), "");
}

}   // namespace
}   // namespace trainer
