#include "comm/mpi_module.h"

#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "configs/error.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

constexpr const char* file_name = "trainer_mpi.so";

fs::path module_path() {
    std::error_code error;
    const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
    const fs::path beside = folder / file_name;
    if (fs::exists(beside, error)) return beside;
    const fs::path installed = folder.parent_path() / "lib/trainer" / file_name;
    require(
        fs::exists(installed, error), Exit::system,
        "an MPI launcher started this process, but {} and {} do not exist: this program was built without MPI; build "
        "it with -DTRAINER_MPI=ON, or start the ranks with `--nproc`",
        beside.string(), installed.string());
    return installed;
}

}   // namespace

std::unique_ptr<Communicator> open_mpi() {
    const fs::path path = module_path();
    // Open MPI loads parts of itself that expect its symbols to be seen by all.
    void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    require(module != nullptr, Exit::system, "{} cannot be loaded: {}; is MPI installed on every host?", path.string(),
            module ? "" : ::dlerror());
    const auto entry = reinterpret_cast<MpiEntry>(::dlsym(module, mpi_entry));
    std::unique_ptr<Communicator> ranks(entry ? entry(mpi_interface) : nullptr);
    require(ranks != nullptr, Exit::system, "{} belongs to another version of this program", path.string());
    return ranks;
}

}   // namespace trainer
