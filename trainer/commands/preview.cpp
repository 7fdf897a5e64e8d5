#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "autograd/ops/linear_cross_entropy.h"
#include "configs/json.h"
#include "trainer/commands/command.h"
#include "trainer/commands/ranges.h"
#include "trainer/commands/recipe_arguments.h"
#include "trainer/inputs.h"
#include "trainer/log.h"

namespace trainer {

namespace {

struct PreviewOptions {
    RecipeArguments recipe;
    std::int64_t rows = 0;
    bool json = false;
};

Node row_node(const PreviewRow& row, const std::vector<DataSource>& sources) {
    Node out = Node::map();
    out.set("source", sources[static_cast<std::size_t>(row.source)].path.string());
    out.set("row", row.row);
    if (!row.dropped.empty()) {
        out.set("dropped", row.dropped);
        return out;
    }
    out.set("text", row.encoded.text);
    Node ids = Node::list();
    Node labels = Node::list();
    for (std::size_t i = 0; i < row.encoded.ids.size(); ++i) {
        ids.push_back(row.encoded.ids[i]);
        labels.push_back(i > 0 && row.encoded.trained[i] ? row.encoded.ids[i] : ignored_target);
    }
    out.set("input_ids", std::move(ids));
    out.set("labels", std::move(labels));
    return out;
}

// Trained stretches in green on a terminal, in ⟦ ⟧ elsewhere.
std::string marked_text(const PreviewRow& row, const Tokenizer& tokenizer, bool colour) {
    std::string text;
    std::size_t i = 0;
    const EncodedRow& encoded = row.encoded;
    while (i < encoded.ids.size()) {
        const bool trained = i > 0 && encoded.trained[i];
        std::vector<std::int32_t> stretch;
        while (i < encoded.ids.size() && (i > 0 && encoded.trained[i]) == trained) stretch.push_back(encoded.ids[i++]);
        const std::string part = tokenizer.decode(stretch, false);
        if (!trained)
            text += part;
        else
            text += colour ? "\033[32m" + part + "\033[0m" : "⟦" + part + "⟧";
    }
    return text;
}

int preview_command(const PreviewOptions& options) {
    const Inputs inputs = open_inputs(load_recipe(options.recipe.path, options.recipe.overrides));
    for (const std::string& warning : warnings_of(inputs)) log_warning(warning);
    const std::vector<DataSource> sources = train_sources(inputs.recipe);
    const bool colour = isatty(STDOUT_FILENO) && std::getenv("NO_COLOR") == nullptr;
    const std::int64_t vocabulary = inputs.base.snapshot.config.at("vocab_size").as_integer();
    preview(sources, *inputs.encoder, vocabulary, options.rows, [&](const PreviewRow& row) {
        if (options.json) {
            std::printf("%s\n", to_json(row_node(row, sources)).c_str());
            return;
        }
        const std::string where = sources[static_cast<std::size_t>(row.source)].path.string();
        if (!row.dropped.empty()) {
            std::printf("── %s:%lld dropped: %s\n", where.c_str(), static_cast<long long>(row.row),
                        row.dropped.c_str());
            return;
        }
        std::int64_t trained = 0;
        for (std::size_t i = 1; i < row.encoded.trained.size(); ++i) trained += row.encoded.trained[i];
        std::printf("── %s:%lld, %zu tokens, %lld trained\n%s\n", where.c_str(), static_cast<long long>(row.row),
                    row.encoded.ids.size(), static_cast<long long>(trained),
                    marked_text(row, *inputs.base.tokenizer, colour).c_str());
    });
    return 0;
}

}   // namespace

std::function<int()> define_preview(CLI::App& app) {
    const auto options = std::make_shared<PreviewOptions>();
    options->recipe.declare(app);
    app.add_option("--rows", options->rows, "how many rows; without it 5 for people, all as JSON")
        ->check(count_from(1));
    app.add_flag("--json", options->json, "one JSON object a row");
    return [options] {
        if (options->rows == 0 && !options->json) options->rows = 5;
        return preview_command(*options);
    };
}

}   // namespace trainer
