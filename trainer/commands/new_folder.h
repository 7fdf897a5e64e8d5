#pragma once

#include <filesystem>

namespace trainer {

// The folder that --out names, made if it is not there; gone again with the object when it was made and is still empty.
class NewFolder {
public:
    // Error(cannot_create) when something is there that is not an empty folder, or it cannot be made.
    explicit NewFolder(const std::filesystem::path& path);
    ~NewFolder();
    NewFolder(const NewFolder&) = delete;
    NewFolder& operator=(const NewFolder&) = delete;

private:
    std::filesystem::path path_;
    bool made_ = false;
};

}   // namespace trainer
