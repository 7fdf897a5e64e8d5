#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

#include "configs/error.h"
#include "hub/adapter.h"
#include "hub/card.h"
#include "hub/export.h"
#include "hub/output_file.h"
#include "peft/combined_adapter.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/checkpoint/staged_folder.h"
#include "trainer/commands/command.h"
#include "trainer/commands/new_folder.h"
#include "trainer/commands/ranges.h"
#include "trainer/log.h"
#include "trainer/version.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

struct CombineArguments {
    std::vector<std::string> adapters;
    std::string how = "cat";
    CombineOptions options;
    std::string out;
    bool other_base = false;   // --other-base: although they were made for several
    std::string given;         // an option that the way of combining may not know
};

std::vector<std::string> ways() {
    std::vector<std::string> names;
    for (const auto& [name, way] : EnumTable<Combination>::names) names.emplace_back(name);
    return names;
}

std::string card(const CombineArguments& arguments) {
    ModelCard card;
    card.title = fs::absolute(arguments.out).lexically_normal().filename().string();
    card.description = format("Combined ({}) from", arguments.how);
    for (std::size_t i = 0; i < arguments.adapters.size(); ++i)
        card.description += format("{} {} times {}", i == 0 ? "" : ",",
                                   fs::absolute(arguments.adapters[i]).lexically_normal().filename().string(),
                                   arguments.options.weights[i]);
    card.description += ".";
    card.versions = {{"trainer", version_text}};
    return card_text(card);
}

// Warns of names of bases that are not `name`, which is what the first adapter calls its own.
void warn_of_names(const std::vector<fs::path>& folders, const std::string& name) {
    for (const fs::path& folder : folders)
        if (const std::string other = AdapterFile(folder).config().base_model; other != name)
            log_warning(
                format("{} names the base {}, {} names {}", folder.string(), other, folders.front().string(), name));
}

// The weights that all were made for; nothing when one does not say it, or they were made for several, of which it
// warns. Error(bad_data) when that is certain and not `allowed`.
std::optional<WeightsDigest> common_base(const std::vector<fs::path>& folders, bool allowed) {
    std::optional<WeightsDigest> base;
    fs::path first;   // that says it
    bool common = true;
    for (const fs::path& folder : folders) {
        const std::optional<WeightsDigest> own = AdapterFile(folder).base();
        if (own && !base) {
            base = own;
            first = folder;
        }
        const SameWeights same = compare(own, base);
        common = common && same == SameWeights::yes;
        if (same == SameWeights::other_values) {
            const std::string what = format("{} was trained on other weights than {}", folder.string(), first.string());
            require(allowed, Exit::bad_data,
                    "{}; combine adapters of one base, or combine them all the same with --other-base", what);
            log_warning(what);
        }
        if (same == SameWeights::other_layout)
            log_warning(
                format("{} was trained on weights of another format than {}; whether both are of one model "
                       "cannot be told",
                       folder.string(), first.string()));
    }
    return common ? base : std::nullopt;
}

int combine(CombineArguments arguments) {
    require(arguments.options.weights.size() == arguments.adapters.size(), Exit::usage,
            "--weights: expected {}, one for each adapter, found {}", arguments.adapters.size(),
            arguments.options.weights.size());
    for (const auto& [name, way] : EnumTable<Combination>::names)
        if (name == arguments.how) arguments.options.how = way;
    const Combination how = arguments.options.how;
    const bool is_random = how == Combination::dare_linear || how == Combination::dare_ties;
    const bool is_known = is_random || (arguments.given == "--density" && how == Combination::ties);
    require(arguments.given.empty() || is_known, Exit::usage, "{}: {} has no such choice; leave it out",
            arguments.given, arguments.how);
    const std::vector<fs::path> folders(arguments.adapters.begin(), arguments.adapters.end());
    const CombinedAdapter combined = combine_adapters(folders, arguments.options);
    warn_of_names(folders, combined.config.base_model);
    const std::optional<WeightsDigest> base = common_base(folders, arguments.other_base);
    const NewFolder folder(arguments.out);
    StagedFolder staged(arguments.out, "combine", new_run_id());
    write_adapter(staged.path(), combined.config, combined.tensors, base);
    for (const auto& [name, text] : tokenizer_texts(folders.front())) write_file(staged.path() / name, text);
    write_file(staged.path() / "README.md", card(arguments));
    staged.move_into_parent({"adapter_config.json"});
    std::printf("%s: %zu modules of rank %lld\n", arguments.out.c_str(), combined.config.targets.size(),
                static_cast<long long>(combined.config.rank));
    return 0;
}

}   // namespace

std::function<int()> define_combine(CLI::App& app) {
    const auto arguments = std::make_shared<CombineArguments>();
    app.add_option("ADAPTERS", arguments->adapters, "folders of LoRA adapters of one base")
        ->required()
        ->expected(1, -1);
    app.add_option("--weights", arguments->options.weights, "a number for each adapter, with commas between: 0.7,0.3")
        ->required()
        ->delimiter(',')
        ->check(number_in(-1e9, 1e9, "a number from -1e9 to 1e9"));
    app.add_option("--out", arguments->out, "a new folder for the adapter")->required()->check(not_blank("a folder"));
    app.add_option("--how", arguments->how, "cat, linear, ties, dare_linear or dare_ties")
        ->check(CLI::IsMember(ways()))
        ->capture_default_str();
    app.add_option("--density", arguments->options.density, "share of elements that ties and dare keep")
        ->check(number_in(1e-9, 1, "a number from 1e-9 to 1"))
        ->capture_default_str();
    app.add_option("--seed", arguments->options.seed, "of what dare keeps")
        ->check(count_from(0, std::numeric_limits<std::int64_t>::max()))
        ->capture_default_str();
    app.add_flag("--other-base", arguments->other_base, "combine adapters although they were made for several bases");
    app.footer(
        "cat is the exact weighted sum of what the adapters do, with the sum of their ranks. The others keep the "
        "rank:\n"
        "they combine A and B each for itself, as PEFT's add_weighted_adapter does.");
    return [arguments, &app] {
        for (const char* option : {"--density", "--seed"})
            if (app.count(option) > 0 && arguments->given.empty()) arguments->given = option;
        return combine(*arguments);
    };
}

}   // namespace trainer
