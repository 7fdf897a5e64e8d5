#include "trainer/verify/scratch_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "configs/error.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

fs::path place_for(const fs::path& output) {
    if (const char* chosen = std::getenv("TMPDIR"); chosen && *chosen) return chosen;
    std::error_code ignored;
    fs::path place = fs::absolute(output).lexically_normal().parent_path();
    while (!fs::is_directory(place, ignored) && place.has_relative_path()) place = place.parent_path();
    return place;
}

}   // namespace

ScratchFolder::ScratchFolder(const fs::path& output) {
    std::string name = (place_for(output) / ".trainer-verify-XXXXXX").string();
    require(::mkdtemp(name.data()) != nullptr, Exit::cannot_create,
            "{}: no folder for the runs of the verification can be made there: {}; set TMPDIR to another place",
            fs::path(name).parent_path().string(), std::strerror(errno));
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

}   // namespace trainer
