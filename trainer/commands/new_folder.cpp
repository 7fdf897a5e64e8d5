#include "trainer/commands/new_folder.h"

#include <algorithm>

#include "configs/error.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/store.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

void refuse_used(const fs::path& path) {
    std::error_code error;
    bool free = !fs::exists(path, error);
    if (!free && fs::is_directory(path, error)) {
        const std::vector<std::string> names = names_in(path);
        free = std::all_of(names.begin(), names.end(), is_leftover);
    }
    require(free, Exit::cannot_create, "--out: {} is there already and is not an empty folder", path.string());
}

}   // namespace

NewFolder::NewFolder(const fs::path& path) : path_(path) {
    refuse_used(path);
    std::error_code error;
    made_ = fs::create_directories(path, error);
    require(!error, Exit::cannot_create, "--out: {} cannot be created: {}", path.string(), error.message());
    try {
        lock_.emplace(path, new_run_id(), "--out");
        refuse_used(path);   // another program may have come and gone since
        sweep_leftovers(*lock_);
    } catch (const Error&) {
        remove_made();
        throw;
    }
}

NewFolder::~NewFolder() { remove_made(); }

void NewFolder::remove_made() {
    lock_.reset();
    std::error_code ignored;
    if (made_ && fs::is_empty(path_, ignored)) fs::remove(path_, ignored);
}

}   // namespace trainer
