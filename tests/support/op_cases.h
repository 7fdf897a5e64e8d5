#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/layout.h"
#include "autograd/parameter.h"
#include "autograd/tensor.h"

// The table of ops: one row an op. A row is at once a comparison with double arithmetic, a check of gradients by finite
// differences, of threads, memory plan and instruction sets (op_check.h), and a benchmark (bench/ops.cpp).
namespace trainer::cases {

// The numbers of one tensor in double; a one-dimensional tensor has one column.
struct Matrix {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::vector<double> numbers;

    Matrix() = default;
    Matrix(std::int64_t rows, std::int64_t columns)
        : rows(rows), columns(columns), numbers(static_cast<std::size_t>(rows * columns)) {}
    double& operator()(std::int64_t row, std::int64_t column) {
        return numbers[static_cast<std::size_t>(row * columns + column)];
    }
    double operator()(std::int64_t row, std::int64_t column) const {
        return numbers[static_cast<std::size_t>(row * columns + column)];
    }
};

// Something a gradient is asked for: an activation in the case's dtype or a trainable parameter. Uniform in ±scale.
struct Input {
    std::string name;
    Shape shape;
    bool parameter = false;
    double scale = 1;
};

// Where a case runs. Parameters are those inputs marked as such, in order; those that `build` gives no value get an f32
// tensor of their own.
struct World {
    Place place;
    DType dtype = DType::f32;
    std::vector<std::unique_ptr<Parameter>> parameters;
    Parameter& parameter(std::size_t index) const { return *parameters.at(index); }

    Tensor integers(const std::vector<std::int32_t>& values) const;   // ids and targets: on the host
    // Documents of these lengths with positions and token keys.
    Layout layout(const std::vector<std::int32_t>& lengths) const;
};

// The op on the activations, in order. It owns what it needs besides.
using Run = std::function<std::vector<Tensor>(const std::vector<Tensor>& activations)>;

struct Bound {
    double forward;
    double gradient;
};

struct Case {
    std::string op;      // the name of its header under autograd/ops
    std::string label;   // form and shape: "add_rms_norm 5x70"
    std::vector<Input> inputs;
    std::function<Run(const World&)> build;
    // All outputs from all inputs (activations and parameters in the order of `inputs`), in plain double code.
    std::function<std::vector<Matrix>(const std::vector<Matrix>&)> reference;
    Bound f32{1e-5, 1e-5};   // relative Frobenius norms (docs/numerics.md)
    Bound bf16{3e-3, 3e-3};
    int without_gradient = 0;       // how many of the last outputs are never recorded
    bool memory_by_value = false;   // values decide what is allocated; meta takes the most
    double flops = 0;               // of forward and of each half of backward; 0: bound by memory
};

// Small cases, for tests; every op has at least one.
std::vector<Case> small_cases();
// The shapes of a training step of SmolLM2-135M with 2048 tokens, for benchmarks.
std::vector<Case> large_cases();

}   // namespace trainer::cases
