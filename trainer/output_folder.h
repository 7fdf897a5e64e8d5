#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "trainer/checkpoint/run_lock.h"

namespace trainer {

// The folder of a run. Constructing it proves that a run can be written there and leaves nothing; `open` makes it and
// takes its lock. When nothing came of a new run before `keep`, the destructor removes what was made and written.
class OutputFolder {
public:
    enum class Use { fresh, resume };

    // Error(cannot_create) when the folder is no folder or cannot be written; for a fresh run also when it holds a run
    // or other files, for one that is resumed when it holds other files but no run.
    explicit OutputFolder(const std::string& path, Use use = Use::fresh);
    ~OutputFolder();
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

    // Error(cannot_create) when another run works in the folder, naming it. What killed runs left is removed.
    void open();
    const RunLock* lock() const { return lock_.get(); }
    const std::filesystem::path& path() const { return path_; }
    bool finished() const;   // holds a run that has come to its end
    void keep() { kept_ = true; }
    // Writes a whole file: under a temporary name, flushed to disk, then renamed.
    void write(const std::string& name, const std::string& text) const;

private:
    void prove(Use use);
    void make();
    void flush_made() const;
    void remove_made() const;

    std::filesystem::path path_;
    std::filesystem::path first_missing_;   // topmost folder that is not there yet; empty: the run's own is
    std::unique_ptr<RunLock> lock_;
    Use use_;
    bool opened_ = false;
    bool kept_ = false;
};

}   // namespace trainer
