#include "tests/trainer/checkpoint/small_checkpoint.h"

#include "configs/file.h"
#include "hub/open_file.h"
#include "hub/output_file.h"
#include "hub/safetensors_ranges.h"
#include "trainer/checkpoint/staged_folder.h"
#include "trainer/checkpoint/store.h"

namespace trainer::test {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t elements = 12;
constexpr int writers = 3;
constexpr std::uint64_t part_bytes = 20;   // several to a writer

std::string config_text(std::int64_t step) { return "{\"step\": " + std::to_string(step) + "}\n"; }

std::vector<float> weights(std::int64_t step) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < elements; ++i) values.push_back(static_cast<float>(step * 100 + i));
    return values;
}

SafetensorsLayout layout() {
    return lay_out_safetensors("model.safetensors",
                               {{"w", FileDType::f32, {3, 4}}, {"step", FileDType::f32, {elements}}});
}

ManifestFile write_weights(const fs::path& path, std::int64_t step) {
    const SafetensorsLayout shape = layout();
    const std::vector<float> values = weights(step);
    create_shared_safetensors(path, shape);
    ManifestFile file;
    file.size = shape.file_size();
    for (int rank = 0; rank < writers; ++rank) {
        SafetensorsRangeWriter writer(path, shape, part_bytes);
        if (rank == 0) writer.write_head();
        const std::int64_t begin = elements * rank / writers;
        const auto part = std::span(values).subspan(static_cast<std::size_t>(begin), elements / writers);
        for (const char* tensor : {"w", "step"}) writer.write(tensor, begin, std::as_bytes(part));
        for (WrittenRanges& written : writer.finish())
            file.parts.push_back({std::move(written.ranges), std::move(written.sha256)});
    }
    return file;
}

bool holds_weights(const fs::path& path, std::int64_t step) {
    const SafetensorsRangeReader reader(path);
    for (const char* tensor : {"w", "step"}) {
        std::vector<float> found(elements);
        reader.read(tensor, 0, std::as_writable_bytes(std::span(found)));
        if (found != weights(step)) return false;
    }
    return true;
}

}   // namespace

Manifest fill_small_checkpoint(const fs::path& folder, std::int64_t step) {
    Manifest manifest;
    manifest.step = step;
    manifest.run_id = small_run_id;
    manifest.world_size = writers;
    manifest.trainer_version = "test";
    manifest.digests = {{"recipe", sha256_of("recipe")}};
    write_file(folder / "config.json", config_text(step));
    write_file(folder / "empty", "");
    make_folder(folder / "more");
    write_file(folder / "more/notes.txt", "notes");
    manifest.files["model.safetensors"] = write_weights(folder / "model.safetensors", step);
    return manifest;
}

void save_small_checkpoint(const fs::path& run_folder, std::int64_t step, const std::string& run_id) {
    StagedFolder staged(run_folder, checkpoint_name(step), run_id);
    staged.reserve(10'000);
    staged.commit(fill_small_checkpoint(staged.path(), step));
}

bool holds_small_checkpoint(const fs::path& folder, std::int64_t step) {
    return read_text_file(folder / "config.json") == config_text(step) && read_text_file(folder / "empty").empty() &&
           read_text_file(folder / "more/notes.txt") == "notes" && holds_weights(folder / "model.safetensors", step);
}

Error error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error;
    }
    return Error(Exit::done, "no error");
}

}   // namespace trainer::test
