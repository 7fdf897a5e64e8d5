#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/checkpoint/manifest.h"

namespace trainer {

// Names that only a run's own machinery uses. After a kill they may be left in a run's folder; `sweep_leftovers`
// (store.h) removes them.
inline constexpr const char* temporary_prefix = ".tmp-";
inline constexpr const char* trash_prefix = ".trash-";

// A folder that is filled under a temporary name, `.tmp-<name>-<run id>` beside its target, and then becomes visible
// whole or not at all. One process makes and commits it; others of the same run may write files into `path()` in
// between, which must be flushed and closed before the commit. Without commit the destructor removes everything.
//
// Errors: cannot_create when the folder cannot be made, io when the disk is full or fails (system when a limit such as
// that of open files is reached). After an error the attempt is over: destroy the object; the next attempt uses new
// files.
class StagedFolder {
public:
    // `parent` must exist. What an earlier attempt of the same name and run left is removed.
    StagedFolder(const std::filesystem::path& parent, const std::string& name, const std::string& run_id);
    ~StagedFolder();
    StagedFolder(const StagedFolder&) = delete;
    StagedFolder& operator=(const StagedFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

    // Error(io) naming need and free space unless the file system has room for that many bytes, before writing begins.
    // Nothing is set aside: files whose size is known are allocated by their writers.
    void reserve(std::uint64_t bytes) const;

    // Makes it the checkpoint `<parent>/<name>`. Files that the manifest lists (those that several processes wrote)
    // must have the listed size; all others are hashed, flushed and added. Then: manifest, flush of all folders,
    // rename, flush of the parent; when this returns, no power cut takes the checkpoint back. A folder that has the
    // name already is replaced in one step where the file system can. Returns the manifest as written.
    Manifest commit(Manifest manifest);

    // Moves its files into the parent one by one, those in `last` at the end in that order, the others before by
    // name; folders are made where they are missing; each rename replaces an older file. When a move fails, those that
    // replaced nothing are taken back. Returns after the parent is flushed. A kill in the middle leaves a part, so the
    // last of `last` should be the file that says that the others are there.
    void move_into_parent(const std::vector<std::string>& last);

private:
    void check_sizes(const Manifest& manifest) const;
    void flush_folders() const;   // but the topmost

    std::filesystem::path parent_;
    std::filesystem::path path_;
    std::string name_;
    std::string run_id_;
    bool done_ = false;
};

// Lists every file of a staged folder that the manifest does not list yet: its size and SHA-256; and flushes it to
// disk. `later` names one that its writers have not finished, or "". `commit` does the same; this is for doing it
// before, on another thread. Error(io).
void list_files(const std::filesystem::path& folder, const std::string& later, Manifest& manifest);

// Error(io) "…: needs 3.20 GiB, 1.10 GiB free on /x" unless the file system of `folder` has that many bytes and a file
// to spare.
void require_free_space(const std::filesystem::path& folder, std::uint64_t bytes);

}   // namespace trainer
