#include "trainer/commands/adapter_base.h"

#include <CLI/CLI.hpp>

#include "configs/error.h"
#include "trainer/adapter_base_check.h"
#include "trainer/commands/ranges.h"
#include "trainer/session.h"

namespace trainer {

void AdapterBase::declare(CLI::App& app) {
    app.add_option("--base", model, "hub id, model folder or .gguf file; default: what adapter_config.json names")
        ->check(not_blank("a hub id, model folder or .gguf file"));
    app.add_option("--revision", revision, "branch, tag or commit of a hub id")
        ->check(not_blank("a branch, tag or commit"));
    app.add_flag("--other-base", other, "use the adapter although it was made for other weights");
}

namespace {

// The end of text of the base without an adapter.
std::int64_t own_eos(const BaseModel& base) {
    std::vector<std::string> known;   // warnings
    return special_tokens(base.snapshot.tokenizer_config, base.snapshot.config, *base.tokenizer, "", known).eos;
}

}   // namespace

OpenedBase open_adapter_base(const AdapterBase& base, const std::string& folder, const AdapterConfig& config) {
    require(!base.model.empty() || !config.base_model.empty(), Exit::usage,
            "{}/adapter_config.json names no base model; give --base MODEL", folder);
    const std::string& name = base.model.empty() ? config.base_model : base.model;
    const std::string& revision = base.model.empty() && base.revision.empty() ? config.revision : base.revision;
    try {
        OpenedBase opened{open_base_model(name, revision, folder), std::nullopt};
        if (const std::int64_t eos = opened.model.special.eos; own_eos(opened.model) != eos)
            opened.own_end_of_text = eos;
        check_base_of(folder, opened.model, {base.other, "--other-base", base.original});
        return opened;
    } catch (const Error& error) {
        const bool missing = error.code() == Exit::no_input || error.code() == Exit::unavailable;
        if (!base.model.empty() || !missing) throw;
        fail(error.code(), "{}; {}/adapter_config.json names it, --base MODEL names another", error.what(), folder);
    }
}

}   // namespace trainer
