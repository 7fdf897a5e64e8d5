#include "autograd/ops/dropout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/cpu/rows.h"
#include "autograd/random.h"
#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/support/each_isa.h"
#include "tests/support/op_references.h"

namespace trainer {
namespace {

constexpr std::uint64_t site = site_key("model.layers.3.mlp.up_proj", "lora_dropout");

Layout layout_of(const std::vector<std::uint64_t>& keys) {
    Layout layout;
    layout.offsets = {0, static_cast<std::int32_t>(keys.size())};
    layout.token_keys = Tensor::from<std::uint64_t>(keys, static_cast<std::int64_t>(keys.size()));
    return layout;
}

Tensor ones(std::int64_t rows, std::int64_t columns) {
    return Tensor::from<float>(std::vector<float>(static_cast<std::size_t>(rows * columns), 1.0f), {rows, columns});
}

std::vector<std::uint64_t> document(std::uint64_t row, std::int32_t length) {
    std::vector<std::uint64_t> keys;
    for (std::int32_t p = 0; p < length; ++p) keys.push_back(random_key(1, 0, row, p));
    return keys;
}

TEST(Dropout, MaskIsThatOfItsDefinition) {
    const auto keys = document(1, 5);
    for (std::int64_t columns : {1, 7, 16, 17, 63, 64, 65, 130, 576}) {
        const auto expected = cases::dropout_mask(keys, columns, 0.3f, site).numbers;
        cases::on_each_isa([&] {
            const auto mask = dropout(ones(5, columns), 0.3f, site, layout_of(keys)).to_vector<float>();
            for (std::size_t i = 0; i < mask.size(); ++i)
                ASSERT_NEAR(static_cast<double>(mask[i]), expected[i], 1e-6) << columns << " " << i;
        });
    }
}

// The same document alone, packed behind another, in a batch of the other order, and in a step of another size.
TEST(Dropout, MaskOfATokenSurvivesPackingAndItsPlaceInTheBatch) {
    const std::int64_t columns = 100;
    const auto mask_of = [&](std::vector<std::vector<std::uint64_t>> documents, std::size_t wanted) {
        std::vector<std::uint64_t> keys;
        std::int64_t begin = 0;
        for (std::size_t d = 0; d < documents.size(); ++d) {
            if (d == wanted) begin = static_cast<std::int64_t>(keys.size());
            keys.insert(keys.end(), documents[d].begin(), documents[d].end());
        }
        const Tensor y = dropout(ones(static_cast<std::int64_t>(keys.size()), columns), 0.5f, site, layout_of(keys));
        return y.row_range(begin, begin + static_cast<std::int64_t>(documents[wanted].size())).to_vector<float>();
    };
    const auto a = document(4, 9);
    const auto b = document(5, 13);
    const auto alone = mask_of({a}, 0);
    EXPECT_EQ(mask_of({a, b}, 0), alone);
    EXPECT_EQ(mask_of({b, a}, 1), alone);
    EXPECT_EQ(mask_of({b, b, a, b}, 2), alone);
    EXPECT_NE(mask_of({b}, 0), alone);
}

TEST(Dropout, EverySiteAndTokenDrawsItsOwnMask) {
    const auto keys = document(1, 2);
    const auto mask = [&](std::uint64_t at) {
        return dropout(ones(2, 64), 0.5f, at, layout_of(keys)).to_vector<float>();
    };
    const auto here = mask(site);
    EXPECT_NE(here, mask(site + 1));
    EXPECT_FALSE(std::equal(here.begin(), here.begin() + 64, here.begin() + 64));
    EXPECT_EQ(here, mask(site));
}

TEST(Dropout, KeepsTheRightShareInEveryColumn) {
    const std::int64_t rows = 4000;
    const std::int64_t columns = 70;
    for (float p : {0.05f, 0.5f, 0.9f}) {
        const auto values = dropout(ones(rows, columns), p, site, layout_of(document(7, rows))).to_vector<float>();
        std::vector<int> kept(static_cast<std::size_t>(columns));
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (values[i] == 0) continue;
            ASSERT_EQ(values[i], 1.0f / (1.0f - p));
            ++kept[i % static_cast<std::size_t>(columns)];
        }
        const double deviation = std::sqrt(rows * p * (1 - p));
        for (int count : kept) EXPECT_NEAR(count, rows * (1 - static_cast<double>(p)), 5 * deviation);
    }
}

TEST(Dropout, ZeroIsTheInputItself) {
    Tensor x = ones(2, 3);
    x.set_slot(5);
    const Tensor y = dropout(x, 0, site, Layout());
    EXPECT_EQ(y.raw(), x.raw());
    EXPECT_EQ(y.slot(), 5);
}

TEST(Dropout, DroppedValuesAreZeroEvenOfInfinities) {
    const auto keys = document(1, 1);
    Tensor x = Tensor::from<float>(std::vector<float>(64, INFINITY), {1, 64});
    const auto values = dropout(x, 0.5f, site, layout_of(keys)).to_vector<float>();
    EXPECT_EQ(std::count(values.begin(), values.end(), 0.0f) + std::count(values.begin(), values.end(), INFINITY), 64);
}

TEST(Dropout, WritesStridedRowsAndInPlace) {
    const auto keys = document(2, 6);
    cases::on_each_isa([&] {
        for (DType dtype : {DType::f32, DType::bf16}) {
            const Tensor x = converted(ones(6, 90), dtype);
            Tensor plain = Tensor::empty({6, 90}, dtype);
            const Layout layout = layout_of(keys);
            apply_dropout(x, plain, 0.4f, site, layout.token_keys);
            Tensor wide = Tensor::zeros({6, 100}, dtype);
            Tensor inside = wide.column_range(3, 93);
            copy(x, inside);
            apply_dropout(inside, inside, 0.4f, site, layout.token_keys);
            const auto expected = converted(plain, DType::f32).to_vector<float>();
            EXPECT_EQ(converted(inside, DType::f32).to_vector<float>(), expected);
            EXPECT_EQ(std::count(expected.begin(), expected.end(), 0.0f) + 60, [&] {
                const auto all = converted(wide, DType::f32).to_vector<float>();
                return std::count(all.begin(), all.end(), 0.0f);
            }());
        }
    });
}

TEST(Dropout, BackwardUsesTheSameMask) {
    const auto keys = document(3, 4);
    const Layout layout = layout_of(keys);
    Tape tape;
    Tensor x = ones(4, 50);
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = dropout(x, 0.5f, site, layout);
    }
    tape.backward(y, ones(4, 50));
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), y.to_vector<float>());
}

TEST(Dropout, RefusesWhatIsNoProbability) {
    const Layout layout = layout_of(document(3, 4));
    EXPECT_THROW(dropout(ones(4, 5), 1, site, layout), Error);
    EXPECT_THROW(dropout(ones(4, 5), -0.1f, site, layout), Error);
    EXPECT_THROW(dropout(ones(3, 5), 0.5f, site, layout), Error);   // keys of four tokens
}

}   // namespace
}   // namespace trainer
