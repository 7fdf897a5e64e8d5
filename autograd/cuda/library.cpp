#include "autograd/cuda/library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "configs/error.h"

namespace trainer::cuda {

namespace {

// Where the toolkit and Python's packages of it have their libraries.
std::vector<std::string> folders() {
    std::vector<std::string> out;
    for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
        if (const char* home = std::getenv(variable)) out.push_back(std::string(home) + "/lib64");
    out.emplace_back("/usr/local/cuda/lib64");
    out.emplace_back("/usr/local/cuda/targets/x86_64-linux/lib");
    return out;
}

}   // namespace

Library::Library(const std::string& file, const std::string& package)
    : file_(file), handle_(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    for (const std::string& folder : folders()) {
        if (handle_) return;
        handle_ = ::dlopen((folder + "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    if (handle_) return;
    fail(Exit::system,
         "{} was not found by the system's loader, nor in the CUDA toolkit ($CUDA_HOME, /usr/local/cuda); install the "
         "toolkit, or `pip install {}` and put the folder of its lib into LD_LIBRARY_PATH",
         file, package);
}

void* Library::symbol(const char* name) const {
    void* const found = ::dlsym(handle_, name);
    require(found != nullptr, Exit::system, "{} has no {}: it is too old for this program", file_, name);
    return found;
}

}   // namespace trainer::cuda
