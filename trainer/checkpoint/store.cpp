#include "trainer/checkpoint/store.h"

#include <algorithm>
#include <charconv>
#include <exception>

#include "configs/error.h"
#include "hub/open_file.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/staged_folder.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view name_prefix = "checkpoint-";

// One digest to be taken: of a whole file or of one part.
struct Reading {
    const std::string* name;
    const ManifestFile* file;
    const ManifestPart* part;   // null: the whole
    std::uint64_t bytes;
    std::string error;            // "" when it agrees
    std::exception_ptr failure;   // of the process, not of the file
};

std::vector<Reading> readings_of(const Manifest& manifest) {
    std::vector<Reading> readings;
    for (const auto& [name, file] : manifest.files) {
        if (file.parts.empty()) readings.push_back({&name, &file, nullptr, file.size, "", nullptr});
        for (const ManifestPart& part : file.parts) {
            std::uint64_t bytes = 0;
            for (const ByteRange& range : part.ranges) bytes += range.end - range.begin;
            readings.push_back({&name, &file, &part, bytes, "", nullptr});
        }
    }
    return readings;
}

void read(const fs::path& folder, Reading& reading) {
    const fs::path path = folder / *reading.name;
    try {
        const std::string found =
            sha256_of_ranges(path, reading.part ? reading.part->ranges : std::vector{ByteRange{0, reading.file->size}});
        const std::string& expected = reading.part ? reading.part->sha256 : reading.file->sha256;
        if (found != expected)
            reading.error = format("{}: SHA-256 is {}, the manifest says {}", path.string(), found, expected);
    } catch (const Error& error) {
        reading.error = error.what();
    } catch (...) {   // no exception may leave the thread
        reading.failure = std::current_exception();
    }
}

// Every digest agrees. The largest first, so that the last thread to end has little to do.
void check_digests(const fs::path& folder, const Manifest& manifest) {
    std::vector<Reading> readings = readings_of(manifest);
    std::vector<Reading*> order;
    for (Reading& reading : readings) order.push_back(&reading);
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->bytes > b->bytes; });
#pragma omp parallel for schedule(dynamic)
    for (std::size_t i = 0; i < order.size(); ++i) read(folder, *order[i]);
    for (const Reading& reading : readings)
        if (reading.failure) std::rethrow_exception(reading.failure);
    for (const Reading& reading : readings) require(reading.error.empty(), Exit::bad_checkpoint, "{}", reading.error);
}

// Every listed file is there, a file of the folder itself, and has its size.
void check_sizes(const fs::path& folder, const Manifest& manifest) {
    for (const auto& [name, file] : manifest.files) {
        const fs::path path = folder / name;
        for (fs::path above = fs::path(name).parent_path(); !above.empty(); above = above.parent_path())
            require(is_real_folder(folder / above), Exit::bad_checkpoint, "{}: is missing or not a folder",
                    (folder / above).string());
        std::error_code error;
        const auto type = fs::symlink_status(path, error).type();
        require(type != fs::file_type::not_found, Exit::bad_checkpoint, "{}: is missing", path.string());
        const auto size = regular_file_size(path);
        require(size.has_value(), Exit::bad_checkpoint, "{}: is {}", path.string(),
                type == fs::file_type::symlink ? "a symbolic link" : "not a regular file");
        require(*size == file.size, Exit::bad_checkpoint, "{}: has {} bytes, the manifest says {}", path.string(),
                *size, file.size);
    }
}

// What no digest covers must not be taken for weights.
void check_extra_files(const fs::path& folder, const Manifest& manifest) {
    for (const std::string& name : files_under(folder)) {
        if (name == manifest_name || manifest.files.contains(name)) continue;
        require(!name.ends_with(".safetensors") && !name.ends_with(".safetensors.index.json"), Exit::bad_checkpoint,
                "{}: is not listed in {}", (folder / name).string(), manifest_name);
    }
}

// All but the digests of the files.
Checkpoint check_shape(const fs::path& folder) {
    require(is_real_folder(folder), Exit::bad_checkpoint, "{}: is not a folder", folder.string());
    Checkpoint checkpoint{folder, read_manifest(folder)};
    const Manifest& manifest = checkpoint.manifest;
    const auto step = checkpoint_step(folder.filename().string());
    require(!step || *step == manifest.step, Exit::bad_checkpoint, "{}: its manifest is of step {}", folder.string(),
            manifest.step);
    check_sizes(folder, manifest);
    check_extra_files(folder, manifest);
    return checkpoint;
}

bool has_good_shape(const fs::path& folder) {
    try {
        check_shape(folder);
        return true;
    } catch (const Error&) {
        return false;
    }
}

}   // namespace

std::string checkpoint_name(std::int64_t step) { return std::string(name_prefix) + std::to_string(step); }

std::optional<std::int64_t> checkpoint_step(const std::string& name) {
    if (!name.starts_with(name_prefix)) return {};
    std::int64_t step = 0;
    std::from_chars(name.data() + name_prefix.size(), name.data() + name.size(), step);
    if (step < 0 || name != checkpoint_name(step)) return {};   // other spellings, such as 007
    return step;
}

std::vector<std::int64_t> list_checkpoints(const fs::path& run_folder) {
    std::vector<std::int64_t> steps;
    std::error_code error;
    if (!fs::exists(run_folder, error) && !error) return steps;
    for (const std::string& name : names_in(run_folder))
        if (const auto step = checkpoint_step(name)) steps.push_back(*step);
    std::sort(steps.begin(), steps.end());
    return steps;
}

void refuse_blocked_names(const fs::path& run_folder, std::int64_t step) {
    for (const std::int64_t later : list_checkpoints(run_folder)) {
        const fs::path path = run_folder / checkpoint_name(later);
        require(later <= step || is_real_folder(path), Exit::cannot_create,
                "{}: is {}, so checkpoint {} could not be put there; remove it, or move the folder itself here",
                path.string(), fs::is_symlink(path) ? "a symbolic link" : "not a folder", later);
    }
}

Checkpoint verify_checkpoint(const fs::path& folder) {
    Checkpoint checkpoint = check_shape(folder);
    check_digests(folder, checkpoint.manifest);
    return checkpoint;
}

NewestCheckpoint find_newest_checkpoint(const fs::path& run_folder) {
    while (true) {
        NewestCheckpoint newest;
        bool removed_meanwhile = false;
        const std::vector<std::int64_t> steps = list_checkpoints(run_folder);
        for (auto step = steps.rbegin(); step != steps.rend() && !newest.found; ++step) {
            const fs::path folder = run_folder / checkpoint_name(*step);
            try {
                newest.found = verify_checkpoint(folder);
            } catch (const Error& error) {
                std::error_code ignored;
                const auto type = fs::symlink_status(folder, ignored).type();
                removed_meanwhile = removed_meanwhile || type == fs::file_type::not_found;
                newest.skipped.push_back({checkpoint_name(*step), error.what()});
            }
        }
        if (newest.found || !removed_meanwhile) return newest;
    }
}

void rotate_checkpoints(const RunLock& lock, std::int64_t committed, std::int64_t keep,
                        const std::set<std::int64_t>& keep_always) {
    check(keep >= 1, "rotate_checkpoints: keep is {}", keep);
    const fs::path& run_folder = lock.folder();
    std::vector<fs::path> trash;
    const auto drop = [&](std::int64_t step) {
        const std::string name = checkpoint_name(step);
        trash.push_back(run_folder / (trash_prefix + name));
        remove_tree(trash.back());
        rename_path(run_folder / name, trash.back());
    };
    std::vector<std::int64_t> good;
    for (const std::int64_t step : list_checkpoints(run_folder)) {
        if (step > committed && is_real_folder(run_folder / checkpoint_name(step)))
            drop(step);
        else if (has_good_shape(run_folder / checkpoint_name(step)))
            good.push_back(step);
    }
    for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < good.size(); ++i)
        if (!keep_always.contains(good[i])) drop(good[i]);
    if (trash.empty()) return;
    sync_folder(run_folder);
    for (const fs::path& folder : trash) remove_tree(folder);
}

bool is_leftover(const std::string& name) {
    return name == RunLock::file_name || name.starts_with(temporary_prefix) || name.starts_with(trash_prefix);
}

void sweep_leftovers(const RunLock& lock) {
    for (const std::string& name : names_in(lock.folder()))
        if (is_leftover(name) && name != RunLock::file_name) remove_tree(lock.folder() / name);
}

}   // namespace trainer
