#include "tests/support/op_check.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "autograd/cuda/runtime.h"
#include "autograd/random.h"
#include "configs/error.h"

namespace trainer::cases {

namespace {

double rounded(double value, DType dtype) { return rounded_to(dtype, static_cast<float>(value)); }

Matrix random_matrix(std::int64_t rows, std::int64_t columns, double scale, DType dtype, std::uint64_t key) {
    Matrix out(rows, columns);
    for (std::size_t i = 0; i < out.numbers.size(); ++i) {
        const auto word = philox(key, {static_cast<std::uint32_t>(i), 0, 0, 0})[0];
        out.numbers[i] = rounded(scale * (2.0 * uniform(word) - 1.0), dtype);
    }
    return out;
}

Tensor tensor_of(const Matrix& matrix, Shape shape, DType dtype, Place place) {
    if (place.is_meta()) return Tensor::empty(shape, dtype, place);
    Tensor out = Tensor::empty(shape, dtype);
    for (std::size_t i = 0; i < matrix.numbers.size(); ++i) {
        const auto value = static_cast<float>(matrix.numbers[i]);
        if (dtype == DType::f32)
            out.data<float>()[i] = value;
        else if (dtype == DType::f16)
            out.data<f16>()[i] = f16(value);
        else
            out.data<bf16>()[i] = bf16(value);
    }
    return on_place(out, place);
}

// The seed of an output's gradient; every float type holds it exactly.
Matrix output_seed(std::int64_t rows, std::int64_t columns, std::uint64_t seed, std::size_t index) {
    Matrix out = random_matrix(rows, columns, 1, DType::bf16, random_key(seed, 1, index));
    for (double& number : out.numbers) number = rounded(number, DType::f16);
    return out;
}

}   // namespace

Tensor World::integers(const std::vector<std::int32_t>& values) const {
    const PurposeScope purpose(Purpose::data);
    if (place.is_meta()) return Tensor::empty(static_cast<std::int64_t>(values.size()), DType::i32, place.host());
    return Tensor::from<std::int32_t>(values, static_cast<std::int64_t>(values.size()));
}

Layout World::layout(const std::vector<std::int32_t>& lengths) const {
    const PurposeScope purpose(Purpose::data);
    Layout out;
    std::vector<std::int32_t> positions;
    std::vector<std::uint64_t> keys;
    for (std::size_t d = 0; d < lengths.size(); ++d) {
        for (std::int32_t p = 0; p < lengths[d]; ++p) {
            positions.push_back(p);
            keys.push_back(random_key(11, 0, d, static_cast<std::uint64_t>(p)));
        }
        out.offsets.push_back(static_cast<std::int32_t>(positions.size()));
        out.longest = std::max(out.longest, lengths[d]);
    }
    out.positions = integers(positions);
    const auto count = static_cast<std::int64_t>(keys.size());
    out.token_keys =
        place.is_meta() ? Tensor::empty(count, DType::u64, place.host()) : Tensor::from<std::uint64_t>(keys, count);
    return on_place(out, place);
}

Prepared::Prepared(const Case& op, DType dtype, Place place, std::uint64_t seed) : case_(op), seed_(seed) {
    world_.place = place;
    world_.dtype = dtype;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
        const Input& input = op.inputs[i];
        inputs_.push_back(
            random_matrix(input.shape.rows(), input.shape.columns(), input.scale, dtype, random_key(seed, 0, i)));
        if (input.parameter) {
            world_.parameters.push_back(std::make_unique<Parameter>(input.name, input.shape));
            world_.parameters.back()->trainable = true;
        }
    }
    const PurposeScope purpose(Purpose::weights);
    run_ = op.build(world_);
    std::size_t next_parameter = 0;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) {
        const Input& input = op.inputs[i];
        if (input.parameter) {
            Parameter& parameter = world_.parameter(next_parameter++);
            if (!parameter.value.defined()) parameter.value = Tensor::empty(input.shape, DType::f32, place);
            copy(tensor_of(inputs_[i], input.shape, DType::f32, place), parameter.value);
            parameter.changed();
        } else {
            const PurposeScope data(Purpose::data);
            activations_.push_back(tensor_of(inputs_[i], input.shape, dtype, place));
        }
    }
}

std::vector<Tensor> Prepared::forward(Tape* tape) {
    for (Tensor& activation : activations_) {
        activation = activation.detached();
        if (tape) tape->want(activation);
    }
    if (!tape) return run_(activations_);
    const Recording record(*tape);
    return run_(activations_);
}

double Prepared::backward(Tape& tape, std::vector<Tensor> outputs) {
    const std::size_t recorded = outputs.size() - static_cast<std::size_t>(case_.without_gradient);
    std::vector<Tensor> targets;
    std::vector<Tensor> seeds;
    for (std::size_t k = 0; k < outputs.size(); ++k) {
        const Tensor& y = outputs[k];
        check((y.slot() >= 0) == (k < recorded), "{}: output {} is recorded or not, contrary to the table", case_.label,
              k);
        if (k >= recorded) continue;
        const PurposeScope purpose(Purpose::data);
        targets.push_back(y.without_value());
        seeds.push_back(tensor_of(output_seed(y.rows(), y.columns(), seed_, k), y.shape(), y.dtype(), y.place()));
    }
    outputs.clear();   // what the op returned may be reused from here on
    // One last node hands every output its seed.
    Tensor end = Tensor::empty(1, DType::f32, world_.place);
    tape.record({&end}, [&](std::span<Tensor>, Gradients& gradients) {
        for (std::size_t k = 0; k < targets.size(); ++k) gradients.add(targets[k], std::move(seeds[k]));
    });
    Tensor start = Tensor::zeros(1, DType::f32, world_.place);
    const auto before = std::chrono::steady_clock::now();
    tape.backward(end, std::move(start));
    if (world_.place.is_cuda()) cuda::wait();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
}

std::vector<Matrix> Prepared::gradients(Tape& tape) {
    std::vector<Matrix> out;
    std::size_t next_parameter = 0;
    std::size_t next_activation = 0;
    for (const Input& input : case_.inputs) {
        const Tensor gradient = input.parameter ? world_.parameter(next_parameter++).gradient
                                                : tape.gradient(activations_[next_activation++]);
        check(gradient.defined(), "{}: no gradient for {}", case_.label, input.name);
        out.push_back(matrix_of(gradient));
    }
    return out;
}

Result run(const Case& op, DType dtype, std::uint64_t seed, Place place) {
    Prepared prepared(op, dtype, place, seed);
    Tape tape;
    std::vector<Tensor> outputs = prepared.forward(&tape);
    Result result;
    for (const Tensor& output : outputs) result.outputs.push_back(matrix_of(output));
    prepared.backward(tape, std::move(outputs));
    result.gradients = prepared.gradients(tape);
    return result;
}

Result reference(const Case& op, DType dtype, std::uint64_t seed) {
    std::vector<Matrix> inputs = Prepared(op, dtype, Place::meta(), seed).inputs();
    Result result;
    result.outputs = op.reference(inputs);
    const std::size_t recorded = result.outputs.size() - static_cast<std::size_t>(op.without_gradient);
    std::vector<Matrix> seeds;
    for (std::size_t k = 0; k < recorded; ++k)
        seeds.push_back(output_seed(result.outputs[k].rows, result.outputs[k].columns, seed, k));
    const auto loss = [&] {
        const std::vector<Matrix> outputs = op.reference(inputs);
        double sum = 0;
        for (std::size_t k = 0; k < recorded; ++k)
            for (std::size_t i = 0; i < seeds[k].numbers.size(); ++i)
                sum += seeds[k].numbers[i] * outputs[k].numbers[i];
        return sum;
    };
    constexpr double step = 1e-5;
    for (Matrix& input : inputs) {
        Matrix gradient(input.rows, input.columns);
        for (std::size_t i = 0; i < input.numbers.size(); ++i) {
            const double before = input.numbers[i];
            input.numbers[i] = before + step;
            const double above = loss();
            input.numbers[i] = before - step;
            const double below = loss();
            input.numbers[i] = before;
            gradient.numbers[i] = (above - below) / (2 * step);
        }
        result.gradients.push_back(std::move(gradient));
    }
    return result;
}

Footprint footprint(const Case& op, DType dtype, Place place) {
    Footprint out;
    const MemoryUse before = memory_use(place);
    {
        Prepared prepared(op, dtype, place, 1);
        reset_memory_peak(place);
        Tape tape;
        std::vector<Tensor> outputs = prepared.forward(&tape);
        prepared.backward(tape, std::move(outputs));
        const MemoryUse use = memory_use(place);
        for (std::size_t p = 0; p < purpose_count; ++p) out.peak[p] = use.peak_bytes[p] - before.bytes[p];
    }
    out.left = memory_use(place).total() - before.total();
    return out;
}

Matrix matrix_of(const Tensor& tensor) {
    const Tensor single = converted(tensor, DType::f32);
    const std::vector<float> values = single.to_vector<float>();
    Matrix out(tensor.rows(), tensor.columns());
    out.numbers.assign(values.begin(), values.end());
    return out;
}

double relative_error(const Matrix& a, const Matrix& b) {
    if (a.rows != b.rows || a.columns != b.columns) return std::numeric_limits<double>::infinity();
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < a.numbers.size(); ++i) {
        if (!std::isfinite(a.numbers[i])) return std::numeric_limits<double>::infinity();
        difference += (a.numbers[i] - b.numbers[i]) * (a.numbers[i] - b.numbers[i]);
        norm += b.numbers[i] * b.numbers[i];
    }
    if (difference == 0) return 0;
    return std::sqrt(difference / norm);
}

}   // namespace trainer::cases
