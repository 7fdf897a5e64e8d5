#include "trainer/verify/run_record.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/json.h"
#include "hub/sha256.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/state_file.h"
#include "trainer/checkpoint/store.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

constexpr const char* of_the_moment[] = {"tokens_per_second", "step_seconds", "memory", "ranks",
                                         "local_tokens",      "eval_runtime"};

std::vector<Node> metrics_of(const fs::path& file) {
    std::vector<Node> lines;
    std::istringstream text(read_text_file(file));
    for (std::string line; std::getline(text, line);) {
        lines.push_back(parse_json(line, file.string(), static_cast<int>(lines.size()) + 1));
        for (const char* key : of_the_moment) lines.back().erase(key);
    }
    return lines;
}

std::string digest_of_weight_files(const fs::path& run_folder) {
    Sha256 all;
    for (const std::string& name : names_in(run_folder))
        if (name.ends_with(".safetensors")) all.update(name + " " + sha256_of_file(run_folder / name) + "\n");
    return all.finish();
}

std::string value_text(const Node* value) { return value ? to_json(*value) : "nothing"; }

std::string difference_of(const Node& a, const Node& b) {
    for (const Node::Entry& entry : a.as_map())
        if (const Node* other = b.find(entry.key); !other || value_text(other) != value_text(&entry.value))
            return format("step {}: {} {} and {}", value_text(a.find("step")), entry.key, value_text(&entry.value),
                          value_text(other));
    return format("step {}: other keys", value_text(a.find("step")));
}

std::vector<Node> steps_of(const RunRecord& record) {
    std::vector<Node> steps;
    std::copy_if(record.lines.begin(), record.lines.end(), std::back_inserter(steps),
                 [](const Node& line) { return line.contains("grad_norm"); });
    return steps;
}

}   // namespace

RunRecord read_record(const std::string& name, const fs::path& run_folder) {
    const auto checkpoints = list_checkpoints(run_folder);
    check(!checkpoints.empty(), "{}: no checkpoint", run_folder.string());
    const fs::path last = run_folder / checkpoint_name(checkpoints.back());
    RunRecord record;
    record.name = name;
    record.weights = digest_of_weight_files(run_folder);
    record.optimizer_state = sha256_of_file(last / state_file_name);
    record.training_state = sha256_of_file(last / "training_state.json");
    record.lines = metrics_of(run_folder / "metrics.jsonl");
    Sha256 metrics;
    for (const Node& line : record.lines) metrics.update(to_json(line) + "\n");
    record.metrics = metrics.finish();
    return record;
}

std::vector<std::string> differing_parts(const RunRecord& a, const RunRecord& b) {
    std::vector<std::string> names;
    for (const auto& [name, part] : RunRecord::parts)
        if (a.*part != b.*part) names.emplace_back(name);
    return names;
}

std::string first_difference(const RunRecord& a, const RunRecord& b) {
    if (a.metrics == b.metrics) return "";
    for (std::size_t i = 0; i < std::min(a.lines.size(), b.lines.size()); ++i)
        if (to_json(a.lines[i]) != to_json(b.lines[i])) return difference_of(a.lines[i], b.lines[i]);
    return format("{} and {} lines of metrics", a.lines.size(), b.lines.size());
}

double largest_relative_difference(const RunRecord& a, const RunRecord& b, const std::string& key) {
    const std::vector<Node> expected = steps_of(a), found = steps_of(b);
    if (expected.size() != found.size()) return std::numeric_limits<double>::infinity();
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const Node& one = expected[i].at(key);
        const Node& other = found[i].at(key);
        if (!one.is_number() || !other.is_number()) return std::numeric_limits<double>::infinity();
        const double difference = std::abs(other.as_number() - one.as_number());
        if (difference > 0) largest = std::max(largest, difference / std::abs(one.as_number()));
    }
    return largest;
}

std::int64_t steps_logged(const fs::path& run_folder) {
    std::ifstream file(run_folder / "metrics.jsonl", std::ios::binary);
    std::int64_t steps = 0;
    for (std::string line; std::getline(file, line) && !file.eof();)
        if (line.find("\"grad_norm\"") != std::string::npos)
            steps = std::max(steps, parse_json(line, "metrics.jsonl").at("step").as_integer());
    return steps;
}

}   // namespace trainer
