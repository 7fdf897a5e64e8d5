#include "trainer/output_folder.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "configs/error.h"
#include "hub/output_file.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

bool holds_run(const fs::path& folder) {
    for (const char* name : {"recipe.yaml", "metrics.jsonl", "adapter_model.safetensors", "model.safetensors"})
        if (fs::exists(folder / name)) return true;
    return false;
}

}   // namespace

OutputFolder::OutputFolder(const std::string& path) : path_(path) {
    std::error_code error;
    if (fs::exists(path_, error)) {
        require(fs::is_directory(path_), Exit::cannot_create, "output: {} is there already and is no folder", path);
        require(!holds_run(path_), Exit::cannot_create,
                "output: {} already holds a run; choose another folder or remove it", path);
        require(fs::is_empty(path_, error), Exit::cannot_create,
                "output: {} is not empty; choose a new or an empty folder", path);
        require(access(path_.c_str(), W_OK | X_OK) == 0, Exit::cannot_create, "output: {} cannot be written: {}", path,
                std::strerror(errno));
        return;
    }
    require(!error, Exit::cannot_create, "output: {}: {}", path, error.message());
    fs::path parent = fs::absolute(path_).lexically_normal();
    while (!parent.has_filename()) parent = parent.parent_path();
    while (!fs::exists(parent, error) && !error) {
        first_created_ = parent;
        parent = parent.parent_path();
    }
    fs::create_directories(path_, error);
    if (error) {
        const std::string reason = error.message();
        fs::remove_all(first_created_, error);
        fail(Exit::cannot_create, "output: {} cannot be created: {}", path, reason);
    }
}

OutputFolder::~OutputFolder() {
    if (kept_ || first_created_.empty()) return;
    std::error_code ignored;
    fs::remove_all(first_created_, ignored);
}

void OutputFolder::write(const std::string& name, const std::string& text) const { write_file(path_ / name, text); }

}   // namespace trainer
