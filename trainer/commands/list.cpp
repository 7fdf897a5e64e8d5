#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "configs/error.h"
#include "data/formats/format.h"
#include "models/registry.h"
#include "optim/registry.h"
#include "peft/registry.h"
#include "trainer/commands/command.h"
#include "trainer/objectives/registry.h"
#include "trainer/recipe.h"

namespace trainer {

namespace {

struct Line {
    std::string name;
    std::string help;
};

template <typename Value>
std::vector<Line> lines_of(const Registry<Value>& registry) {
    std::vector<Line> lines;
    for (const auto& entry : registry.entries()) lines.push_back({std::string(entry.name), std::string(entry.help)});
    return lines;
}

template <typename Choice>
std::vector<Line> lines_of() {
    using Names = EnumTable<Choice>;
    std::vector<Line> lines;
    for (std::size_t i = 0; i < std::size(Names::names); ++i)
        lines.push_back({std::string(Names::names[i].first), std::string(Names::help[i])});
    return lines;
}

// Lines of at most 100 letters, two spaces in.
std::string wrapped(std::string_view text) {
    std::string out, line;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        if (line.size() + end > 98) {
            out += "  " + line + "\n";
            line.clear();
        }
        line += (line.empty() ? "" : " ") + std::string(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out + "  " + line + "\n";
}

template <typename Options>
std::string explained() {
    std::vector<FieldNote> notes;
    explain_fields<Options>(notes);
    return to_text(notes);
}

// The keys of every choice.
template <typename Options>
std::string explained_choices() {
    std::string text;
    for (const std::string& name : Options::choices()) {
        std::vector<FieldNote> notes = explain_choice<Options>(name);
        notes.erase(notes.begin());   // the name
        text += (text.empty() ? "" : "\n") + name + "\n" + to_text(notes);
    }
    return text;
}

// Each method, with the keys that not all read, and then all keys.
std::string explained_methods() {
    std::string text;
    for (const auto& entry : peft_methods().entries()) {
        const std::vector<std::string> keys(entry.value.keys.begin(), entry.value.keys.end());
        text += format("{}\n{}  Its keys: {}.\n\n", entry.name, wrapped(entry.value.explanation), join(keys));
    }
    return text + "Keys of the section `peft`:\n\n" + explained<AdapterOptions>();
}

struct Table {
    const char* name;
    std::vector<Line> (*lines)();
    std::string (*explain)();   // null: the lines say it all
};

const std::vector<Table>& tables() {
    static const std::vector<Table> all = {
        {"models", [] { return lines_of(causal_lms()); }, nullptr},
        {"methods", [] { return lines_of(peft_methods()); }, explained_methods},
        {"optimizers", [] { return lines_of(optimizers()); },
         [] { return explained_choices<OptimizerOptions>() + "\neach of groups\n" + explained<OptimizerGroup>(); }},
        {"schedules", lines_of<ScheduleKind>, explained_choices<ScheduleOptions>},
        {"formats", [] { return lines_of(data_formats()); }, nullptr},
        {"objectives", [] { return lines_of(objectives()); }, nullptr},
        {"recipe",
         [] {
             return std::vector<Line>{{"recipe", "all keys of a recipe; with --explain their defaults and meaning"}};
         },
         explain_recipe},
    };
    return all;
}

int list(const std::string& what, bool explain) {
    std::vector<std::string> names;
    for (const Table& table : tables()) {
        names.push_back(table.name);
        if (what != table.name) continue;
        for (const Line& line : table.lines()) std::printf("%-20s %s\n", line.name.c_str(), line.help.c_str());
        if (explain && table.explain) std::printf("\n%s", table.explain().c_str());
        return 0;
    }
    fail(Exit::usage, "list: there is nothing called \"{}\"; {}available: {}", what, did_you_mean(what, names),
         join(names));
}

}   // namespace

std::function<int()> define_list(CLI::App& app) {
    const auto what = std::make_shared<std::string>();
    const auto explain = std::make_shared<bool>(false);
    app.add_option("WHAT", *what, "models, methods, optimizers, schedules, formats, objectives or recipe")->required();
    app.add_flag("--explain", *explain, "keys with type, default and meaning");
    return [what, explain] { return list(*what, *explain); };
}

}   // namespace trainer
