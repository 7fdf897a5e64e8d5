#pragma once

#include <filesystem>

namespace trainer {

// A folder for the runs of one verification, `.trainer-verify-XXXXXX`, removed with all in it by the destructor. It
// lies in TMPDIR where that is set, else on the disk of the recipe's output.
class ScratchFolder {
public:
    // Error(cannot_create) naming the place.
    explicit ScratchFolder(const std::filesystem::path& output);
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

}   // namespace trainer
