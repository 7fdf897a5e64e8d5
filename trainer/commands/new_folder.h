#pragma once

#include <filesystem>
#include <optional>

#include "trainer/checkpoint/run_lock.h"

namespace trainer {

// The folder that --out names, made if it is not there, and locked; gone again with the object when it was made and is
// still empty.
class NewFolder {
public:
    // What a killed command left there is removed. Error(cannot_create) when something else is there that is not an
    // empty folder, when another program works in it, or when it cannot be made.
    explicit NewFolder(const std::filesystem::path& path);
    ~NewFolder();
    NewFolder(const NewFolder&) = delete;
    NewFolder& operator=(const NewFolder&) = delete;

private:
    void remove_made();

    std::filesystem::path path_;
    bool made_ = false;
    std::optional<RunLock> lock_;
};

}   // namespace trainer
