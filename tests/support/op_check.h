#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

#include "autograd/memory.h"
#include "autograd/tape.h"
#include "tests/support/op_cases.h"

namespace trainer::cases {

// A case with its inputs made at a place from a seed; values are such that the case's dtype holds them exactly.
class Prepared {
public:
    Prepared(const Case& op, DType dtype, Place place, std::uint64_t seed);

    const std::vector<Matrix>& inputs() const { return inputs_; }
    World& world() { return world_; }

    // Forward, recorded when `tape` is given; activations then want gradients.
    std::vector<Tensor> forward(Tape* tape);
    // Backward from the seeds of the outputs that have gradients. Gradients stay in the tape and the parameters.
    // Returns the seconds the walk took.
    double backward(Tape& tape, std::vector<Tensor> outputs);
    // In the order of the case's inputs, after backward.
    std::vector<Matrix> gradients(Tape& tape);

private:
    const Case& case_;
    World world_;
    std::uint64_t seed_;
    std::vector<Matrix> inputs_;
    std::vector<Tensor> activations_;
    Run run_;
};

struct Result {
    std::vector<Matrix> outputs;
    std::vector<Matrix> gradients;
};

// Forward and backward.
Result run(const Case& op, DType dtype, std::uint64_t seed, Place place = Place::cpu());
// The same by the double reference, gradients by central differences.
Result reference(const Case& op, DType dtype, std::uint64_t seed);

// What forward and backward allocate beyond what was there before, and what is left over afterwards.
struct Footprint {
    std::array<std::size_t, purpose_count> peak{};   // at the moment of the highest total
    std::size_t total() const { return std::accumulate(peak.begin(), peak.end(), std::size_t{0}); }
    std::size_t left = 0;
};
Footprint footprint(const Case& op, DType dtype, Place place);

Matrix matrix_of(const Tensor& tensor);   // f32, bf16, f16
// ‖a - b‖ / ‖b‖; infinite when the shapes differ or a is not finite.
double relative_error(const Matrix& a, const Matrix& b);

}   // namespace trainer::cases
