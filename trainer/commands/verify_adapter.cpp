#include <CLI/CLI.hpp>
#include <memory>

#include "configs/error.h"
#include "hub/adapter.h"
#include "trainer/commands/adapter_base.h"
#include "trainer/commands/ranges.h"
#include "trainer/commands/verify.h"
#include "trainer/interrupt.h"
#include "trainer/log.h"
#include "trainer/verify/child_run.h"
#include "trainer/verify/saved_adapter_check.h"

namespace trainer {

namespace {

struct AdapterArguments {
    std::string adapter;
    AdapterBase base;
    std::string prompts;
    std::string logits;
    bool json = false;
};

int verify_adapter(const AdapterArguments& arguments) {
    const InterruptGuard guard;
    const OpenedBase opened =
        open_adapter_base(arguments.base, arguments.adapter, AdapterFile(arguments.adapter).config());
    const TokenSequences prompts = held_out_prompts(arguments.prompts, *opened.model.tokenizer);
    if (!arguments.logits.empty()) {
        write_logits(arguments.logits, prompt_logits(opened.model, arguments.adapter, prompts));
        return 0;
    }
    for (const std::string& warning : opened.model.warnings) log_warning(warning);
    const auto reload = [&](const std::filesystem::path& file) {
        std::vector<std::string> words = {"verify", "adapter", arguments.adapter, "--logits", file.string()};
        for (const auto& [option, value] :
             {std::pair("--base", arguments.base.model), std::pair("--revision", arguments.base.revision),
              std::pair("--prompts", arguments.prompts)})
            if (!value.empty()) words.insert(words.end(), {option, value});
        if (arguments.base.other) words.emplace_back("--other-base");
        run_as_child(std::move(words));
    };
    return report_verdict("adapter", check_saved_adapter(opened.model, arguments.adapter, prompts, reload),
                          arguments.json);
}

}   // namespace

std::function<int()> define_verify_adapter(CLI::App& app) {
    const auto arguments = std::make_shared<AdapterArguments>();
    app.add_option("ADAPTER", arguments->adapter, "folder of a PEFT adapter")
        ->required()
        ->check(not_blank("the folder of an adapter"));
    arguments->base.declare(app);
    app.add_option("--prompts", arguments->prompts, "a file of prompts to ask, one a line")->check(not_blank("a file"));
    app.add_option("--logits", arguments->logits,
                   "only write the logits of the prompts there (safetensors): what the fresh process does")
        ->check(not_blank("a file"));
    app.add_flag("--json", arguments->json, "one JSON object");
    app.footer(
        "Exit codes: 0 the adapter is what it should be, 65 it does not fit the base or has no effect, 70 a fresh\n"
        "process reads it otherwise.");
    return [arguments] { return verify_adapter(*arguments); };
}

}   // namespace trainer
