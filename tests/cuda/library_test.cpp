// Libraries that are opened at run time: where they are looked for, and what is said when one cannot be opened.
#include "autograd/cuda/library.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "configs/error.h"
#include "tests/support/tiny_model.h"

namespace trainer {
namespace {

namespace fs = std::filesystem;

// CUDA_HOME while it lives.
class Toolkit {
public:
    Toolkit() { ::setenv("CUDA_HOME", folder_.path().c_str(), 1); }
    ~Toolkit() { ::unsetenv("CUDA_HOME"); }
    Toolkit(const Toolkit&) = delete;
    Toolkit& operator=(const Toolkit&) = delete;

    void put(const std::string& file, const std::string& text) const {
        fs::create_directories((folder_ / file).parent_path());
        test::put_text(folder_ / file, text);
    }
    std::string refusal(const std::string& library) const {
        try {
            const cuda::Library opened(library, "nvidia-nothing");
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::system);
            return error.what();
        }
        return "opened";
    }

private:
    test::ScratchFolder folder_;
};

TEST(CudaLibrary, OneThatIsNowhereIsNamedWithItsPackage) {
    const std::string said = Toolkit().refusal("libnothing.so.7");
    EXPECT_NE(said.find("libnothing.so.7 could not be opened"), std::string::npos) << said;
    EXPECT_NE(said.find("pip install nvidia-nothing"), std::string::npos) << said;
    EXPECT_EQ(said.find("cannot open shared object file"), std::string::npos) << said;
}

TEST(CudaLibrary, WhatTheLoaderHasAgainstOneIsSaid) {
    for (const char* folder : {"lib64/", "lib/", "targets/x86_64-linux/lib/"}) {
        const Toolkit toolkit;
        toolkit.put(folder + std::string("libnothing.so.7"), "no library");
        const std::string said = toolkit.refusal("libnothing.so.7");
        EXPECT_NE(said.find(folder + std::string("libnothing.so.7: ")), std::string::npos) << said;
    }
}

TEST(CudaLibrary, ASymbolThatIsMissingIsNamed) {
    const cuda::Library library("libm.so.6", "nvidia-nothing");
    double (*found)(double) = nullptr;
    library.find(found, "cos");
    EXPECT_EQ(found(0), 1);
    EXPECT_THROW(library.find(found, "cos_of_a_later_version"), Error);
}

}   // namespace
}   // namespace trainer
