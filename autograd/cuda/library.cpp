#include "autograd/cuda/library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "configs/error.h"

namespace trainer::cuda {

namespace {

// Where the toolkit and Python's packages of it have their libraries.
std::vector<std::string> folders() {
    std::vector<std::string> toolkits, out;
    for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
        if (const char* home = std::getenv(variable); home && *home) toolkits.emplace_back(home);
    toolkits.emplace_back("/usr/local/cuda");
    for (const std::string& toolkit : toolkits)
        for (const char* inside : {"/lib64", "/targets/x86_64-linux/lib", "/lib"}) out.push_back(toolkit + inside);
    return out;
}

}   // namespace

Library::Library(const std::string& file, const std::string& package) : file_(file) {
    std::string refused;   // what the loader says of a file that is there
    const auto open = [&](const std::string& path) {
        if (handle_) return;
        handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        const char* const error = handle_ ? nullptr : ::dlerror();
        const std::string why = error ? error : "";
        if (!why.empty() && !why.starts_with(path + ": cannot open shared object file: No such file"))
            refused += "; " + why;
    };
    open(file);
    for (const std::string& folder : folders()) open(folder + "/" + file);
    require(handle_ != nullptr, Exit::system,
            "{} could not be opened by the system's loader, nor from the CUDA toolkit ($CUDA_HOME, /usr/local/cuda){}; "
            "`pip install {}` has it: put the folder of its lib into LD_LIBRARY_PATH",
            file, refused, package);
}

void* Library::symbol(const char* name) const {
    void* const found = ::dlsym(handle_, name);
    require(found != nullptr, Exit::system, "{} has no {}: it is too old for this program", file_, name);
    return found;
}

}   // namespace trainer::cuda
