#include "trainer/metrics.h"

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

Metrics::Metrics(const std::filesystem::path& file) : path_(file) {
    if (path_.empty()) return;
    out_.open(file, std::ios::binary);
    require(out_.is_open(), Exit::cannot_create, "{}: cannot be created", file.string());
}

Metrics::Metrics(const std::filesystem::path& file, std::uint64_t bytes, Node history)
    : path_(file), history_(std::move(history)) {
    if (path_.empty()) return;
    std::error_code error;
    if (std::filesystem::file_size(file, error) > bytes && !error) std::filesystem::resize_file(file, bytes, error);
    require(!error, Exit::io, "{}: cannot be cut at the checkpoint: {}", file.string(), error.message());
    out_.open(file, std::ios::binary | std::ios::app);
    require(out_.is_open(), Exit::io, "{}: cannot be written", file.string());
}

std::uint64_t Metrics::bytes() { return path_.empty() ? 0 : static_cast<std::uint64_t>(out_.tellp()); }

void Metrics::write(const Node& line) {
    if (path_.empty()) return;
    JsonStyle style;
    style.null_for_nonfinite = true;
    out_ << to_json(line, style) << '\n' << std::flush;
    require(out_.good(), Exit::io, "{}: writing failed; is the disk full?", path_.string());
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
