#include "trainer/verify/scratch_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "configs/error.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

// "" when the user has not chosen a place.
fs::path chosen_place() {
    const char* chosen = std::getenv("TMPDIR");
    return chosen ? chosen : "";
}

fs::path place_beside(const fs::path& output) {
    std::error_code ignored;
    fs::path place = fs::absolute(output).lexically_normal().parent_path();
    while (!fs::is_directory(place, ignored) && place.has_relative_path()) place = place.parent_path();
    return place;
}

}   // namespace

ScratchFolder::ScratchFolder(const fs::path& output) {
    const fs::path chosen = chosen_place();
    const fs::path place = chosen.empty() ? place_beside(output) : chosen;
    std::string name = (place / ".trainer-verify-XXXXXX").string();
    const bool made = ::mkdtemp(name.data()) != nullptr;
    require(made, Exit::cannot_create,
            "{}{}: no folder for the runs of the verification can be made there: {}; set TMPDIR to a folder that can "
            "be written to",
            chosen.empty() ? "" : "TMPDIR: ", place.string(), std::strerror(errno));
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

}   // namespace trainer
