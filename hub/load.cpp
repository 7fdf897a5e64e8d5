#include "hub/load.h"

#include <vector>

#include "autograd/nonfinite.h"
#include "configs/error.h"

namespace trainer {

namespace {

void load(Parameter& parameter, const WeightSource& source) {
    Tensor& value = parameter.value;
    check(value.defined(), "load: parameter {} has no memory yet", parameter.name);
    if (value.contiguous()) {
        source.read(parameter.name, value.dtype(), value.raw());
    } else {   // a part of the columns of a fused tensor
        Tensor whole = Tensor::empty(value.shape(), value.dtype());
        source.read(parameter.name, whole.dtype(), whole.raw());
        copy(whole, value);
    }
    parameter.changed();
}

void refuse_nonfinite(const Parameter& parameter, const std::string& where) {
    const auto found = first_nonfinite(parameter.value);
    if (!found) return;
    const std::string index =
        parameter.shape.dimensions() == 1 ? format("{}", found->row) : format("{}, {}", found->row, found->column);
    fail(
        Exit::diverged,
        "{}: tensor {} holds {} at [{}] ({}); such a model cannot be used. Its file is damaged, or it diverged when it "
        "was trained",
        where, parameter.name, found->value, index, name_of(parameter.value.dtype()));
}

}   // namespace

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
        if (parameter->in_base) {
            load(*parameter, source);
            refuse_nonfinite(*parameter, where);
        }
}

}   // namespace trainer
