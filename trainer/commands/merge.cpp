#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "configs/error.h"
#include "hub/adapter.h"
#include "hub/card.h"
#include "hub/export.h"
#include "hub/load.h"
#include "hub/output_file.h"
#include "models/registry.h"
#include "peft/merged_model.h"
#include "trainer/base_format.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/checkpoint/staged_folder.h"
#include "trainer/commands/adapter_base.h"
#include "trainer/commands/command.h"
#include "trainer/commands/new_folder.h"
#include "trainer/commands/ranges.h"
#include "trainer/interrupt.h"
#include "trainer/log.h"
#include "trainer/memory_plan.h"
#include "trainer/model_output.h"
#include "trainer/verify/prompt_logits.h"
#include "trainer/version.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

struct MergeArguments {
    std::string adapter;
    std::string out;
    AdapterBase base;
    std::string original;   // --into-original
    bool dequantise = false;
    bool untie = false;
    std::string dtype;     // "": the base's
    double shard_gb = 5;   // 10^9 bytes
    bool verify = true;
    std::string prompts;
    double tolerance = -1;   // negative: by the dtype
};

// Beyond these a merged model is not the base with its adapter: several times what rounding does to SmolLM2-135M
// (3e-6 in f32, 1.3e-3 in f16, 1.2e-2 in bf16).
double tolerance_of(const MergeArguments& arguments, FileDType dtype) {
    if (arguments.tolerance >= 0) return arguments.tolerance;
    return dtype == FileDType::f32 ? 1e-4 : dtype == FileDType::f16 ? 1e-2 : 5e-2;
}

FileDType dtype_of(const MergeArguments& arguments, const Node& config) {
    if (arguments.dtype.empty()) return saved_dtype(config);
    return arguments.dtype == "f32" ? FileDType::f32 : arguments.dtype == "f16" ? FileDType::f16 : FileDType::bf16;
}

void check_choice(const MergeArguments& arguments, const ParameterSet& parameters, const Snapshot& snapshot) {
    const std::string format = stored_format(parameters, snapshot);
    if (!arguments.original.empty())
        require(format.empty(), Exit::usage,
                "--into-original: {} is itself stored in {}; name the model it was quantised from", snapshot.base,
                format);
    else if (!arguments.dequantise)
        require(format.empty(), Exit::usage,
                "{} is stored in {}, into which no adapter can be merged: give --dequantise to merge into its unpacked "
                "weights, with which the adapter was trained, or --into-original MODEL to merge into the model that it "
                "was quantised from",
                snapshot.base, format);
    else
        require(!format.empty(), Exit::usage, "--dequantise: {} is not stored in fewer bits; leave the option out",
                snapshot.base);
}

TensorToWrite made_when_written(const Parameter& parameter, const std::string& name, FileDType dtype,
                                std::function<Tensor()> make) {
    TensorToWrite tensor{name, dtype, parameter.shape.sizes(), {}, {}};
    tensor.produce = [name, dtype, shape = tensor.shape, make = std::move(make)](const ByteSink& sink) {
        require(!InterruptGuard::requested(), Exit::interrupted, "merge: interrupted");
        const Tensor values = make();
        tensor_from_f32(name, shape, values.data<float>(), dtype).produce(sink);
    };
    return tensor;
}

std::vector<TensorToWrite> tensors_of(const ParameterSet& parameters, const MergedModel& merged, bool untie,
                                      FileDType dtype) {
    std::vector<TensorToWrite> tensors;
    for (const auto& parameter : parameters.all())
        if (parameter->in_base)
            tensors.push_back(made_when_written(*parameter, parameter->name, dtype,
                                                [&merged, &one = *parameter] { return merged.merged(one); }));
    if (untie) {
        const Parameter& embedding = *parameters.find("model.embed_tokens.weight");
        tensors.push_back(made_when_written(embedding, std::string(head_name) + ".weight", dtype,
                                            [&merged, &embedding] { return merged.original(embedding); }));
    }
    return tensors;
}

std::string card(const MergeArguments& arguments, const Snapshot& base) {
    ModelCard card;
    card.title = fs::absolute(arguments.out).lexically_normal().filename().string();
    if (base.is_hub_id) card.base_model = base.base;
    card.adapter = false;
    card.description = format("{} with the adapter {} merged into it.", base.base,
                              fs::absolute(arguments.adapter).lexically_normal().filename().string());
    card.versions = {{"trainer", version_text}};
    return card_text(card);
}

// Adapter on base against what was written.
void verify(const MergeArguments& arguments, const BaseModel& base, const TokenSequences& prompts,
            const fs::path& folder, FileDType dtype) {
    const auto expected = prompt_logits(base, arguments.adapter, prompts);
    const BaseModel written = open_base_model(folder.string(), "", Node(), "tokenizer", "");
    const LogitGap gap = compare_logits(expected, prompt_logits(written, "", prompts));
    const double tolerance = tolerance_of(arguments, dtype);
    std::printf(
        "against base and adapter, %zu prompts, %lld positions: largest logit gap %.3g (%.3g of the logits' range), "
        "same likeliest token at %lld\n",
        prompts.size(), static_cast<long long>(gap.positions), gap.largest, gap.share,
        static_cast<long long>(gap.same_likeliest));
    std::fflush(stdout);
    require(gap.share <= tolerance, Exit::bad_checkpoint,
            "merge: a logit of the merged model differs from base and adapter by {} of the logits' range, more than "
            "{}; nothing was kept. --dtype f32 rounds less, --tolerance allows more",
            static_cast<float>(gap.share), tolerance);
}

int merge(const MergeArguments& arguments) {
    require(arguments.original.empty() || arguments.base.model.empty(), Exit::usage,
            "--base and --into-original exclude each other; the second is what is merged into");
    require(arguments.original.empty() || !arguments.dequantise, Exit::usage,
            "--dequantise and --into-original exclude each other");
    require(arguments.verify || (arguments.prompts.empty() && arguments.tolerance < 0), Exit::usage,
            "--no-verify leaves nothing to do for --prompts and --tolerance");
    static const InterruptGuard guard;   // to the end of the program: Ctrl-C behind the last file has no effect
    SavedAdapter adapter(arguments.adapter);
    AdapterBase named = arguments.base;
    if (!arguments.original.empty()) {
        named.model = arguments.original;
        named.original = true;
    }
    const OpenedBase opened = open_adapter_base(named, arguments.adapter, adapter.config());
    for (const std::string& warning : opened.model.warnings) log_warning(warning);
    const TokenSequences prompts = held_out_prompts(arguments.prompts, *opened.model.tokenizer);
    Snapshot base = opened.model.snapshot;

    const auto model = make_causal_lm(base.config);
    check_parameters(model->parameters(), *base.weights, base.base);
    check_choice(arguments, model->parameters(), base);
    adapter.attach(model->declarations());
    for (const std::string& note : adapter.notes()) log_warning(note);
    const MergedModel merged(model->declarations(), adapter, *base.weights);
    const bool untie = merged.needs_untying();
    require(!untie || arguments.untie, Exit::usage,
            "{} changes the embedding of {}, whose output layer is that embedding and stays as it was: give --untie to "
            "write an output layer of its own, which makes the model larger",
            arguments.adapter, base.base);
    if (untie) base.config.set("tie_word_embeddings", false);

    ExportOptions options;
    options.dtype = dtype_of(arguments, base.config);
    options.max_shard_bytes = static_cast<std::uint64_t>(arguments.shard_gb * 1e9);
    options.eos_token_id = opened.own_end_of_text;
    const auto tensors = tensors_of(model->parameters(), merged, untie, options.dtype);
    std::uint64_t bytes = 0;
    for (const TensorToWrite& tensor : tensors) bytes += tensor.byte_count();

    const NewFolder folder(arguments.out);
    StagedFolder staged(arguments.out, "merge", new_run_id());
    staged.reserve(bytes);
    export_model(staged.path(), base, tensors, options);
    for (const auto& [name, text] : tokenizer_texts(fs::path(arguments.adapter)))
        write_file(staged.path() / name, text);
    write_file(staged.path() / "README.md", card(arguments, base));
    if (arguments.verify) verify(arguments, opened.model, prompts, staged.path(), options.dtype);
    require(!InterruptGuard::requested(), Exit::interrupted, "merge: interrupted");
    staged.move_into_parent({"config.json"});
    std::printf("%s: %s in %s\n", arguments.out.c_str(), bytes_text(bytes).c_str(),
                std::string(name_of(options.dtype)).c_str());
    return 0;
}

}   // namespace

std::function<int()> define_merge(CLI::App& app) {
    const auto arguments = std::make_shared<MergeArguments>();
    app.add_option("ADAPTER", arguments->adapter, "folder of a PEFT adapter")
        ->required()
        ->check(not_blank("the folder of an adapter"));
    app.add_option("--out", arguments->out, "a new folder for the model")->required()->check(not_blank("a folder"));
    arguments->base.declare(app);
    app.add_flag("--dequantise", arguments->dequantise,
                 "of a base stored in fewer bits: merge into its unpacked weights");
    app.add_option("--into-original", arguments->original,
                   "of a base stored in fewer bits: merge into the model it was quantised from instead")
        ->check(not_blank("a hub id, model folder or .gguf file"));
    app.add_flag("--untie", arguments->untie, "write an output layer of its own when a tied embedding is changed");
    app.add_option("--dtype", arguments->dtype, "f32, bf16 or f16; default: as the base")
        ->check(CLI::IsMember({"f32", "bf16", "f16"}));
    app.add_option("--shard-size", arguments->shard_gb, "largest weight file in GB (10^9 bytes)")
        ->check(number_in(1e-6, 1e6, "a number from 1e-6 to 1e6"))
        ->capture_default_str();
    app.add_flag("!--no-verify", arguments->verify, "do not compare the merged model with base and adapter");
    app.add_option("--prompts", arguments->prompts, "a file of prompts to compare with, one a line")
        ->check(not_blank("a file"));
    app.add_option("--tolerance", arguments->tolerance,
                   "largest logit gap, as a share of the logits' range; default 1e-4 in f32, 1e-2 in f16, 5e-2 in bf16")
        ->check(number_in(0, 1e9, "a number from 0 to 1e9"));
    app.footer(
        "Every tensor is merged in f32 and rounded once. One matrix is in memory at a time; the comparison at the\n"
        "end holds the model in f32. A failure, Ctrl-C or a gap beyond --tolerance (exit code 84) keeps nothing.");
    return [arguments] { return merge(*arguments); };
}

}   // namespace trainer
