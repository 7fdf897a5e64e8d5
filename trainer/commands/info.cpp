#include <omp.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "autograd/cpu/isa.h"
#include "models/registry.h"
#include "trainer/commands/command.h"
#include "trainer/commands/ranges.h"
#include "trainer/inputs.h"
#include "trainer/log.h"
#include "trainer/memory_plan.h"
#include "trainer/version.h"

namespace trainer {

namespace {

int describe_machine() {
    std::printf("trainer %s\ninstruction set: %s\nthreads: %d\n", version_text, isa_name().c_str(),
                omp_get_max_threads());
    return 0;
}

int describe_model(const std::string& base) {
    const BaseModel model = open_base_model(base, "main", Node(), "tokenizer", "");
    const auto declared = make_causal_lm(model.snapshot.config);
    const CausalLmShape& shape = declared->shape();
    for (const std::string& warning : model.warnings) log_warning(warning);
    std::printf("%s\n", base.c_str());
    std::printf(
        "model_type: %s\nparameters: %lld\nlayers: %d\nhidden size: %lld\nheads: %d (%d for keys and values, %d "
        "wide)\n",
        model.snapshot.config.at("model_type").as_string().c_str(),
        static_cast<long long>(declared->parameters().elements(false)), shape.layers,
        static_cast<long long>(shape.hidden), shape.heads, shape.kv_heads, shape.head_dim);
    std::printf(
        "vocabulary: %lld (tokenizer: %d)\npositions: %lld\noutput layer: %s\nchat template: %s\nend of text: %s\n",
        static_cast<long long>(shape.vocabulary), model.tokenizer->vocab_size(),
        static_cast<long long>(shape.max_positions), shape.tied_head ? "tied to the embedding" : "its own",
        model.chat ? "yes" : "none",
        model.special.eos >= 0 ? model.tokenizer->token_of(model.special.eos).c_str() : "none");
    return 0;
}

}   // namespace

std::function<int()> define_info(CLI::App& app) {
    const auto model = std::make_shared<std::string>();
    app.add_option("MODEL", *model, "hub id, model folder or .gguf file; without it the machine is described")
        ->check(not_blank("a hub id, model folder or .gguf file"));
    return [model] { return model->empty() ? describe_machine() : describe_model(*model); };
}

}   // namespace trainer
