#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "autograd/quant/registry.h"
#include "configs/error.h"
#include "hub/bitsandbytes.h"
#include "hub/export.h"
#include "hub/load.h"
#include "models/registry.h"
#include "trainer/base_format.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/checkpoint/staged_folder.h"
#include "trainer/commands/command.h"
#include "trainer/commands/new_folder.h"
#include "trainer/commands/ranges.h"
#include "trainer/inputs.h"
#include "trainer/memory_plan.h"
#include "trainer/model_output.h"

namespace trainer {

namespace {

struct ExportArguments {
    ModelOptions model;
    std::string out;
    bool for_blocks = false;   // options of 4-bit formats are given
};

// The tensors of a model whose linear layers are compressed: those in parts, the others as they are, in `dtype`.
std::vector<TensorToWrite> tensors_of(const ParameterSet& parameters, const WeightSource& source, DType dtype) {
    std::vector<TensorToWrite> tensors;
    for (const auto& parameter : parameters.all()) {
        PackedMatrix* matrix = parameter->packed.get();
        if (auto* four_bit = dynamic_cast<FourBitMatrix*>(matrix)) {
            for (TensorToWrite& part : bitsandbytes_tensors(parameter->name, *four_bit))
                tensors.push_back(std::move(part));
        } else if (auto* int8 = dynamic_cast<Int8Matrix*>(matrix)) {
            for (TensorToWrite& part : bitsandbytes_tensors(parameter->name, *int8)) tensors.push_back(std::move(part));
        } else {
            TensorToWrite plain{parameter->name, file_dtype(dtype), parameter->shape.sizes(), {}, {}};
            plain.produce = [&source, name = plain.name, shape = plain.shape,
                             type = plain.dtype](const ByteSink& sink) {
                std::vector<float> values(static_cast<std::size_t>(element_count(shape)));
                source.read(name, DType::f32, values.data());
                tensor_from_f32(name, shape, values.data(), type).produce(sink);
            };
            tensors.push_back(std::move(plain));
        }
    }
    return tensors;
}

Node quantisation_config(const QuantizeOptions& options, DType dtype) {
    std::vector<std::string> skipped = options.skip;
    skipped.insert(skipped.begin(), "lm_head");
    if (options.format == "int8") return bitsandbytes_int8_config(skipped);
    const FourBitCode code = options.format == "fp4" ? FourBitCode::fp4 : FourBitCode::nf4;
    return bitsandbytes_config(four_bit_options(options, code), dtype, skipped);
}

int export_bitsandbytes(const ExportArguments& arguments) {
    const QuantizeOptions& quantize = arguments.model.quantize;
    require(quantize.has_blocks() || !arguments.for_blocks, Exit::usage,
            "--block-size and --no-double-quant: {} has no such choice; leave them out", quantize.format);
    const BaseModel base = open_base_model(arguments.model.base, arguments.model.revision, Node(), "tokenizer", "");
    const Snapshot& snapshot = base.snapshot;
    const auto model = make_causal_lm(snapshot.config);
    check_parameters(model->parameters(), *snapshot.weights, snapshot.base);
    choose_formats(model->declarations(), arguments.model, snapshot);
    const NewFolder folder(arguments.out);
    const DType dtype = base_dtype(arguments.model, snapshot);
    std::size_t bytes = 0;
    for (const auto& parameter : model->parameters().all()) {
        if (!parameter->packed) {
            bytes += static_cast<std::size_t>(parameter->shape.elements()) * size_of(dtype);
            continue;
        }
        parameter->packed->prepare(Place::cpu());
        load_parameter(*parameter, *snapshot.weights, snapshot.base);
        bytes += parameter->packed->bytes();
    }

    StagedFolder staged(arguments.out, "export", new_run_id());
    staged.reserve(bytes);
    ExportOptions options;
    options.dtype = file_dtype(dtype);
    options.quantization_config = quantisation_config(quantize, dtype);
    export_model(staged.path(), snapshot, tensors_of(model->parameters(), *snapshot.weights, dtype), options);
    staged.move_into_parent({"config.json"});
    std::printf("%s: %s, linear layers in %s\n", arguments.out.c_str(), bytes_text(bytes).c_str(),
                quantize.format.c_str());
    return 0;
}

std::function<int()> define_bitsandbytes(CLI::App& app) {
    const auto arguments = std::make_shared<ExportArguments>();
    arguments->model.quantize.format = "nf4";
    app.add_option("MODEL", arguments->model.base, "hub id, model folder or .gguf file")
        ->required()
        ->check(not_blank("a hub id, model folder or .gguf file"));
    app.add_option("--revision", arguments->model.revision, "branch, tag or commit of a hub id")->capture_default_str();
    app.add_option("--out", arguments->out, "a new folder for the model")->required()->check(not_blank("a folder"));
    QuantizeOptions& quantize = arguments->model.quantize;
    app.add_option("--type", quantize.format, "nf4, fp4 or int8")
        ->check(CLI::IsMember(quantisations().names()))
        ->capture_default_str();
    app.add_option("--block-size", quantize.block_size, "weights that share a scale (4 bits)")
        ->check(CLI::IsMember(quantisation_block_sizes()))
        ->capture_default_str();
    app.add_flag("!--no-double-quant", quantize.double_quant, "keep the scales in f32 (4 bits)");
    app.add_option("--skip", quantize.skip, "linear layers that are not compressed");
    return [arguments, &app] {
        arguments->for_blocks = app.count("--block-size") + app.count("--no-double-quant") > 0;
        return export_bitsandbytes(*arguments);
    };
}

}   // namespace

std::function<int()> define_export(CLI::App& app) {
    app.require_subcommand(1);
    CLI::App* sub =
        app.add_subcommand("bitsandbytes", "a model folder with weights in 4 or 8 bits, as transformers loads it");
    return define_bitsandbytes(*sub);
}

}   // namespace trainer
