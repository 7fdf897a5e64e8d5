#include "trainer/checkpoint/folder_files.h"

#include <sys/stat.h>

#include <algorithm>

#include "configs/error.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

// Does it again while the file system says that it was interrupted.
template <typename Work>
void repeated(const Work& work, std::error_code& error) {
    do {
        error.clear();
        work();
    } while (error == std::errc::interrupted);
}

std::vector<std::string> entries_under(const fs::path& folder, bool folders) {
    std::vector<std::string> names;
    std::error_code error;
    const auto list = [&] {
        names.clear();
        for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
            if (is_real_folder(entry->path()) == folders)
                names.push_back(entry->path().lexically_relative(folder).generic_string());
    };
    repeated(list, error);
    require(!error, Exit::io, "{}: cannot be listed: {}", folder.string(), error.message());
    std::sort(names.begin(), names.end());
    return names;
}

}   // namespace

std::vector<std::string> files_under(const fs::path& folder) { return entries_under(folder, false); }

std::vector<std::string> folders_under(const fs::path& folder) {
    std::vector<std::string> names = entries_under(folder, true);
    std::reverse(names.begin(), names.end());
    return names;
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    const auto list = [&] {
        names.clear();
        for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
            names.push_back(entry->path().filename().string());
    };
    repeated(list, error);
    require(!error, Exit::io, "{}: cannot be listed: {}", folder.string(), error.message());
    std::sort(names.begin(), names.end());
    return names;
}

std::optional<std::uint64_t> regular_file_size(const fs::path& path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
    return static_cast<std::uint64_t>(status.st_size);
}

bool is_real_folder(const fs::path& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

void remove_tree(const fs::path& path) {
    std::error_code error;
    repeated([&] { fs::remove_all(path, error); }, error);
    require(!error, Exit::io, "{}: cannot be removed: {}", path.string(), error.message());
}

}   // namespace trainer
