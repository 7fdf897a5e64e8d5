#pragma once

#include <filesystem>
#include <string>

namespace trainer {

// The folder of a run. Constructing it proves that a run can be written there and leaves nothing; `create` makes it.
// When nothing came of the run before `keep`, the destructor removes what was made and written.
class OutputFolder {
public:
    // Error(cannot_create) when the folder holds a run or other files, is no folder, or cannot be written.
    explicit OutputFolder(const std::string& path);
    ~OutputFolder();
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

    void create();
    const std::filesystem::path& path() const { return path_; }
    void keep() { kept_ = true; }
    // Writes a whole file: under a temporary name, flushed to disk, then renamed.
    void write(const std::string& name, const std::string& text) const;

private:
    void flush_made() const;
    void remove_made() const;

    std::filesystem::path path_;
    std::filesystem::path first_missing_;   // topmost folder that is not there yet; empty: the run's own is
    bool created_ = false;
    bool kept_ = false;
};

}   // namespace trainer
