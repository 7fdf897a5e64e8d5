#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace trainer {

// Which algorithm was the fastest for a matrix product, kept from run to run in the user's cache:
//     {"NVIDIA H200, driver 13000, cuBLASLt 13.1.0": {"8192x4096x4096 …": 3}}
// Runs may write at the same time: the file is always whole, and what one of them loses it will try again.
class GemmChoices {
public:
    // $XDG_CACHE_HOME/trainer/gemm_choices.json, else below ~/.cache; "" where there is neither.
    static std::filesystem::path usual_file();

    // Those of `machine`. What cannot be read is ignored; `problem` says what it was, in one sentence.
    GemmChoices(std::filesystem::path file, std::string machine);
    const std::map<std::string, int>& known() const { return known_; }
    const std::string& problem() const { return problem_; }

    // Adds one to what the file has now. The first failure is kept as the problem, and ends all trying. Whether this
    // was it.
    bool keep(const std::string& product, int choice);

private:
    std::filesystem::path file_;
    std::string machine_;
    std::map<std::string, int> known_;
    std::string problem_;
    bool writable_ = true;
};

}   // namespace trainer
