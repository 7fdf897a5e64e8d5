#include "trainer/output_folder.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "configs/error.h"
#include "hub/open_file.h"
#include "hub/output_file.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/store.h"
#include "trainer/receipt.h"
#include "trainer/stop.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

bool holds_run(const fs::path& folder) {
    return fs::exists(folder / "metrics.jsonl") || !list_checkpoints(folder).empty();
}

// A folder cannot be made where a link leads nowhere; the link is the user's and stays.
void refuse_dangling_links(fs::path path) {
    std::error_code error;
    for (; path.has_relative_path(); path = path.parent_path())
        if (fs::is_symlink(path, error) && !fs::exists(path, error))
            fail(Exit::cannot_create,
                 "output: {} is a link to {}, which is not there; make that folder or choose another", path.string(),
                 fs::read_symlink(path, error).string());
}

// Nothing but what a run that was killed at once may leave, and requests to one that is about to begin.
bool is_as_good_as_empty(const fs::path& folder) {
    const std::vector<std::string> names = names_in(folder);
    return std::all_of(names.begin(), names.end(), [](const std::string& name) {
        return is_leftover(name) || name == stop_file || name == save_file;
    });
}

}   // namespace

OutputFolder::OutputFolder(const std::string& path, Use use) : path_(path), use_(use) {
    std::error_code error;
    if (fs::exists(path_, error)) {
        prove(use);
        return;
    }
    require(!error, Exit::cannot_create, "output: {}: {}", path, error.message());
    refuse_dangling_links(path_);
    fs::path missing = fs::absolute(path_).lexically_normal();
    if (!missing.has_filename()) missing = missing.parent_path();   // "out/"
    while (!fs::exists(missing, error) && !error) {
        first_missing_ = missing;
        missing = missing.parent_path();
    }
    make();
    remove_made();
}

void OutputFolder::prove(Use use) {
    const std::string path = path_.string();
    require(fs::is_directory(path_), Exit::cannot_create, "output: {} is there already and is no folder", path);
    if (access(path_.c_str(), R_OK | W_OK | X_OK) != 0)
        fail(Exit::cannot_create, "output: {} cannot be written: {}", path, std::strerror(errno));
    if (use == Use::resume) {
        kept_ = !is_as_good_as_empty(path_);
        require(!kept_ || holds_run(path_), Exit::cannot_create,
                "output: {} holds no run to resume but other files; is it the right folder?", path);
        return;
    }
    require(!holds_run(path_), Exit::cannot_create,
            "output: {} already holds a run; go on with it with --resume, choose another folder or remove it", path);
    require(is_as_good_as_empty(path_), Exit::cannot_create, "output: {} is not empty; choose a new or an empty folder",
            path);
}

OutputFolder::~OutputFolder() {
    if (!opened_ || kept_) return;
    lock_.reset();
    remove_made();
}

void OutputFolder::open() {
    make();
    lock_ = std::make_unique<RunLock>(path_, new_run_id());
    prove(use_);   // another run may have come and gone since
    opened_ = true;
    sweep_leftovers(*lock_);
}

bool OutputFolder::finished() const { return fs::exists(path_ / receipt_name); }

void OutputFolder::make() {
    std::error_code error;
    fs::create_directories(path_, error);
    if (!error) return flush_made();
    remove_made();
    fail(Exit::cannot_create, "output: {} cannot be created: {}", path_.string(), error.message());
}

// No power cut takes the folder back, and with it what is flushed to disk inside.
void OutputFolder::flush_made() const {
    if (first_missing_.empty()) return;
    fs::path folder = fs::absolute(path_).lexically_normal();
    while (folder != first_missing_.parent_path()) {
        folder = folder.parent_path();
        sync_folder(folder);
    }
}

void OutputFolder::remove_made() const {
    std::error_code error;
    if (first_missing_.empty()) {
        for (const auto& entry : fs::directory_iterator(path_, error)) fs::remove_all(entry.path(), error);
        return;
    }
    fs::path folder = fs::absolute(path_).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    if (opened_)
        fs::remove_all(folder, error);
    else if (!fs::remove(folder, error))
        return;   // another run works in it by now
    while (folder != first_missing_) {
        folder = folder.parent_path();
        if (!fs::remove(folder, error)) return;   // another run lies in it by now
    }
}

void OutputFolder::write(const std::string& name, const std::string& text) const { write_file(path_ / name, text); }

}   // namespace trainer
