#include "peft/decompositions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace trainer {
namespace {

std::vector<float> random_matrix(std::int64_t rows, std::int64_t columns, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<std::size_t>(rows * columns));
    for (float& value : out) value = normal(random);
    return out;
}

// a (n, m) · b (m, k)
std::vector<double> product(const std::vector<double>& a, const std::vector<double>& b, std::int64_t n, std::int64_t m,
                            std::int64_t k) {
    std::vector<double> out(static_cast<std::size_t>(n * k));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < k; ++j)
            for (std::int64_t l = 0; l < m; ++l)
                out[static_cast<std::size_t>(i * k + j)] +=
                    a[static_cast<std::size_t>(i * m + l)] * b[static_cast<std::size_t>(l * k + j)];
    return out;
}

std::vector<double> transposed(const std::vector<double>& a, std::int64_t n, std::int64_t m) {
    std::vector<double> out(a.size());
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < m; ++j)
            out[static_cast<std::size_t>(j * n + i)] = a[static_cast<std::size_t>(i * m + j)];
    return out;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(sum);
}

std::vector<double> identity(std::int64_t n) {
    std::vector<double> out(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i) out[static_cast<std::size_t>(i * n + i)] = 1;
    return out;
}

struct Size {
    std::int64_t rows, columns, r;
};

class Decompositions : public ::testing::TestWithParam<Size> {};

// W v = s u and Wᵀ u = s v with orthonormal u and v, and no larger value is left over: ‖W‖² − Σ s² is what the rest
// has.
TEST_P(Decompositions, SingularVectors) {
    const auto [rows, columns, r] = GetParam();
    const std::vector<float> w = random_matrix(rows, columns, 1);
    const std::vector<double> wide(w.begin(), w.end());
    const SingularVectors found = largest_singular_vectors(w.data(), rows, columns, r);
    EXPECT_LT(distance(product(transposed(found.left, rows, r), found.left, r, rows, r), identity(r)), 1e-9);
    EXPECT_LT(distance(product(found.right, transposed(found.right, r, columns), r, columns, r), identity(r)), 1e-9);
    std::vector<double> scaled = found.left;
    for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= found.values[i % static_cast<std::size_t>(r)];
    EXPECT_LT(distance(product(wide, transposed(found.right, r, columns), rows, columns, r), scaled), 1e-8);
    for (std::int64_t k = 1; k < r; ++k)
        EXPECT_LE(found.values[static_cast<std::size_t>(k)],
                  found.values[static_cast<std::size_t>(k - 1)] * (1 + 1e-12));
    if (r < std::min(rows, columns)) {   // power iterations on what is left stay below the last value
        std::vector<double> rest = wide;
        const std::vector<double> part = product(scaled, found.right, rows, r, columns);
        for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= part[i];
        std::vector<double> x(static_cast<std::size_t>(columns), 1.0);
        double length = 0;
        for (int i = 0; i < 200; ++i) {
            x = product(transposed(rest, rows, columns), product(rest, x, rows, columns, 1), columns, rows, 1);
            length = distance(x, std::vector<double>(x.size()));
            for (double& value : x) value /= length;
        }
        EXPECT_LE(std::sqrt(length), found.values.back() * (1 + 1e-9));
    } else {
        EXPECT_LT(distance(product(scaled, found.right, rows, r, columns), wide), 1e-8);
    }
}

// Q R has the first r columns of W; Rᵀ is lower trapezoidal; signs are LAPACK's: R(0, 0) is against W(0, 0).
TEST_P(Decompositions, LeadingQr) {
    const auto [rows, columns, r] = GetParam();
    const std::vector<float> w = random_matrix(rows, columns, 2);
    const std::vector<double> wide(w.begin(), w.end());
    const LeadingQr found = leading_qr(w.data(), rows, columns, r);
    EXPECT_LT(distance(product(transposed(found.q, rows, r), found.q, r, rows, r), identity(r)), 1e-12);
    const std::vector<double> together = product(found.q, found.r, rows, r, columns);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < r; ++j)
            EXPECT_NEAR(together[static_cast<std::size_t>(i * columns + j)],
                        wide[static_cast<std::size_t>(i * columns + j)], 1e-11);
    EXPECT_LT(distance(product(transposed(found.q, rows, r), wide, r, rows, columns), found.r), 1e-10);
    if (rows > 1) {
        EXPECT_LT(found.r[0] * wide[0], 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Decompositions,
                         ::testing::Values(Size{7, 12, 3}, Size{12, 7, 7}, Size{40, 33, 5}, Size{24, 24, 1},
                                           Size{1, 6, 1}, Size{9, 2, 2}));

TEST(SingularVectors, OfEqualValuesAndOfZero) {
    std::vector<float> w(6 * 6);
    for (std::size_t i = 0; i < 6; ++i) w[i * 6 + i] = 2;   // all values are 2
    const SingularVectors found = largest_singular_vectors(w.data(), 6, 6, 4);
    for (const double value : found.values) EXPECT_NEAR(value, 2, 1e-12);
    EXPECT_LT(distance(product(transposed(found.left, 6, 4), found.left, 4, 6, 4), identity(4)), 1e-9);
    const std::vector<float> zero(12);
    for (const double value : largest_singular_vectors(zero.data(), 3, 4, 2).values) EXPECT_EQ(value, 0);
}

}   // namespace
}   // namespace trainer
