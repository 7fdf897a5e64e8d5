#pragma once

#include <string>
#include <vector>

namespace trainer::cuda {

// A library of NVIDIA's that is opened at run time, so that the program starts where there is none.
class Library {
public:
    // Opens `file` ("libcublasLt.so.13"): where the system's loader finds it, else in the toolkit's folders.
    // Error(system) names the places, what the loader has against a file that is there, and `package`, which has it.
    Library(const std::string& file, const std::string& package);
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    // Error(system) when the library is too old to have the function.
    template <typename Function>
    void find(Function*& function, const char* name) const {
        function = reinterpret_cast<Function*>(symbol(name));
    }

private:
    void* symbol(const char* name) const;
    std::string file_;
    void* handle_ = nullptr;   // never closed: what it made may live as long as the program
};

}   // namespace trainer::cuda
