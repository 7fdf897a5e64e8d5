#include "trainer/base_format.h"

#include <algorithm>

#include "autograd/quant/registry.h"
#include "configs/error.h"
#include "models/embedding.h"
#include "models/linear.h"
#include "trainer/model_output.h"

namespace trainer {

namespace {

void check_skip(const Declarations& model, const std::vector<std::string>& skip, const FormatRequest& request) {
    std::vector<std::string> endings;
    for (const Linear* linear : model.linears) {
        const std::string ending = linear->name.substr(linear->name.rfind('.') + 1);
        if (std::find(endings.begin(), endings.end(), ending) == endings.end()) endings.push_back(ending);
    }
    for (const std::string& entry : skip)
        require(std::any_of(model.linears.begin(), model.linears.end(),
                            [&](const Linear* linear) { return is_path_end(linear->name, entry); }),
                request.code, "{}: \"{}\" is no linear layer of the model; {}it has {}", request.skip, entry,
                did_you_mean(entry, endings), join(endings));
}

void set_format(Parameter& parameter, std::shared_ptr<PackedMatrix> matrix) {
    require(!parameter.trainable, Exit::bad_recipe,
            "model.quantize: {} is trained, which a weight in {} cannot be; name it in model.quantize.skip",
            parameter.name, matrix->format());
    parameter.packed = std::move(matrix);
}

// As the base's files hold it when they do so in fewer bits; else null.
std::shared_ptr<PackedMatrix> stored_matrix(const Parameter& parameter, const Snapshot& snapshot, DType dtype) {
    const bool is_there = parameter.in_base && snapshot.weights->contains(parameter.name);
    return is_there ? snapshot.weights->packed(parameter.name, dtype) : nullptr;
}

void keep_stored(Declarations& model, const Snapshot& snapshot, DType dtype) {
    bool any = false;
    for (const auto& parameter : model.parameters.all()) {
        const bool is_copied = parameter->replacement && parameter->shape.dimensions() == 2;   // by an adapter
        if (is_copied) continue;
        if (auto matrix = stored_matrix(*parameter, snapshot, dtype)) {
            set_format(*parameter, std::move(matrix));
            any = true;
        }
    }
    require(any, Exit::bad_recipe,
            "model.quantize: the weights of {} are not stored in a quantised format; choose one of {}", snapshot.base,
            join(quantisations().names()));
}

// The input embeddings and the output layer, but those that an adapter trains as copies.
void compress_embeddings(Declarations& model, const QuantizeOptions& quantize, DType dtype) {
    const auto make = quantisations().at(quantize.embeddings).make;
    const auto compress = [&](Parameter& weight) {
        if (!weight.replacement) set_format(weight, make(weight.shape, dtype, quantize));
    };
    for (Embedding* embedding : model.embeddings) compress(embedding->weight());
    for (Linear* linear : model.linears)
        if (linear->name == head_name) compress(*linear->weight);
}

}   // namespace

DType base_dtype(const ModelOptions& options, const Snapshot& snapshot) {
    return options.dtype.value_or(stored_dtype(snapshot.config));
}

void choose_formats(Declarations& model, const ModelOptions& options, const Snapshot& snapshot,
                    const FormatRequest& request) {
    const QuantizeOptions& quantize = options.quantize;
    if (quantize.format == QuantizeOptions::none) return;
    const DType dtype = base_dtype(options, snapshot);
    if (quantize.format == QuantizeOptions::stored) {
        keep_stored(model, snapshot, dtype);
        return;
    }
    check_skip(model, quantize.skip, request);
    const auto make = quantisations().at(quantize.format).make;
    for (Linear* linear : model.linears) {
        const auto skips = [&](const std::string& entry) { return is_path_end(linear->name, entry); };
        if (linear->weight->replacement || linear->name == head_name ||
            std::any_of(quantize.skip.begin(), quantize.skip.end(), skips))
            continue;
        set_format(*linear->weight, make(linear->weight->shape, dtype, quantize));
    }
    if (quantize.embeddings != QuantizeOptions::none) compress_embeddings(model, quantize, dtype);
    const auto& all = model.parameters.all();
    require(std::any_of(all.begin(), all.end(), [](const auto& parameter) { return parameter->packed != nullptr; }),
            request.code, "{}: no weight is left to hold in {}: {}", request.skip, quantize.format, request.remedy);
}

std::string stored_format(const ParameterSet& parameters, const Snapshot& snapshot) {
    std::vector<std::string> formats;
    for (const auto& parameter : parameters.all())
        if (const auto stored = stored_matrix(*parameter, snapshot, DType::bf16))
            if (std::find(formats.begin(), formats.end(), stored->format()) == formats.end())
                formats.push_back(stored->format());
    return join(formats);
}

std::string rounded_twice(const ParameterSet& parameters, const Snapshot& snapshot) {
    for (const auto& parameter : parameters.all()) {
        const auto& chosen = parameter->packed;
        const auto stored = chosen ? stored_matrix(*parameter, snapshot, chosen->dtype()) : nullptr;
        if (stored && chosen->layout() != stored->layout())
            return format("{} is stored in {}, whose values are rounded already, and {}{} rounds them again",
                          snapshot.base, stored->format(), chosen->format(),
                          chosen->format() == stored->format() ? " with other scales" : "");
    }
    return "";
}

}   // namespace trainer
