#pragma once

#include <filesystem>
#include <string>

#include "hub/open_file.h"

namespace trainer {

// 16 random hexadecimal digits: tells a run's own temporary files and checkpoints from those of others.
std::string new_run_id();

// The right to write in a run's folder: flock(2) on its file `.lock`, so it ends with the process, however that ends.
// One process of a run takes it, before anything else is written there. The file is removed with the object.
//
// Errors: cannot_create naming the holder when another run has it, or when the file cannot be made or locked; io when
// it cannot be written.
class RunLock {
public:
    static constexpr const char* file_name = ".lock";

    // The folder must exist. `key` is what messages call it.
    RunLock(const std::filesystem::path& folder, const std::string& run_id, const std::string& key = "output");
    ~RunLock();
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;

    const std::filesystem::path& folder() const { return folder_; }

private:
    std::filesystem::path folder_;
    std::filesystem::path path_;
    OpenFile file_;
};

}   // namespace trainer
