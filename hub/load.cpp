#include "hub/load.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/nonfinite.h"
#include "autograd/quant/packed_matrix.h"
#include "configs/error.h"

namespace trainer {

namespace {

[[noreturn]] void refuse(const NonFinite& found, const Parameter& parameter, DType dtype, const std::string& where) {
    const std::string index =
        parameter.shape.dimensions() == 1 ? format("{}", found.row) : format("{}, {}", found.row, found.column);
    fail(
        Exit::diverged,
        "{}: tensor {} holds {} at [{}] ({}); such a model cannot be used. Its file is damaged, or it diverged when it "
        "was trained",
        where, parameter.name, found.value, index, name_of(dtype));
}

// f16 holds less than the files' types do.
void check_f16_range(const Parameter& parameter, const WeightSource& source, const std::string& where) {
    Tensor wide = Tensor::empty(parameter.shape, DType::f32);
    source.read(parameter.name, DType::f32, wide.raw());
    if (first_nonfinite(wide)) return;
    const auto most = std::max_element(wide.data<float>(), wide.data<float>() + wide.elements(),
                                       [](float a, float b) { return std::abs(a) < std::abs(b); });
    fail(Exit::bad_recipe,
         "{}: tensor {} holds {}, and f16 nothing beyond 65504; use training.precision: bf16, which holds it", where,
         parameter.name, *most);
}

void load(Parameter& parameter, const WeightSource& source, const std::string& where) {
    Tensor& value = parameter.value;
    check(value.defined(), "load: parameter {} has no memory yet", parameter.name);
    Tensor read = value;
    // A part of the columns of a fused tensor, or on a device.
    const bool apart = !value.contiguous() || !value.place().is_cpu();
    if (apart) read = Tensor::empty(value.shape(), value.dtype());
    source.read(parameter.name, read.dtype(), read.raw());
    if (apart) copy(read, value);
    const auto found = first_nonfinite(read);
    if (found && read.dtype() == DType::f16) check_f16_range(parameter, source, where);
    if (found) refuse(*found, parameter, value.dtype(), where);
}

// A compressed parameter, of which a few rows at a time are looked at.
void check_finite(const Parameter& parameter, const std::string& where) {
    const PurposeScope purpose(Purpose::workspace);
    const PackedMatrix& matrix = *parameter.packed;
    constexpr std::int64_t rows_at_once = 256;
    for (std::int64_t row = 0; row < matrix.shape().rows(); row += rows_at_once) {
        const std::int64_t count = std::min(rows_at_once, matrix.shape().rows() - row);
        Tensor values = Tensor::empty({count, matrix.shape().columns()}, DType::f32);
        matrix.unpack(row, 0, values);
        if (auto found = first_nonfinite(values)) {
            found->row += row;
            refuse(*found, parameter, matrix.dtype(), where);
        }
    }
}

void fill_packed(const Parameter& parameter, const WeightSource& source, const std::string& where) {
    PackedMatrix& matrix = *parameter.packed;
    if (source.read_packed(parameter.name, matrix)) {
        check_finite(parameter, where);
        return;
    }
    const PurposeScope purpose(Purpose::workspace);
    const DType dtype = matrix.dtype() == DType::bf16 ? DType::bf16 : DType::f32;
    Tensor values = Tensor::empty(parameter.shape, dtype);
    source.read(parameter.name, dtype, values.raw());
    if (matrix.dtype() == DType::f16) round_values(values, DType::f16);
    if (const auto found = first_nonfinite(values)) refuse(*found, parameter, matrix.dtype(), where);
    require(matrix.can_pack(values), Exit::bad_data,
            "{}: tensor {} has values that {} cannot hold; skip its layer (model.quantize.skip, --skip)", where,
            parameter.name, matrix.format());
    matrix.pack(values);
}

}   // namespace

void load_parameter(Parameter& parameter, const WeightSource& source, const std::string& where) {
    if (parameter.packed)
        parameter.packed->set([&] { fill_packed(parameter, source, where); });
    else
        load(parameter, source, where);
    parameter.changed();
}

void check_parameters(const ParameterSet& parameters, const WeightSource& source, const std::string& where) {
    std::vector<Error> errors;
    const auto report = [&errors](const std::string& message) { errors.emplace_back(Exit::bad_data, message); };
    std::vector<std::string> missing, unused;
    for (const auto& parameter : parameters.all()) {
        if (!parameter->in_base) continue;
        if (!source.contains(parameter->name)) {
            missing.push_back(parameter->name);
        } else if (const FileShape found = source.shape(parameter->name); found != parameter->shape.sizes()) {
            report(format("{}: tensor {} has shape {}, expected {}", where, parameter->name, shape_text(found),
                          shape_text(parameter->shape.sizes())));
        }
    }
    for (const std::string& name : source.names())
        if (!parameters.find(name)) unused.push_back(name);
    const auto tensors_are = [](std::size_t count, const char* whose) {
        return count == 1 ? format("1 tensor{} is", whose) : format("{} tensors{} are", count, whose);
    };
    if (!missing.empty())
        report(format("{}: {} missing: {}", where, tensors_are(missing.size(), " of the model"), join(missing)));
    if (!unused.empty())
        report(format("{}: {} not part of the model: {}", where, tensors_are(unused.size(), ""), join(unused)));
    if (errors.size() == 1) throw errors.front();
    if (!errors.empty()) throw Errors(std::move(errors));
}

void load_parameters(ParameterSet& parameters, const WeightSource& source, const std::string& where) {
    check_parameters(parameters, source, where);
    for (const auto& parameter : parameters.all())
        if (parameter->in_base) load_parameter(*parameter, source, where);
}

}   // namespace trainer
