#pragma once

// What the tests of the promises share: a tiny project, runs of the real program on it, and what must be equal
// afterwards to the last bit.
//
// TRAINER_KILLS and TRAINER_RANK_KILLS say how many kills there are (40 and 10 in CI, 200 and 100 in a campaign);
// TRAINER_CAMPAIGN=1 also tries every combination where CI tries some.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/support/tiny_model.h"
#include "tests/trainer/program.h"

namespace trainer::test {

using Words = std::vector<std::string>;

int kills(const char* variable, int in_ci);
bool campaign();

// The result of a run by part ("weights", "metrics", …): bytes that must not depend on interruptions, ranks or
// threads. Times, places and what is said of the ranks are left out.
using RunResult = std::map<std::string, std::string>;
void expect_same(const RunResult& found, const RunResult& expected);

class PromiseProject {
public:
    // 48 chats in 15 packs: steps of nine leaves, every second one of six; dropout 0.1; 6 steps unless `overrides` say
    // more.
    explicit PromiseProject(Words overrides = {});

    const std::filesystem::path& path() const { return folder_.path(); }
    std::filesystem::path operator/(const std::string& name) const { return path() / name; }

    // `trainer run recipe.yaml output=OUTPUT …`, with one thread unless the environment says more.
    Program start(const std::string& output, const Words& more = {}, const Words& environment = {}) const;
    ProgramResult run(const std::string& output, const Words& more = {}, const Words& environment = {}) const;
    // Of a run that has come to its end. An adapter has no name or is called tone.
    RunResult result(const std::string& output) const;
    // Runs to the end and gives the result.
    RunResult finish(const std::string& output, const Words& more = {}, const Words& environment = {}) const;

    // Processes that work in the project's folder.
    std::vector<pid_t> processes() const;
    pid_t process_of_rank(int rank) const;   // -1: there is none
    // Waits until all of them are gone; seconds it took, negative when some were there after ten.
    double wait_until_deserted() const;

private:
    ScratchFolder folder_;
    Words overrides_;
};

// The environment in which the run gets a signal, or finds a file made, when it has written the line of a step, or so
// many microseconds later.
Words signal_at(int step, int signal, int microseconds = 0);
Words file_at(int step, const std::filesystem::path& file);

// Text of the last line of standard error that begins with "error: ", without that.
std::string last_error(const ProgramResult& result);

// metrics.jsonl line by line without what depends on time and place.
std::vector<std::string> metrics_lines(const std::filesystem::path& run_folder);

}   // namespace trainer::test
