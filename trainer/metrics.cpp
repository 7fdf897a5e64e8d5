#include "trainer/metrics.h"

#include <fcntl.h>

#include <span>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/output_file.h"

namespace trainer {

Metrics::Metrics(const std::filesystem::path& file) {
    if (!file.empty()) file_ = OpenFile(file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
}

Metrics::Metrics(const std::filesystem::path& file, const std::string& text, Node history)
    : history_(std::move(history)) {
    if (file.empty()) return;
    write_file(file, text);
    file_ = OpenFile(file, O_WRONLY | O_APPEND);
}

void Metrics::flush() {
    if (file_.is_open()) file_.sync();
}

void Metrics::write(const Node& line) {
    if (!file_.is_open()) return;
    JsonStyle style;
    style.null_for_nonfinite = true;
    const std::string text = to_json(line, style) + "\n";
    file_.write(std::as_bytes(std::span(text)));
}

void Metrics::step(const Step& step) {
    const Sums& sums = step.result.sums;
    const double count = sums.count > 0 ? static_cast<double>(sums.count) : 1;
    Node line = Node::map();
    line.set("step", step.step);
    line.set("epoch", step.epoch);
    line.set("loss", sums.mean_loss());
    line.set("grad_norm", step.result.gradient_norm);
    line.set("learning_rate", step.learning_rate);
    line.set("num_input_tokens_seen", step.input_tokens_seen);
    Node entry = line;
    line.set("mean_token_accuracy", sums.correct / count);
    line.set("entropy", sums.entropy / count);
    line.set("trained_tokens", sums.count);
    if (step.loss_scale) line.set("loss_scale", *step.loss_scale);
    if (!step.result.applied) line.set("skipped", true);
    line.set("tokens_per_second", static_cast<double>(sums.input_tokens) / step.seconds);
    line.set("step_seconds", step.seconds);
    Node memory = Node::map();
    for (std::size_t i = 0; i < purpose_count; ++i)
        memory.set(name_of(static_cast<Purpose>(i)), static_cast<std::int64_t>(step.memory.peak_bytes[i]));
    line.set("memory", std::move(memory));
    line.set("ranks", step.ranks);
    line.set("local_tokens", step.result.local_tokens);
    write(line);
    history_.push_back(std::move(entry));
}

void Metrics::evaluation(const Evaluation& evaluation) {
    Node line = Node::map();
    line.set("step", evaluation.step);
    line.set("epoch", evaluation.epoch);
    for (const auto& [name, sums] : evaluation.sets) {
        const std::string prefix = name.empty() ? "eval_" : "eval_" + name + "_";
        const double count = sums.count > 0 ? static_cast<double>(sums.count) : 1;
        line.set(prefix + "loss", sums.mean_loss());
        line.set(prefix + "mean_token_accuracy", sums.correct / count);
        line.set(prefix + "entropy", sums.entropy / count);
    }
    line.set("eval_runtime", evaluation.seconds);
    write(line);
    history_.push_back(std::move(line));
}

}   // namespace trainer
