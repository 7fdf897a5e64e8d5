#include "hub/quantised.h"

#include <algorithm>
#include <span>

#include "autograd/quant/registry.h"
#include "configs/error.h"
#include "hub/bitsandbytes.h"
#include "hub/fine_grained_fp8.h"

namespace trainer {

namespace {

// What config.json calls a library, and its reader.
struct Library {
    std::string_view quant_method;
    std::unique_ptr<WeightSource> (*open)(std::unique_ptr<WeightSource> stored, const Node& quantisation,
                                          const std::string& folder);
};

std::unique_ptr<WeightSource> open_bitsandbytes(std::unique_ptr<WeightSource> stored, const Node&,
                                                const std::string& folder) {
    return open_bitsandbytes_weights(std::move(stored), folder);
}

constexpr Library libraries[] = {{"bitsandbytes", open_bitsandbytes}, {"fp8", open_fp8_weights}};

// A format of autograd/quant/registry.cpp as its library writes it.
struct WrittenFormat {
    std::string_view format;
    std::string_view quant_method;
    std::vector<TensorToWrite> (*tensors)(const std::string& name, PackedMatrix& matrix);
    Node (*config)(const QuantizeOptions& options, DType dtype, const std::vector<std::string>& skipped);
};

template <typename Matrix, std::vector<TensorToWrite> (*write)(const std::string&, Matrix&)>
std::vector<TensorToWrite> tensors_as(const std::string& name, PackedMatrix& matrix) {
    return write(name, dynamic_cast<Matrix&>(matrix));
}

template <FourBitCode code>
Node four_bit_config(const QuantizeOptions& options, DType dtype, const std::vector<std::string>& skipped) {
    return bitsandbytes_config(four_bit_options(options, code), dtype, skipped);
}
Node int8_config(const QuantizeOptions&, DType, const std::vector<std::string>& skipped) {
    return bitsandbytes_int8_config(skipped);
}
Node config_of_fp8(const QuantizeOptions& options, DType, const std::vector<std::string>& skipped) {
    return fp8_config(fp8_block(options), skipped);
}

constexpr WrittenFormat formats[] = {
    {"nf4", "bitsandbytes", tensors_as<FourBitMatrix, bitsandbytes_tensors>, four_bit_config<FourBitCode::nf4>},
    {"fp4", "bitsandbytes", tensors_as<FourBitMatrix, bitsandbytes_tensors>, four_bit_config<FourBitCode::fp4>},
    {"int8", "bitsandbytes", tensors_as<Int8Matrix, bitsandbytes_tensors>, int8_config},
    {"fp8", "fp8", tensors_as<Fp8Matrix, fp8_tensors>, config_of_fp8},
};

const WrittenFormat& written(const std::string& format) {
    const auto* found = std::find_if(std::begin(formats), std::end(formats),
                                     [&](const WrittenFormat& one) { return one.format == format; });
    check(found != std::end(formats), "no library stores {}", format);
    return *found;
}

}   // namespace

std::unique_ptr<WeightSource> open_quantised_weights(std::unique_ptr<WeightSource> stored, const Node& config,
                                                     const std::string& folder) {
    const Node* quantisation = config.find("quantization_config");
    if (!quantisation || quantisation->is_null()) return stored;
    const Node* method = quantisation->is_map() ? quantisation->find("quant_method") : nullptr;
    std::string name = method && method->is_string() ? method->as_string() : "";
    const bool before_methods = name.empty() && quantisation->is_map() && quantisation->find("load_in_4bit");
    if (before_methods) name = libraries[0].quant_method;   // which had none at first
    std::vector<std::string> known;
    for (const Library& library : libraries) {
        if (name == library.quant_method) return library.open(std::move(stored), *quantisation, folder);
        known.emplace_back(library.quant_method);
    }
    fail(Exit::bad_data,
         "{}: config.json: quantization_config.quant_method is \"{}\"; weights of that kind are not supported, only "
         "those of {}. Use the model they were made from",
         folder, name, join(known, " and "));
}

std::vector<std::string> formats_of_library(std::string_view quant_method) {
    std::vector<std::string> names;
    for (const WrittenFormat& one : formats)
        if (one.quant_method == quant_method) names.emplace_back(one.format);
    return names;
}

std::vector<TensorToWrite> quantised_tensors(const std::string& name, PackedMatrix& matrix) {
    return written(matrix.format()).tensors(name, matrix);
}

Node quantisation_config(const QuantizeOptions& options, DType dtype, const std::vector<std::string>& skipped) {
    return written(options.format).config(options, dtype, skipped);
}

}   // namespace trainer
