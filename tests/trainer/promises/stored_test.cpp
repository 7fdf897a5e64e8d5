// A base that is stored quantised trains as one that is quantised while it is loaded.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

// A safetensors file without its header, in which an adapter says what base it was made for.
std::string data_of(const std::string& file) {
    std::uint64_t header = 0;
    std::memcpy(&header, file.data(), sizeof header);
    return file.substr(sizeof header + header);
}

// What does not depend on where the base lies and how it is stored.
void expect_the_same_training(const RunResult& found, const RunResult& expected) {
    EXPECT_FALSE(data_of(found.at("weights")).empty());
    EXPECT_EQ(data_of(found.at("weights")), data_of(expected.at("weights")));
    EXPECT_EQ(found.at("metrics"), expected.at("metrics"));
}

TEST(Stored, TrainsAsItsFormatDoesAndIsResumed) {
    for (const std::string format : {"nf4", "int8"}) {
        const PromiseProject project;
        const RunResult expected = project.finish("one", {"model.quantize=" + format});
        const ProgramResult exported =
            run_program({"export", "bitsandbytes", "model", "--out", "compressed", "--type", format}, project.path());
        ASSERT_EQ(exported.code, 0) << exported.err;
        const Words stored = {"model.base=compressed", "model.quantize=stored"};
        expect_the_same_training(project.finish("two", stored), expected);
        const ProgramResult stopped = project.run("three", stored, signal_at(3, SIGTERM));
        ASSERT_EQ(stopped.code, 75) << stopped.err;
        expect_the_same_training(
            project.finish("three", {"model.base=compressed", "model.quantize=stored", "--resume"}), expected);
    }
}

}   // namespace
}   // namespace trainer::test
