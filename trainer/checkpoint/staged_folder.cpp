#include "trainer/checkpoint/staged_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "configs/error.h"
#include "hub/open_file.h"
#include "hub/output_file.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/memory_plan.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

// The topmost folder on the same file system.
fs::path mount_point(const fs::path& folder) {
    std::error_code error;
    fs::path path = fs::canonical(folder, error);
    struct stat here {};
    if (error || ::stat(path.c_str(), &here) != 0) return folder;
    while (path.has_relative_path()) {
        struct stat above {};
        if (::stat(path.parent_path().c_str(), &above) != 0 || above.st_dev != here.st_dev) break;
        path = path.parent_path();
    }
    return path;
}

void sync_file(const fs::path& path) {
    OpenFile file(path, O_RDONLY);
    file.sync();
}

// Puts a folder in the place of one that has the name already, which is then found at the path returned.
fs::path exchange_folders(const fs::path& from, const fs::path& to, const std::string& run_id) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return from;
    require(errno == EINVAL || errno == ENOSYS, exit_of(errno), "{}: cannot be put in place: {}", to.string(),
            std::strerror(errno));
    const fs::path trash = to.parent_path() / (trash_prefix + to.filename().string() + "-" + run_id);
    remove_tree(trash);
    rename_path(to, trash);
    try {
        rename_path(from, to);
    } catch (const Error&) {
        rename_path(trash, to);
        throw;
    }
    return trash;
}

// The entries of a folder in the order in which they are moved.
std::vector<std::string> moving_order(const fs::path& folder, const std::vector<std::string>& last) {
    std::vector<std::string> names = files_under(folder);
    for (const std::string& name : last) {
        const auto found = std::find(names.begin(), names.end(), name);
        check(found != names.end(), "{}: has no {} to be moved last", folder.string(), name);
        std::rotate(found, found + 1, names.end());
    }
    return names;
}

}   // namespace

void require_free_space(const fs::path& folder, std::uint64_t bytes) {
    struct statvfs system {};
    if (::statvfs(folder.c_str(), &system) != 0)
        fail(exit_of(errno), "{}: free space cannot be asked for: {}", folder.string(), std::strerror(errno));
    const std::uint64_t free = static_cast<std::uint64_t>(system.f_bavail) * system.f_frsize;
    require(bytes <= free, Exit::io, "{}: needs {}, {} free on {}", folder.string(), bytes_text(bytes),
            bytes_text(free), mount_point(folder).string());
    require(system.f_files == 0 || system.f_favail > 0, Exit::io, "{}: the file system {} has no room for another file",
            folder.string(), mount_point(folder).string());
}

void list_files(const fs::path& folder, const std::string& later, Manifest& manifest) {
    for (const std::string& name : files_under(folder)) {
        if (name == later || manifest.files.contains(name)) continue;
        const fs::path file = folder / name;
        const auto size = regular_file_size(file);
        require(size.has_value(), Exit::io, "{}: is not a regular file", file.string());
        manifest.files[name] = {*size, sha256_of_file(file), {}};
        sync_file(file);
    }
}

StagedFolder::StagedFolder(const fs::path& parent, const std::string& name, const std::string& run_id)
    : parent_(parent), path_(parent / (temporary_prefix + name + "-" + run_id)), name_(name), run_id_(run_id) {
    remove_tree(path_);
    make_folder(path_);
}

StagedFolder::~StagedFolder() {
    std::error_code error;   // what cannot be removed now is swept at the next start
    if (!done_) fs::remove_all(path_, error);
}

void StagedFolder::reserve(std::uint64_t bytes) const { require_free_space(path_, bytes); }

void StagedFolder::flush_folders() const {
    for (const std::string& folder : folders_under(path_)) sync_folder(path_ / folder);
}

void StagedFolder::check_sizes(const Manifest& manifest) const {
    for (const auto& [name, file] : manifest.files) {
        const std::string path = (path_ / name).string();
        const auto size = regular_file_size(path);
        require(size.has_value(), Exit::io, "{}: has disappeared", path);
        require(*size == file.size, Exit::io, "{}: has {} bytes, expected {}", path, *size, file.size);
    }
}

Manifest StagedFolder::commit(Manifest manifest) {
    list_files(path_, "", manifest);
    check_sizes(manifest);
    flush_folders();
    write_file(path_ / manifest_name, manifest_text(manifest));   // which flushes the folder too

    const fs::path target = parent_ / name_;
    fs::path replaced;
    if (is_real_folder(target))
        replaced = exchange_folders(path_, target, run_id_);
    else
        rename_path(path_, target);
    done_ = true;   // whatever happens from here on: the old one stays until the new one cannot be lost
    sync_folder(parent_);
    std::error_code error;   // what cannot be removed now is swept at the next start
    if (!replaced.empty()) fs::remove_all(replaced, error);
    return manifest;
}

void StagedFolder::move_into_parent(const std::vector<std::string>& last) {
    for (const std::string& name : files_under(path_)) sync_file(path_ / name);
    flush_folders();
    std::vector<fs::path> made;
    try {
        for (const std::string& name : folders_under(path_)) {
            std::error_code error;
            for (fs::path folder = name; !folder.empty(); folder = folder.parent_path())
                if (!fs::exists(parent_ / folder, error)) made.push_back(parent_ / folder);
            fs::create_directories(parent_ / name, error);
            if (error) fail(Exit::io, "{}: cannot be made: {}", (parent_ / name).string(), error.message());
        }
        for (const std::string& name : moving_order(path_, last)) {
            std::error_code error;
            const bool is_new = fs::symlink_status(parent_ / name, error).type() == fs::file_type::not_found;
            rename_path(path_ / name, parent_ / name);
            if (is_new) made.push_back(parent_ / name);
        }
        for (const std::string& name : folders_under(path_)) sync_folder(parent_ / name);
        sync_folder(parent_);
    } catch (const Error&) {
        std::error_code error;
        for (auto file = made.rbegin(); file != made.rend(); ++file) fs::remove_all(*file, error);
        throw;
    }
}

}   // namespace trainer
