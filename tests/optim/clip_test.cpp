#include "optim/clip.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>

namespace trainer {
namespace {

double gradient_norm(const std::vector<Parameter*>& parameters) {
    const std::vector<ParameterSlice> slices = whole_slices(parameters);
    std::vector<Tensor> gradients;
    for (const ParameterSlice& slice : slices) gradients.push_back(slice.gradient());
    return norm_of(squares_of(slices, gradients));
}

class ClipTest : public ::testing::Test {
protected:
    Parameter& parameter(std::int64_t elements, unsigned seed) {
        auto made = std::make_unique<Parameter>("p" + std::to_string(parameters_.size()), Shape(elements));
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        std::vector<float> values(static_cast<std::size_t>(elements));
        for (float& value : values) value = normal(random);
        made->gradient = Tensor::from<float>(values, Shape(elements));
        owned_.push_back(std::move(made));
        parameters_.push_back(owned_.back().get());
        return *owned_.back();
    }

    std::vector<std::unique_ptr<Parameter>> owned_;
    std::vector<Parameter*> parameters_;
};

TEST_F(ClipTest, NormIsThatOfAllGradientsTogether) {
    double sum = 0;
    for (std::int64_t elements : {1, 7, 16384, 16385, 100003}) {
        const Parameter& made = parameter(elements, static_cast<unsigned>(elements));
        for (float value : made.gradient.to_vector<float>()) sum += static_cast<double>(value) * value;
    }
    EXPECT_NEAR(gradient_norm(parameters_) / std::sqrt(sum), 1, 1e-12);
}

TEST_F(ClipTest, NormHasTheSameBitsOnAnyNumberOfThreads) {
    for (unsigned seed = 0; seed < 3; ++seed) parameter(200000 + 17 * seed, seed);
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    const double one = gradient_norm(parameters_);
    for (int threads : {2, 3, 5, 16}) {
        omp_set_num_threads(threads);
        EXPECT_EQ(gradient_norm(parameters_), one) << threads << " threads";
    }
    omp_set_num_threads(before);
}

TEST_F(ClipTest, AMissingGradientCountsAsZero) {
    parameter(10, 1);
    const double alone = gradient_norm(parameters_);
    parameter(10, 2).gradient = Tensor();
    EXPECT_EQ(gradient_norm(parameters_), alone);
    EXPECT_EQ(gradient_norm({}), 0);
}

TEST_F(ClipTest, LargeAndTinyValuesNeitherOverflowNorVanish) {
    parameter(2, 1).gradient = Tensor::from<float>(std::vector<float>{3e30f, 4e30f}, Shape(2));
    EXPECT_NEAR(gradient_norm(parameters_) / 5e30, 1, 1e-6);
    parameters_[0]->gradient = Tensor::from<float>(std::vector<float>{3e-30f, 4e-30f}, Shape(2));
    EXPECT_NEAR(gradient_norm(parameters_) / 5e-30, 1, 1e-6);
}

TEST_F(ClipTest, NonFiniteGradientsShow) {
    parameter(100, 1).gradient.data<float>()[57] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(gradient_norm(parameters_)));
    parameters_[0]->gradient.data<float>()[57] = std::numeric_limits<float>::infinity();
    EXPECT_TRUE(std::isinf(gradient_norm(parameters_)));
}

TEST(ClipCoefficient, IsTorchs) {
    EXPECT_EQ(clip_coefficient(0.5, 1.0), 1.0f);
    EXPECT_EQ(clip_coefficient(0, 1.0), 1.0f);
    EXPECT_EQ(clip_coefficient(4, 1.0), static_cast<float>(1.0 / 4.000001));
    EXPECT_EQ(clip_coefficient(1, 1.0), static_cast<float>(1.0 / 1.000001));   // a hair below 1, as in torch
    EXPECT_EQ(clip_coefficient(4, 0), 1.0f);                                   // measure only
}

}   // namespace
}   // namespace trainer
