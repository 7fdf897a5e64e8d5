#include "trainer/commands/new_folder.h"

#include "configs/error.h"

namespace trainer {

namespace fs = std::filesystem;

NewFolder::NewFolder(const fs::path& path) : path_(path) {
    std::error_code error;
    require(!fs::exists(path, error) || (fs::is_directory(path, error) && fs::is_empty(path, error)),
            Exit::cannot_create, "--out: {} is there already and is not an empty folder", path.string());
    made_ = fs::create_directories(path, error);
    require(!error, Exit::cannot_create, "--out: {} cannot be created: {}", path.string(), error.message());
}

NewFolder::~NewFolder() {
    std::error_code ignored;
    if (made_ && fs::is_empty(path_, ignored)) fs::remove(path_, ignored);
}

}   // namespace trainer
