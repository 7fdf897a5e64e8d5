#include "hub/quantised.h"

#include "autograd/quant/registry.h"
#include "configs/error.h"
#include "hub/bitsandbytes.h"
#include "hub/fine_grained_fp8.h"

namespace trainer {

std::unique_ptr<WeightSource> open_quantised_weights(std::unique_ptr<WeightSource> stored, const Node& config,
                                                     const std::string& folder) {
    const Node* quantisation = config.find("quantization_config");
    if (!quantisation || quantisation->is_null()) return stored;
    const Node* method = quantisation->is_map() ? quantisation->find("quant_method") : nullptr;
    const std::string name = method && method->is_string() ? method->as_string() : "";
    const bool before_methods = name.empty() && quantisation->is_map() && quantisation->find("load_in_4bit");
    if (name == "bitsandbytes" || before_methods) return open_bitsandbytes_weights(std::move(stored), folder);
    if (name == "fp8") return open_fp8_weights(std::move(stored), *quantisation, folder);
    fail(Exit::bad_data,
         "{}: config.json: quantization_config.quant_method is \"{}\"; weights of that kind are not supported, only "
         "those of bitsandbytes and fp8. Use the model they were made from",
         folder, name);
}

std::vector<TensorToWrite> quantised_tensors(const std::string& name, PackedMatrix& matrix) {
    if (auto* four_bit = dynamic_cast<FourBitMatrix*>(&matrix)) return bitsandbytes_tensors(name, *four_bit);
    if (auto* int8 = dynamic_cast<Int8Matrix*>(&matrix)) return bitsandbytes_tensors(name, *int8);
    if (auto* fp8 = dynamic_cast<Fp8Matrix*>(&matrix)) return fp8_tensors(name, *fp8);
    fail(Exit::internal, "{}: no library stores {}", name, matrix.format());
}

Node quantisation_config(const QuantizeOptions& options, DType dtype, const std::vector<std::string>& skipped) {
    if (options.format == "fp8") return fp8_config(fp8_block(options), skipped);
    if (options.format == "int8") return bitsandbytes_int8_config(skipped);
    const FourBitCode code = options.format == "fp4" ? FourBitCode::fp4 : FourBitCode::nf4;
    return bitsandbytes_config(four_bit_options(options, code), dtype, skipped);
}

}   // namespace trainer
