#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "autograd/quant/registry.h"
#include "configs/error.h"
#include "hub/export.h"
#include "hub/load.h"
#include "hub/quantised.h"
#include "models/registry.h"
#include "trainer/base_format.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/checkpoint/staged_folder.h"
#include "trainer/commands/command.h"
#include "trainer/commands/new_folder.h"
#include "trainer/commands/ranges.h"
#include "trainer/inputs.h"
#include "trainer/log.h"
#include "trainer/memory_plan.h"
#include "trainer/model_output.h"

namespace trainer {

namespace {

struct ExportArguments {
    ModelOptions model;
    std::string out;
    std::string given;   // an option that the format may not know
};

// The tensors of a model whose linear layers are compressed: those in parts, the others as they are, in `dtype`.
std::vector<TensorToWrite> tensors_of(const ParameterSet& parameters, const WeightSource& source, DType dtype) {
    std::vector<TensorToWrite> tensors;
    for (const auto& parameter : parameters.all()) {
        if (parameter->packed) {
            for (TensorToWrite& part : quantised_tensors(parameter->name, *parameter->packed))
                tensors.push_back(std::move(part));
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

// Readers of fp8 files want whole blocks.
void check_blocks(const ParameterSet& parameters) {
    for (const auto& parameter : parameters.all()) {
        const auto* matrix = dynamic_cast<const Fp8Matrix*>(parameter->packed.get());
        require(!matrix || matrix->is_even(), Exit::usage,
                "{}: {} is no whole number of blocks of {} x {}, which readers of fp8 files want; give a smaller "
                "--block-size, or --skip the layer",
                parameter->name, parameter->shape.text(), matrix ? matrix->block().rows : 0,
                matrix ? matrix->block().columns : 0);
    }
}

int export_quantised(const ExportArguments& arguments) {
    const QuantizeOptions& quantize = arguments.model.quantize;
    const bool is_known = arguments.given == "--no-double-quant" ? quantize.has_double_quant() : quantize.has_blocks();
    require(arguments.given.empty() || is_known, Exit::usage, "{}: {} has no such choice; leave it out",
            arguments.given, quantize.format);
    const BaseModel base = open_base_model(arguments.model.base, arguments.model.revision, Node(), "tokenizer", "");
    const Snapshot& snapshot = base.snapshot;
    const auto model = make_causal_lm(snapshot.config);
    check_parameters(model->parameters(), *snapshot.weights, snapshot.base);
    choose_formats(model->declarations(), arguments.model, snapshot, {Exit::usage, "--skip", "skip fewer layers"});
    check_blocks(model->parameters());
    if (const std::string twice = rounded_twice(model->parameters(), snapshot); !twice.empty())
        log_warning(twice + "; exported from the model that it was quantised from, less would be lost");
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
    std::vector<std::string> skipped = quantize.skip;
    skipped.insert(skipped.begin(), std::string(head_name));
    options.quantization_config = quantisation_config(quantize, dtype, skipped);
    export_model(staged.path(), snapshot, tensors_of(model->parameters(), *snapshot.weights, dtype), options);
    staged.move_into_parent({"config.json"});
    std::printf("%s: %s, linear layers in %s\n", arguments.out.c_str(), bytes_text(bytes).c_str(),
                quantize.format.c_str());
    return 0;
}

// The options that the forms share; the first of `formats` when there is no choice.
std::shared_ptr<ExportArguments> define_form(CLI::App& app, const std::vector<std::string>& formats) {
    auto arguments = std::make_shared<ExportArguments>();
    QuantizeOptions& quantize = arguments->model.quantize;
    quantize.format = formats.front();
    app.add_option("MODEL", arguments->model.base, "hub id, model folder or .gguf file")
        ->required()
        ->check(not_blank("a hub id, model folder or .gguf file"));
    app.add_option("--revision", arguments->model.revision, "branch, tag or commit of a hub id")->capture_default_str();
    app.add_option("--out", arguments->out, "a new folder for the model")->required()->check(not_blank("a folder"));
    app.add_option("--block-size", quantize.block_size,
                   "weights that share a scale (4 bits: 64), or the side of their square (fp8: 128)")
        ->check(CLI::IsMember(quantisation_block_sizes()));
    app.add_option("--skip", quantize.skip, "linear layers that are not compressed");
    return arguments;
}

std::function<int()> define_bitsandbytes(CLI::App& app) {
    const std::vector<std::string> formats = formats_of_library("bitsandbytes");
    const std::shared_ptr<ExportArguments> arguments = define_form(app, formats);
    QuantizeOptions& quantize = arguments->model.quantize;
    app.add_option("--type", quantize.format, join(formats))->check(CLI::IsMember(formats))->capture_default_str();
    app.add_flag("!--no-double-quant", quantize.double_quant, "keep the scales in f32 (4 bits)");
    return [arguments, &app] {
        for (const char* option : {"--block-size", "--no-double-quant"})
            if (app.count(option) > 0) arguments->given = option;
        return export_quantised(*arguments);
    };
}

std::function<int()> define_fp8(CLI::App& app) {
    const std::shared_ptr<ExportArguments> arguments = define_form(app, formats_of_library("fp8"));
    return [arguments] { return export_quantised(*arguments); };
}

constexpr Command forms[] = {
    {"bitsandbytes", "a model folder with weights in 4 or 8 bits, as transformers loads it", define_bitsandbytes},
    {"fp8", "a model folder with weights in 8-bit floating point, a scale a block, as transformers loads it",
     define_fp8},
};

}   // namespace

std::function<int()> define_export(CLI::App& app) { return define_subcommands(app, forms); }

}   // namespace trainer
