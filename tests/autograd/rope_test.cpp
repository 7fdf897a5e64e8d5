#include "autograd/ops/rope.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <utility>
#include <vector>

#include "autograd/random.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {
namespace {

using Numbers = std::vector<double>;

std::vector<float> frequencies(int head_dim, float theta = 10000) {
    std::vector<float> out;
    for (int j = 0; j < head_dim / 2; ++j)
        out.push_back(1.0f / std::pow(theta, static_cast<float>(2 * j) / static_cast<float>(head_dim)));
    return out;
}

Layout layout_of(const std::vector<std::int32_t>& positions) {
    Layout layout;
    const auto tokens = static_cast<std::int32_t>(positions.size());
    layout.offsets.push_back(tokens);
    layout.longest = tokens;
    layout.positions = Tensor::from<std::int32_t>(positions, tokens);
    return layout;
}

Tensor random_tensor(std::int64_t rows, std::int64_t columns, DType dtype, std::uint64_t seed) {
    Tensor out = Tensor::empty({rows, columns}, dtype);
    for (std::int64_t i = 0; i < rows * columns; ++i) {
        const float value = 2 * uniform(philox(seed, {static_cast<std::uint32_t>(i), 0, 0, 0})[0]) - 1;
        if (dtype == DType::f32) {
            out.data<float>()[i] = value;
        } else {
            out.data<bf16>()[i] = bf16(value);
        }
    }
    return out;
}

Tensor copy_of(const Tensor& in) {
    Tensor out = Tensor::empty(in.shape(), in.dtype());
    copy(in, out);
    return out;
}

Numbers numbers_of(const Tensor& tensor) {
    Numbers out;
    const Tensor full = converted(tensor, DType::f32);
    for (float value : full.to_vector<float>()) out.push_back(value);
    return out;
}

// Rotation of the complex numbers x[j] + i x[j + D/2] by the f32 angle; `direction` -1 turns back.
Numbers twin(Numbers x, int columns, const std::vector<std::int32_t>& positions, const std::vector<float>& frequency,
             int heads, double scaling, double direction) {
    const std::size_t half = frequency.size();
    for (std::size_t n = 0; n < positions.size(); ++n)
        for (std::size_t head = 0; head < static_cast<std::size_t>(heads); ++head)
            for (std::size_t j = 0; j < half; ++j) {
                const float angle = static_cast<float>(positions[n]) * frequency[j];
                const double c = std::cos(static_cast<double>(angle)) * scaling;
                const double s = std::sin(static_cast<double>(angle)) * scaling * direction;
                double& first = x[n * static_cast<std::size_t>(columns) + head * 2 * half + j];
                double& second = x[n * static_cast<std::size_t>(columns) + head * 2 * half + half + j];
                const double before = first;
                first = before * c - second * s;
                second = second * c + before * s;
            }
    return x;
}

double relative_error(const Numbers& a, const Numbers& b) {
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        difference += (a.at(i) - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return a.size() == b.size() && std::isfinite(difference) ? std::sqrt(difference / norm) : INFINITY;
}

// The angle is a product in f32; its cosine and sine are exact to the last place.
TEST(RopeTable, HasCosinesOfSingleAngles) {
    const std::vector<float> frequency = frequencies(64, 100000);
    const RopeTable table = make_rope_table(frequency, 8192, 1, Place::cpu());
    ASSERT_EQ(table.cosine.shape(), Shape(8192, 32));
    for (std::int64_t position = 0; position < 8192; ++position)
        for (std::size_t j = 0; j < frequency.size(); ++j) {
            const float angle = static_cast<float>(position) * frequency[j];
            const std::int64_t at = position * 32 + static_cast<std::int64_t>(j);
            ASSERT_EQ(table.cosine.data<float>()[at], static_cast<float>(std::cos(static_cast<double>(angle))));
            ASSERT_EQ(table.sine.data<float>()[at], static_cast<float>(std::sin(static_cast<double>(angle))));
        }
    const RopeTable scaled = make_rope_table({0.5f}, 3, 2, Place::cpu());
    EXPECT_FLOAT_EQ(scaled.cosine.data<float>()[2], 2 * std::cos(1.0f));
    EXPECT_FLOAT_EQ(scaled.sine.data<float>()[2], 2 * std::sin(1.0f));
}

class Rope : public testing::TestWithParam<DType> {
protected:
    void SetUp() override { poison_new_memory(true); }
    void TearDown() override {
        poison_new_memory(false);
        omp_set_num_threads(threads_);
    }
    double bound() const { return GetParam() == DType::f32 ? 1e-6 : 3e-3; }

private:
    int threads_ = omp_get_max_threads();
};

TEST_P(Rope, TurnsAndTurnsGradientsBack) {
    for (int head_dim : {64, 80, 6, 2, 128}) {
        const std::vector<std::int32_t> positions = {0, 1, 2, 3, 0, 700, 701, 5, 2000};
        const Layout layout = layout_of(positions);
        const RopeTable table = make_rope_table(frequencies(head_dim), 2001, 1.5f, Place::cpu());
        const int columns = 5 * head_dim;
        Tensor x = random_tensor(9, columns, GetParam(), 3);
        const Tensor dy = random_tensor(9, columns, GetParam(), 4);
        const Numbers in = numbers_of(x);
        Tape tape;
        tape.want(x);
        const Tensor handle = x.without_value();
        const void* memory = x.raw();
        Tensor y;
        {
            const Recording record(tape);
            y = rope(std::move(x), table, layout, 3, head_dim);
        }
        EXPECT_EQ(y.raw(), memory) << "in place";
        EXPECT_LT(relative_error(numbers_of(y), twin(in, columns, positions, frequencies(head_dim), 3, 1.5, 1)),
                  bound());
        Tensor seed = copy_of(dy);
        const void* seed_memory = seed.raw();
        tape.backward(y, std::move(seed));
        const Tensor dx = tape.gradient(handle);
        EXPECT_EQ(dx.raw(), seed_memory) << "in place";
        EXPECT_LT(
            relative_error(numbers_of(dx), twin(numbers_of(dy), columns, positions, frequencies(head_dim), 3, 1.5, -1)),
            bound());
    }
}

TEST_P(Rope, LeavesASharedGradientAlone) {
    const Layout layout = layout_of({0, 1, 2});
    const RopeTable table = make_rope_table(frequencies(16), 3, 1, Place::cpu());
    Tape tape;
    Tensor x = random_tensor(3, 32, GetParam(), 3);
    tape.want(x);
    const Tensor handle = x.without_value();
    Tensor y;
    {
        const Recording record(tape);
        y = rope(std::move(x), table, layout, 2, 16);
    }
    const Tensor dy = random_tensor(3, 32, GetParam(), 4);
    const Numbers before = numbers_of(dy);
    tape.backward(y, dy);
    EXPECT_EQ(numbers_of(dy), before);
    EXPECT_NE(numbers_of(tape.gradient(handle)), before);
}

TEST_P(Rope, RowsMayBeStridedAndBitsDoNotDependOnThreads) {
    std::vector<std::int32_t> positions(150);
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int32_t>(i);
    const Layout layout = layout_of(positions);
    const RopeTable table = make_rope_table(frequencies(80), 150, 1, Place::cpu());
    omp_set_num_threads(1);
    const Numbers one = numbers_of(rope(random_tensor(150, 240, GetParam(), 3), table, layout, 2, 80));
    for (int threads : {2, 3, 5, 16}) {
        omp_set_num_threads(threads);
        EXPECT_EQ(numbers_of(rope(random_tensor(150, 240, GetParam(), 3), table, layout, 2, 80)), one) << threads;
    }
    Tensor view;
    {
        Tensor wide = Tensor::zeros({150, 250}, GetParam());
        view = wide.column_range(7, 247);
        copy(random_tensor(150, 240, GetParam(), 3), view);
    }
    EXPECT_EQ(numbers_of(rope(std::move(view), table, layout, 2, 80)), one);
}

TEST_P(Rope, RefusesWhatItCannotTurn) {
    const Layout layout = layout_of({0, 1, 2});
    const RopeTable table = make_rope_table(frequencies(16), 3, 1, Place::cpu());
    const Tensor shared = random_tensor(3, 32, GetParam(), 3);
    EXPECT_THROW(rope(shared, table, layout, 2, 16), Error);
    auto fresh = [&] { return random_tensor(3, 32, GetParam(), 3); };
    EXPECT_THROW(rope(fresh(), table, layout, 3, 16), Error);                 // more heads than columns
    EXPECT_THROW(rope(fresh(), table, layout, 2, 8), Error);                  // the table is for 16
    EXPECT_THROW(rope(fresh(), table, layout_of({0, 1}), 2, 16), Error);      // two positions for three rows
    EXPECT_THROW(rope(fresh(), table, layout_of({0, 1, 3}), 2, 16), Error);   // beyond the table
    EXPECT_THROW(rope(fresh(), table, layout_of({0, -1, 2}), 2, 16), Error);
    EXPECT_NO_THROW(rope(fresh(), table, layout, 2, 16));
}

INSTANTIATE_TEST_SUITE_P(Types, Rope, testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}   // namespace
}   // namespace trainer
