#pragma once

#include <filesystem>
#include <string>

namespace trainer {

// The folder of a run. Constructing it checks that a run can be written there; when nothing came of the run before
// `keep`, the destructor removes what the constructor made.
class OutputFolder {
public:
    // Error(cannot_create) when the folder holds a run or other files, is no folder, or cannot be written.
    explicit OutputFolder(const std::string& path);
    ~OutputFolder();
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }
    void keep() { kept_ = true; }
    // Writes a whole file: under a temporary name, flushed to disk, then renamed.
    void write(const std::string& name, const std::string& text) const;

private:
    std::filesystem::path path_;
    std::filesystem::path first_created_;   // topmost folder that was not there before
    bool kept_ = false;
};

}   // namespace trainer
