#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/memory.h"
#include "configs/node.h"
#include "hub/open_file.h"
#include "trainer/stepper.h"

namespace trainer {

// metrics.jsonl of a run folder (docs/recipe.md): one object a line, flushed line by line, and the same entries as
// the log history of trainer_state.json.
class Metrics {
public:
    // A new file; with an empty path only the history is kept (ranks but the first).
    explicit Metrics(const std::filesystem::path& file);
    // Goes on behind `text`, which becomes the file's content, and a history.
    Metrics(const std::filesystem::path& file, const std::string& text, Node history);

    struct Step {
        std::int64_t step;   // from 1
        double epoch;
        Stepper::Result result;
        double learning_rate;
        std::optional<double> loss_scale;
        std::int64_t input_tokens_seen;   // cumulative
        double seconds;
        MemoryUse memory;
        int ranks;
    };
    void step(const Step& step);

    struct Evaluation {
        std::int64_t step;   // 0: before the first
        double epoch;
        std::vector<std::pair<std::string, Sums>> sets;   // by name, "" for a single one
        double seconds;
    };
    void evaluation(const Evaluation& evaluation);

    void flush();                                      // to the disk
    const Node& history() const { return history_; }   // entries as transformers writes them

private:
    void write(const Node& line);

    OpenFile file_;
    Node history_ = Node::list();
};

}   // namespace trainer
