#include "data/batch.h"

#include <gtest/gtest.h>

#include <set>

#include "configs/error.h"

namespace trainer {
namespace {

Example example(std::vector<std::int32_t> ids, std::vector<std::uint8_t> trained, std::int64_t row,
                std::int64_t occurrence = 0, std::int32_t source = 0) {
    return {std::move(ids), std::move(trained), source, row, occurrence};
}

const std::vector<Example>& examples() {
    static const std::vector<Example> all = {
        example({1, 2, 3, 4}, {1, 0, 1, 1}, 1),
        example({5, 6}, {0, 1}, 2),
        example({7, 8, 9}, {1, 1, 0}, 3),
    };
    return all;
}

using Ints = std::vector<std::int32_t>;

TEST(Batch, TargetsAreTheNextTokenOfTheSameDocument) {
    const Ints chosen = {1, 0};
    const Batch batch = make_batch(examples(), {{0, 1}, {2}}, chosen, 1, 0);
    EXPECT_EQ(batch.ids.to_vector<std::int32_t>(), (Ints{7, 8, 9, 1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(batch.targets.to_vector<std::int32_t>(), (Ints{8, -100, -100, -100, 3, 4, -100, 6, -100}));
    EXPECT_EQ(batch.layout.positions.to_vector<std::int32_t>(), (Ints{0, 1, 2, 0, 1, 2, 3, 0, 1}));
    EXPECT_EQ(batch.layout.offsets, (Ints{0, 3, 7, 9}));
    EXPECT_EQ(batch.layout.longest, 4);
    EXPECT_EQ(batch.trained_tokens, 4);   // the first token of a document is never a target, whatever its mask says
    EXPECT_EQ(batch.layout.kind, Layout::Kind::causal);
}

TEST(Batch, CountsAgreeWithTargets) {
    std::int64_t sum = 0;
    for (const Example& one : examples()) sum += one.targets();
    EXPECT_EQ(sum, 4);
    EXPECT_EQ(example({1}, {1}, 1).targets(), 0);
}

std::vector<std::uint64_t> keys(const std::vector<Example>& from, const std::vector<Row>& rows, const Ints& chosen,
                                std::uint64_t seed, std::int64_t epoch) {
    return make_batch(from, rows, chosen, seed, epoch).layout.token_keys.to_vector<std::uint64_t>();
}

TEST(Batch, KeysDoNotDependOnPackingOrPlace) {
    const std::vector<std::uint64_t> packed = keys(examples(), {{2, 0, 1}}, {0}, 5, 3);
    const std::vector<std::uint64_t> alone = keys(examples(), {{0}, {1}, {2}}, {0, 1, 2}, 5, 3);
    EXPECT_EQ(std::vector(packed.begin(), packed.begin() + 3), std::vector(alone.begin() + 6, alone.end()));
    EXPECT_EQ(std::vector(packed.begin() + 3, packed.end()), std::vector(alone.begin(), alone.begin() + 6));
}

TEST(Batch, KeysDifferByEverythingThatTheyNameAndByNothingElse) {
    std::set<std::uint64_t> seen;
    std::size_t expected = 0;
    for (std::uint64_t seed : {0, 1})
        for (std::int64_t epoch : {0, 1})
            for (std::int32_t source : {0, 1})
                for (std::int64_t row : {1, 2})
                    for (std::int64_t occurrence : {0, 1}) {
                        const auto made =
                            keys({example({1, 2, 3}, {1, 1, 1}, row, occurrence, source)}, {{0}}, {0}, seed, epoch);
                        seen.insert(made.begin(), made.end());
                        expected += made.size();
                    }
    EXPECT_EQ(seen.size(), expected);
    // other tokens, same keys
    EXPECT_EQ(keys({example({1, 2, 3}, {1, 1, 1}, 4)}, {{0}}, {0}, 1, 2),
              keys({example({9, 9, 9}, {0, 0, 1}, 4)}, {{0}}, {0}, 1, 2));
}

// Offsets are 32-bit. The rows name one document again and again, so that the test needs little memory.
TEST(Batch, ALeafBeyondWhatOffsetsHoldIsRefused) {
    const std::vector<Example> one = {
        example(std::vector<std::int32_t>(1 << 16, 7), std::vector<std::uint8_t>(1 << 16, 1), 1)};
    const std::vector<Row> rows = {Row(1 << 15, 0)};
    for (const bool meta : {false, true}) {
        try {
            meta ? make_meta_batch(one, rows, Ints{0}) : make_batch(one, rows, Ints{0}, 1, 0);
            ADD_FAILURE() << "2147483648 tokens";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_data);
            EXPECT_STREQ(error.what(), "data: a leaf of 2147483648 tokens; lower training.micro_batch");
        }
    }
}

TEST(Batch, OnMetaItHasTheSameShape) {
    const std::vector<Row> rows = {{0, 1}, {2}};
    const Ints chosen = {0, 1};
    const Batch real = make_batch(examples(), rows, chosen, 1, 0);
    const Batch meta = make_meta_batch(examples(), rows, chosen);
    EXPECT_TRUE(meta.ids.place().is_meta());
    EXPECT_EQ(meta.ids.shape(), real.ids.shape());
    EXPECT_EQ(meta.targets.shape(), real.targets.shape());
    EXPECT_EQ(meta.layout.token_keys.dtype(), DType::u64);
    EXPECT_EQ(meta.layout.offsets, real.layout.offsets);
    EXPECT_EQ(meta.layout.longest, real.layout.longest);
    EXPECT_EQ(meta.trained_tokens, real.trained_tokens);
}

}   // namespace
}   // namespace trainer
