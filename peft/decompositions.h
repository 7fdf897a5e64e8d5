#pragma once

#include <cstdint>
#include <vector>

namespace trainer {

// Parts of matrices in double, computed by one thread: the same bits whatever the number of threads.

struct SingularVectors {
    std::vector<double> values;   // (r), from the largest
    std::vector<double> left;     // (rows, r)
    std::vector<double> right;    // (r, columns)
};

// The r largest singular values of a matrix (rows, columns), r at most the smaller side, with their vectors. By the
// eigenvectors of the smaller Gram matrix: Householder tridiagonalisation, bisection and inverse iteration
// (Golub and Van Loan, "Matrix Computations", 8.3 and 8.4). Vectors of values below 1e-7 of the largest are not
// accurate.
SingularVectors largest_singular_vectors(const float* matrix, std::int64_t rows, std::int64_t columns, std::int64_t r);

struct LeadingQr {
    std::vector<double> q;   // (rows, r), orthonormal columns
    std::vector<double> r;   // (r, columns)
};

// The first r columns of Q and rows of R of matrix (rows, columns) = Q R, by Householder reflections with LAPACK's
// signs; r at most the smaller side.
LeadingQr leading_qr(const float* matrix, std::int64_t rows, std::int64_t columns, std::int64_t r);

}   // namespace trainer
