#include "trainer/resume.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "comm/collective.h"
#include "comm/together.h"
#include "configs/json.h"
#include "configs/yaml.h"
#include "hub/sha256.h"
#include "trainer/identity.h"
#include "trainer/run_options.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds patience{30};   // with a file system that shows another host old data

std::optional<Checkpoint> newest(const fs::path& run_folder, const std::function<void(const std::string&)>& say) {
    NewestCheckpoint newest = find_newest_checkpoint(run_folder);
    for (const SkippedCheckpoint& skipped : newest.skipped) say(format("skipped {}: {}", skipped.name, skipped.reason));
    require(newest.found || newest.skipped.empty(), Exit::bad_checkpoint,
            "--resume: none of the {} checkpoints in {} can be used; repair one, or start again in another output",
            newest.skipped.size(), run_folder.string());
    return std::move(newest.found);
}

std::optional<Checkpoint> chosen(const fs::path& run_folder, const std::string& asked,
                                 const std::function<void(const std::string&)>& say) {
    std::error_code ignored;
    if (asked.empty() || fs::equivalent(asked, run_folder, ignored)) return newest(run_folder, say);
    require(fs::exists(asked, ignored), Exit::no_input, "--resume: there is no folder {}", asked);
    const fs::path folder = fs::weakly_canonical(asked, ignored);
    require(fs::equivalent(folder.parent_path(), run_folder, ignored) && checkpoint_step(folder.filename().string()),
            Exit::usage, "--resume: {} is neither the recipe's output {} nor a checkpoint in it; set output to its run",
            asked, run_folder.string());
    return verify_checkpoint(folder);
}

std::string manifest_digest(const fs::path& folder) {
    std::error_code ignored;
    const fs::path file = folder / manifest_name;
    return fs::exists(file, ignored) ? sha256_of_file(file) : "";
}

// The run's own recipe, or else that of its newest checkpoint where one can be read; empty where there is none.
Node recorded_recipe(const fs::path& run_folder) {
    std::error_code ignored;
    if (fs::exists(run_folder / "recipe.yaml", ignored)) return read_yaml(run_folder / "recipe.yaml");
    const std::vector<std::int64_t> steps = list_checkpoints(run_folder);
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
        try {
            Node recipe = read_yaml(run_folder / checkpoint_name(*step) / "recipe.yaml");
            if (recipe.is_map()) return recipe;
        } catch (const Error&) {   // damaged, which find_resume_point says
        }
    }
    return Node::map();
}

void wait_for(const fs::path& folder, const std::string& digest) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (manifest_digest(folder) != digest) {
        require(std::chrono::steady_clock::now() < end, Exit::bad_checkpoint,
                "{}: this host does not see the manifest that rank 0 sees; is the folder shared?", folder.string());
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
}

}   // namespace

const std::string& ResumePoint::digest(const std::string& name) const {
    const auto found = manifest.digests.find(name);
    require(found != manifest.digests.end(), Exit::bad_checkpoint, "{}: the manifest does not say \"{}\"",
            folder.string(), name);
    return found->second;
}

std::optional<ResumePoint> find_resume_point(Communicator& ranks, const fs::path& run_folder, const std::string& asked,
                                             const std::function<void(const std::string&)>& say) {
    std::optional<Checkpoint> found;
    together(ranks, [&] {
        if (ranks.rank() == 0) found = chosen(run_folder, asked, say);
    });
    const std::string folder = gather_texts(ranks, found ? found->folder.string() : "")[0];
    if (folder.empty()) return std::nullopt;
    const std::string digest = gather_texts(ranks, found ? manifest_digest(folder) : "")[0];
    ResumePoint point;
    together(ranks, [&] {
        wait_for(folder, digest);
        point.folder = folder;
        point.manifest = read_manifest(folder);
        point.state = read_fields<TrainingState>(read_json(point.folder / "training_state.json"), Exit::bad_checkpoint);
        point.history = read_json(point.folder / "trainer_state.json").at("log_history");
    });
    return point;
}

std::optional<std::int64_t> recorded_micro_batch(Communicator& ranks, const fs::path& run_folder) {
    std::int64_t rows = 0;
    together(ranks, [&] {
        if (ranks.rank() != 0) return;
        const Node recipe = recorded_recipe(run_folder);
        const Node* training = recipe.find("training");
        const Node* recorded = training ? training->find("micro_batch") : nullptr;
        if (recorded && recorded->is_integer()) rows = recorded->as_integer();
    });
    rows = sum(ranks, rows);
    return rows > 0 ? std::optional(rows) : std::nullopt;
}

std::string changes_text(const fs::path& recipe, const Inputs& inputs) {
    std::string text;
    for (const RecipeChange& change : changes_of_result(read_yaml(recipe), resolved(inputs.recipe)))
        text += format("\n  {}: {} before, {} now", change.key, change.before, change.now);
    return text;
}

void check_resumable(const ResumePoint& point, const Inputs& inputs, const std::map<std::string, std::string>& identity,
                     int ranks, bool numerics_may_change) {
    const std::string changes = changes_text(point.folder / "recipe.yaml", inputs);
    require(changes.empty(), Exit::incompatible_resume,
            "{}: the recipe would give another result:{}\ntake the changes back, or start a new run in another output",
            point.folder.string(), changes);
    const AdapterOptions* adapter = inputs.recipe.peft ? &inputs.recipe.peft->adapter : nullptr;
    const bool others = adapter && (adapter->continue_from || !adapter->beside.folders.empty());
    for (const auto& [name, what] :
         {std::pair("data", "the rows of the data, as tokens,"),
          std::pair("base", others ? "the files of the base model or of an adapter (peft.continue_from, peft.beside)"
                                   : "the base model's files")}) {
        const std::string& before = point.digest(name);
        require(before == identity.at(name), Exit::incompatible_resume,
                "{}: {} are not those the run began with (SHA-256 {} before, {} now)", point.folder.string(), what,
                before, identity.at(name));
    }
    const bool strict = determinism(inputs.recipe) == Determinism::strict;
    require(
        numerics_may_change || strict || point.manifest.world_size == ranks, Exit::incompatible_resume,
        "{}: written by {} ranks, now there are {}; with training.determinism: {} the result would have other bits. "
        "Use as many, or allow it with --allow-numerics-change",
        point.folder.string(), point.manifest.world_size, ranks, enum_name(determinism(inputs.recipe)));
    const std::string& numerics = point.digest("numerics");
    require(numerics_may_change || numerics == identity.at("numerics"), Exit::incompatible_resume,
            "{}: computed with {}, here it would be {}; the result would have other bits. Go on there, or allow it "
            "with --allow-numerics-change",
            point.folder.string(), numerics, identity.at("numerics"));
}

}   // namespace trainer
