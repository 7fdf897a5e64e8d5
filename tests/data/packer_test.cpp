#include "data/packer.h"

#include <gtest/gtest.h>

#include <random>

#include "configs/error.h"

namespace trainer {
namespace {

std::vector<Example> of_lengths(const std::vector<std::size_t>& lengths) {
    std::vector<Example> examples;
    for (std::size_t length : lengths) {
        Example example;
        example.ids.assign(length, 1);
        example.trained.assign(length, 1);
        examples.push_back(std::move(example));
    }
    return examples;
}

// The same rule by trying every row: least room left that still holds the example, the older row on a tie.
std::vector<Row> naive_best_fit(const std::vector<Example>& examples, std::size_t capacity) {
    std::vector<Row> rows;
    for (std::size_t begin = 0; begin < examples.size(); begin += 8192) {
        const std::size_t first_row = rows.size();
        std::vector<std::size_t> left;
        std::vector<bool> placed(std::min<std::size_t>(8192, examples.size() - begin));
        for (std::size_t round = 0; round < placed.size(); ++round) {
            std::size_t longest = placed.size();
            for (std::size_t i = 0; i < placed.size(); ++i)
                if (!placed[i] &&
                    (longest == placed.size() || examples[begin + i].ids.size() > examples[begin + longest].ids.size()))
                    longest = i;
            placed[longest] = true;
            const std::size_t length = examples[begin + longest].ids.size();
            std::size_t best = left.size();
            for (std::size_t row = 0; row < left.size(); ++row)
                if (left[row] >= length && (best == left.size() || left[row] < left[best])) best = row;
            if (best == left.size()) {
                left.push_back(capacity);
                rows.emplace_back();
            }
            left[best] -= length;
            rows[first_row + best].push_back(static_cast<std::int32_t>(begin + longest));
        }
    }
    return rows;
}

std::vector<std::size_t> random_lengths(std::size_t count, std::size_t longest, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < count; ++i) lengths.push_back(1 + random() % longest);
    return lengths;
}

TEST(Packer, WithoutPackingEachExampleIsARow) {
    EXPECT_EQ(rows_without_packing(of_lengths({3, 1, 2})), (std::vector<Row>{{0}, {1}, {2}}));
    EXPECT_TRUE(rows_without_packing({}).empty());
}

TEST(Packer, FillsTheRowWithTheLeastRoom) {
    // 6 opens a row (4 left), 5 another (5 left), 4 goes to the first, 3 to the second, 2 to the second
    EXPECT_EQ(pack_best_fit(of_lengths({2, 3, 4, 5, 6}), 10), (std::vector<Row>{{4, 2}, {3, 1, 0}}));
    // equal lengths by index; equal room: the older row
    EXPECT_EQ(pack_best_fit(of_lengths({5, 5, 6, 6, 4, 4}), 10), (std::vector<Row>{{2, 4}, {3, 5}, {0, 1}}));
    EXPECT_EQ(pack_best_fit(of_lengths({7, 7, 3, 3}), 10), (std::vector<Row>{{0, 2}, {1, 3}}));
    EXPECT_TRUE(pack_best_fit({}, 10).empty());
}

TEST(Packer, AgreesWithTheNaiveRule) {
    for (unsigned seed = 0; seed < 30; ++seed) {
        const std::size_t capacity = 20 + 13 * seed;
        const std::vector<Example> examples = of_lengths(random_lengths(200, capacity, seed));
        const std::vector<Row> rows = pack_best_fit(examples, static_cast<std::int64_t>(capacity));
        EXPECT_EQ(rows, naive_best_fit(examples, capacity));
        EXPECT_EQ(rows, pack_best_fit(examples, static_cast<std::int64_t>(capacity)));
    }
}

TEST(Packer, EveryExampleOnceAndNoRowTooLong) {
    const std::vector<Example> examples = of_lengths(random_lengths(20000, 300, 5));
    const std::vector<Row> rows = pack_best_fit(examples, 300);
    std::vector<int> seen(examples.size());
    std::size_t tokens = 0;
    for (const Row& row : rows) {
        ASSERT_FALSE(row.empty());
        std::size_t length = 0;
        for (std::int32_t i : row) {
            ++seen[static_cast<std::size_t>(i)];
            length += examples[static_cast<std::size_t>(i)].ids.size();
            EXPECT_EQ(i / 8192, row.front() / 8192);   // packs do not cross windows
        }
        EXPECT_LE(length, 300u);
        tokens += length;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<std::ptrdiff_t>(examples.size()));
    EXPECT_GT(static_cast<double>(tokens), 0.98 * 300 * static_cast<double>(rows.size()));
}

TEST(Packer, AnExampleThatFitsNowhereIsABugOfTheCaller) {
    EXPECT_THROW(pack_best_fit(of_lengths({3, 11}), 10), Error);
    EXPECT_EQ(pack_best_fit(of_lengths({10}), 10).size(), 1u);
}

}   // namespace
}   // namespace trainer
