#include "peft/decompositions.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "configs/error.h"

namespace trainer {

namespace {

using Numbers = std::vector<double>;

std::size_t at(std::int64_t row, std::int64_t columns, std::int64_t column) {
    return static_cast<std::size_t>(row * columns + column);
}

double dot(const double* a, const double* b, std::int64_t count) {
    double sums[4] = {};   // four chains, in a fixed order
    std::int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int j = 0; j < 4; ++j) sums[j] += a[i + j] * b[i + j];
    for (; i < count; ++i) sums[0] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// rows · rowsᵀ (n, n) of rows (n, count)
Numbers gram_of_rows(const Numbers& rows, std::int64_t n, std::int64_t count) {
    Numbers gram(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j <= i; ++j)
            gram[at(i, n, j)] = gram[at(j, n, i)] = dot(&rows[at(i, count, 0)], &rows[at(j, count, 0)], count);
    return gram;
}

// A symmetric matrix as Q T Qᵀ: T has `diagonal` and `beside` (n − 1), Q is the product of reflections
// 1 − factor[k] v vᵀ, whose v is row k of `reflectors`, zero up to and including column k.
struct Tridiagonal {
    Numbers diagonal;
    Numbers beside;
    Numbers reflectors;
    Numbers factor;
};

Tridiagonal tridiagonalise(Numbers a, std::int64_t n) {
    Tridiagonal out{Numbers(static_cast<std::size_t>(n)),
                    Numbers(static_cast<std::size_t>(std::max<std::int64_t>(n - 1, 0))),
                    Numbers(static_cast<std::size_t>(n * n)), Numbers(static_cast<std::size_t>(n))};
    Numbers p(static_cast<std::size_t>(n));
    for (std::int64_t k = 0; k + 1 < n; ++k) {
        double* row = &a[at(k, n, 0)];
        double* v = &out.reflectors[at(k, n, 0)];
        const double norm = std::sqrt(dot(row + k + 1, row + k + 1, n - k - 1));
        const double alpha = row[k + 1] > 0 ? -norm : norm;
        out.beside[static_cast<std::size_t>(k)] = alpha;
        if (norm == 0) continue;
        std::copy(row + k + 1, row + n, v + k + 1);
        v[k + 1] -= alpha;
        const double factor = 2 / dot(v + k + 1, v + k + 1, n - k - 1);
        out.factor[static_cast<std::size_t>(k)] = factor;
        // A ← (1 − f v vᵀ) A (1 − f v vᵀ) = A − v wᵀ − w vᵀ
        for (std::int64_t i = k + 1; i < n; ++i)
            p[static_cast<std::size_t>(i)] = factor * dot(&a[at(i, n, k + 1)], v + k + 1, n - k - 1);
        const double half = factor / 2 * dot(&p[static_cast<std::size_t>(k + 1)], v + k + 1, n - k - 1);
        for (std::int64_t i = k + 1; i < n; ++i) p[static_cast<std::size_t>(i)] -= half * v[i];
        for (std::int64_t i = k + 1; i < n; ++i) {
            double* to = &a[at(i, n, 0)];
            const double vi = v[i], wi = p[static_cast<std::size_t>(i)];
            for (std::int64_t j = k + 1; j < n; ++j) to[j] -= vi * p[static_cast<std::size_t>(j)] + wi * v[j];
        }
    }
    for (std::int64_t k = 0; k < n; ++k) out.diagonal[static_cast<std::size_t>(k)] = a[at(k, n, k)];
    return out;
}

// How many eigenvalues of T lie above x, by the signs of the pivots of T − x.
std::int64_t count_above(const Tridiagonal& t, double x, double tiny) {
    std::int64_t below = 0;
    double pivot = 1;
    for (std::size_t i = 0; i < t.diagonal.size(); ++i) {
        const double beside = i == 0 ? 0 : t.beside[i - 1];
        pivot = t.diagonal[i] - x - beside * beside / pivot;
        if (std::abs(pivot) < tiny) pivot = -tiny;
        if (pivot < 0) ++below;
    }
    return static_cast<std::int64_t>(t.diagonal.size()) - below;
}

// The r largest eigenvalues of T, from the largest.
Numbers largest_eigenvalues(const Tridiagonal& t, std::int64_t r, double bound, double tiny) {
    Numbers values;
    for (std::int64_t k = 0; k < r; ++k) {
        double low = -bound, high = k == 0 ? bound : values.back();
        high = std::nextafter(high, std::numeric_limits<double>::infinity());
        for (int i = 0; i < 200; ++i) {
            const double middle = low + (high - low) / 2;
            if (middle <= low || middle >= high) break;
            (count_above(t, middle, tiny) > k ? low : high) = middle;
        }
        values.push_back(low);
    }
    return values;
}

// x ← (T − value)⁻¹ x by elimination with row exchanges.
void solve_shifted(const Tridiagonal& t, double value, double tiny, Numbers& x) {
    const std::size_t n = x.size();
    Numbers first(n), second(n), third(n);   // the upper triangle's three diagonals
    double diagonal = t.diagonal[0] - value, above = n > 1 ? t.beside[0] : 0;
    for (std::size_t i = 0; i + 1 < n; ++i) {
        const double under = t.beside[i], next = t.diagonal[i + 1] - value, after = i + 2 < n ? t.beside[i + 1] : 0;
        if (std::abs(diagonal) >= std::abs(under)) {
            if (std::abs(diagonal) < tiny) diagonal = tiny;
            const double ratio = under / diagonal;
            first[i] = diagonal, second[i] = above, third[i] = 0;
            x[i + 1] -= ratio * x[i];
            diagonal = next - ratio * above;
            above = after;
        } else {
            const double ratio = diagonal / under;
            first[i] = under, second[i] = next, third[i] = after;
            std::swap(x[i], x[i + 1]);
            x[i + 1] -= ratio * x[i];
            diagonal = above - ratio * next;
            above = -ratio * after;
        }
    }
    first[n - 1] = std::abs(diagonal) < tiny ? tiny : diagonal;
    for (std::size_t i = n; i-- > 0;) {
        double sum = x[i];
        if (i + 1 < n) sum -= second[i] * x[i + 1];
        if (i + 2 < n) sum -= third[i] * x[i + 2];
        x[i] = sum / first[i];
    }
}

void normalise(double* x, std::int64_t n) {
    double largest = 0;
    for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
    if (largest == 0) return;
    for (std::int64_t i = 0; i < n; ++i) x[i] /= largest;
    const double length = std::sqrt(dot(x, x, n));
    for (std::int64_t i = 0; i < n; ++i) x[i] /= length;
}

// Takes away what lies along the first `count` rows of `basis`.
void orthogonalise(const Numbers& basis, std::int64_t count, double* x, std::int64_t n) {
    for (std::int64_t k = 0; k < count; ++k) {
        const double* row = &basis[at(k, n, 0)];
        const double along = dot(row, x, n);
        for (std::int64_t i = 0; i < n; ++i) x[i] -= along * row[i];
    }
}

// Eigenvectors (r, n) of the r largest eigenvalues of a symmetric matrix without negative ones.
Numbers largest_eigenvectors(Numbers symmetric, std::int64_t n, std::int64_t r) {
    const Tridiagonal t = tridiagonalise(std::move(symmetric), n);
    double bound = 0;
    for (std::size_t i = 0; i < t.diagonal.size(); ++i)
        bound = std::max(bound, std::abs(t.diagonal[i]) + (i > 0 ? std::abs(t.beside[i - 1]) : 0) +
                                    (i < t.beside.size() ? std::abs(t.beside[i]) : 0));
    const double tiny = std::max(bound * 1e-18, std::numeric_limits<double>::min());
    const Numbers values = largest_eigenvalues(t, r, bound, tiny);
    Numbers vectors(static_cast<std::size_t>(r * n));
    for (std::int64_t k = 0; k < r; ++k) {
        Numbers x(static_cast<std::size_t>(n));
        for (std::int64_t i = 0; i < n; ++i)   // in no direction that a matrix is likely to avoid
            x[static_cast<std::size_t>(i)] = 1 + 0.3 * std::cos(static_cast<double>((i + 1) * (k + 1)));
        for (int iteration = 0; iteration < 4; ++iteration) {
            solve_shifted(t, values[static_cast<std::size_t>(k)], tiny, x);
            normalise(x.data(), n);
            for (int twice = 0; twice < 2; ++twice) orthogonalise(vectors, k, x.data(), n);
            normalise(x.data(), n);
        }
        std::copy(x.begin(), x.end(), vectors.begin() + k * n);
    }
    for (std::int64_t k = 0; k < r; ++k) {   // from T's basis to the matrix's
        double* x = &vectors[at(k, n, 0)];
        for (std::int64_t j = n - 2; j >= 0; --j) {
            const double* v = &t.reflectors[at(j, n, 0)];
            const double along = t.factor[static_cast<std::size_t>(j)] * dot(v + j + 1, x + j + 1, n - j - 1);
            for (std::int64_t i = j + 1; i < n; ++i) x[i] -= along * v[i];
        }
    }
    return vectors;
}

Numbers transposed(const float* matrix, std::int64_t rows, std::int64_t columns) {
    Numbers out(static_cast<std::size_t>(rows * columns));
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < columns; ++j) out[at(j, rows, i)] = static_cast<double>(matrix[at(i, columns, j)]);
    return out;
}

}   // namespace

SingularVectors largest_singular_vectors(const float* matrix, std::int64_t rows, std::int64_t columns, std::int64_t r) {
    check(r > 0 && r <= std::min(rows, columns), "singular vectors: {} of a {}x{} matrix", r, rows, columns);
    const bool wide = rows <= columns;
    const std::int64_t n = std::min(rows, columns), other = std::max(rows, columns);
    // (n, other): the rows, or the columns, of the matrix
    const Numbers lines = wide ? Numbers(matrix, matrix + rows * columns) : transposed(matrix, rows, columns);
    const Numbers near = largest_eigenvectors(gram_of_rows(lines, n, other), n, r);   // (r, n)
    Numbers far(static_cast<std::size_t>(r * other));                                 // (r, other)
    SingularVectors out{Numbers(static_cast<std::size_t>(r)), Numbers(static_cast<std::size_t>(rows * r)),
                        Numbers(static_cast<std::size_t>(r * columns))};
    for (std::int64_t k = 0; k < r; ++k) {
        double* x = &far[at(k, other, 0)];
        for (std::int64_t i = 0; i < n; ++i) {
            const double weight = near[at(k, n, i)];
            const double* line = &lines[at(i, other, 0)];
            for (std::int64_t j = 0; j < other; ++j) x[j] += weight * line[j];
        }
        out.values[static_cast<std::size_t>(k)] = std::sqrt(dot(x, x, other));
        normalise(x, other);
    }
    const Numbers& left = wide ? near : far;
    const Numbers& right = wide ? far : near;
    for (std::int64_t k = 0; k < r; ++k)
        for (std::int64_t i = 0; i < rows; ++i) out.left[at(i, r, k)] = left[at(k, rows, i)];
    out.right = right;
    return out;
}

LeadingQr leading_qr(const float* matrix, std::int64_t rows, std::int64_t columns, std::int64_t r) {
    check(r > 0 && r <= std::min(rows, columns), "QR: {} columns of a {}x{} matrix", r, rows, columns);
    Numbers panel(static_cast<std::size_t>(r * rows));   // the first r columns, one a row
    for (std::int64_t k = 0; k < r; ++k)
        for (std::int64_t i = 0; i < rows; ++i) panel[at(k, rows, i)] = static_cast<double>(matrix[at(i, columns, k)]);
    Numbers reflectors(panel.size());
    Numbers factor(static_cast<std::size_t>(r));
    const auto reflect = [&](std::int64_t k, double* x) {
        const double* v = &reflectors[at(k, rows, 0)];
        const double along = factor[static_cast<std::size_t>(k)] * dot(v + k, x + k, rows - k);
        for (std::int64_t i = k; i < rows; ++i) x[i] -= along * v[i];
    };
    for (std::int64_t k = 0; k < r; ++k) {
        double* x = &panel[at(k, rows, 0)];
        for (std::int64_t j = 0; j < k; ++j) reflect(j, x);
        if (k + 1 == rows) break;   // nothing below: no reflection
        const double norm = std::sqrt(dot(x + k, x + k, rows - k));
        if (norm == 0) continue;
        double* v = &reflectors[at(k, rows, 0)];
        std::copy(x + k, x + rows, v + k);
        v[k] += x[k] >= 0 ? norm : -norm;
        factor[static_cast<std::size_t>(k)] = 2 / dot(v + k, v + k, rows - k);
    }
    LeadingQr out{Numbers(static_cast<std::size_t>(rows * r)), Numbers(static_cast<std::size_t>(r * columns))};
    for (std::int64_t k = 0; k < r; ++k) {
        Numbers unit(static_cast<std::size_t>(rows));
        unit[static_cast<std::size_t>(k)] = 1;
        for (std::int64_t j = r; j-- > 0;) reflect(j, unit.data());
        for (std::int64_t i = 0; i < rows; ++i) {
            out.q[at(i, r, k)] = unit[static_cast<std::size_t>(i)];
            for (std::int64_t j = 0; j < columns; ++j)
                out.r[at(k, columns, j)] +=
                    unit[static_cast<std::size_t>(i)] * static_cast<double>(matrix[at(i, columns, j)]);
        }
        for (std::int64_t j = 0; j < k; ++j) out.r[at(k, columns, j)] = 0;
    }
    return out;
}

}   // namespace trainer
