#pragma once

// Runs of the tiny model inside the test's own process.

#include <filesystem>
#include <string>
#include <vector>

#include "configs/node.h"
#include "tests/support/tiny_model.h"
#include "trainer/trainer.h"

namespace trainer::test {

// What a run left behind.
struct FinishedRun {
    Trainer::Outcome outcome;
    std::size_t planned_bytes = 0;
    std::size_t planned_offloaded = 0;
    std::vector<Node> steps;         // lines of metrics.jsonl
    std::vector<Node> evaluations;   // the others
    std::string weights;             // bytes of the adapter or model file
};

// A folder with model/, train.jsonl (`rows` chats) and valid.jsonl.
class TinyProject {
public:
    explicit TinyProject(int rows = 16, const TinyShape& shape = {});
    // f32, rank 4, dropout 0.3, 6 steps of 4 rows by 2, no packing, unless `overrides` ("training.steps=3") say more.
    Inputs inputs(const std::vector<std::string>& overrides = {}, const std::string& output = "out") const;
    FinishedRun run(const std::vector<std::string>& overrides = {});
    const std::filesystem::path& path() const { return folder_.path(); }
    std::filesystem::path last_output() const { return path() / ("run" + std::to_string(runs_)); }

private:
    ScratchFolder folder_;
    int runs_ = 0;
};

// The same losses, gradient norms and weights, to the bit.
void expect_equal_bits(const FinishedRun& a, const FinishedRun& b);
// Losses and gradient norms within a relative bound.
void expect_close(const FinishedRun& a, const FinishedRun& b, double bound);

std::vector<Node> json_lines(const std::string& text);
std::vector<std::string> keys_of(const Node& map);

}   // namespace trainer::test
