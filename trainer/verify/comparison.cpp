#include "trainer/verify/comparison.h"

#include <algorithm>
#include <cstdio>

#include "configs/error.h"
#include "configs/json.h"
#include "trainer/log.h"

namespace trainer {

namespace {

constexpr std::size_t shown_digits = 12;

std::string shown(const std::string& digest) { return digest.substr(0, shown_digits); }

std::string verdict_word(const RunRecord& reference, const RunRecord& run) {
    return differing_parts(reference, run).empty() ? "yes" : "NO";
}

Node digests_of(const RunRecord& run) {
    Node node = Node::map();
    node.set("name", run.name);
    for (const auto& [name, part] : RunRecord::parts) {
        std::string key = name;
        std::replace(key.begin(), key.end(), ' ', '_');
        node.set(key, run.*part);
    }
    return node;
}

Node texts(const std::vector<std::string>& words) {
    Node list = Node::list();
    for (const std::string& word : words) list.push_back(word);
    return list;
}

}   // namespace

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows)
        for (std::size_t i = 0; i < row.size(); ++i) {
            if (widths.size() <= i) widths.push_back(0);
            widths[i] = std::max(widths[i], row[i].size());
        }
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
        }
        line.resize(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

bool BitComparison::equal() const {
    return std::all_of(runs_.begin(), runs_.end(),
                       [&](const RunRecord& run) { return differing_parts(reference_, run).empty(); });
}

std::string BitComparison::table_by_part() const {
    std::vector<std::vector<std::string>> rows = {{"what", reference_.name}};
    for (const RunRecord& run : runs_) rows[0].push_back(run.name);
    rows[0].emplace_back("equal");
    for (const auto& [name, part] : RunRecord::parts) {
        rows.push_back({name, shown(reference_.*part)});
        bool same = true;
        for (const RunRecord& run : runs_) {
            rows.back().push_back(shown(run.*part));
            same = same && run.*part == reference_.*part;
        }
        rows.back().emplace_back(same ? "yes" : "NO");
    }
    return table_text(rows);
}

std::string BitComparison::table_by_run() const {
    std::vector<std::vector<std::string>> rows = {{"run"}};
    for (const auto& [name, part] : RunRecord::parts) rows[0].emplace_back(name);
    rows[0].emplace_back("equal");
    const auto add_row = [&](const RunRecord& run, const std::string& word) {
        rows.push_back({run.name});
        for (const auto& [name, part] : RunRecord::parts) rows.back().push_back(shown(run.*part));
        rows.back().push_back(word);
    };
    add_row(reference_, "-");
    for (const RunRecord& run : runs_) add_row(run, verdict_word(reference_, run));
    std::string text = table_text(rows);
    for (const auto& [name, reason] : left_out_) text += format("left out: {}: {}\n", name, reason);
    return text;
}

std::string BitComparison::differences() const {
    std::string text;
    for (const RunRecord& run : runs_) {
        const auto parts = differing_parts(reference_, run);
        if (parts.empty()) continue;
        const std::string first = first_difference(reference_, run);
        text += format("{} against {}: {} differ{}{}\n", run.name, reference_.name, join(parts),
                       first.empty() ? "" : "; ", first);
    }
    return text;
}

Node BitComparison::to_node() const {
    Node runs = Node::list();
    for (const RunRecord& run : runs_) {
        Node node = digests_of(run);
        const auto parts = differing_parts(reference_, run);
        node.set("equal", parts.empty());
        node.set("differing", texts(parts));
        node.set("first_difference", first_difference(reference_, run));
        runs.push_back(std::move(node));
    }
    Node left_out = Node::list();
    for (const auto& [name, reason] : left_out_) {
        Node node = Node::map();
        node.set("name", name);
        node.set("reason", reason);
        left_out.push_back(std::move(node));
    }
    Node node = Node::map();
    node.set("reference", digests_of(reference_));
    node.set("runs", std::move(runs));
    node.set("left_out", std::move(left_out));
    return node;
}

void fail_bits(Verdict& verdict, bool promised, Determinism sums, const std::string& what) {
    verdict.code = promised ? Exit::internal : Exit::bad_recipe;
    verdict.failure = promised
                          ? format(
                                "verify: the bits differ with {}, although sums are {}; this is a bug of ours, please "
                                "report it with the table",
                                what, enum_name(sums))
                          : format(
                                "verify: the bits differ with {}; sums are {} here, which does not promise them. "
                                "training.determinism=strict does",
                                what, enum_name(sums));
}

int report_verdict(const std::string& name, const Verdict& verdict, bool as_json) {
    if (as_json) {
        Node out = Node::map();
        out.set("verify", name);
        out.set("equal", verdict.failure.empty());
        for (const Node::Entry& entry : verdict.json.as_map()) out.set(entry.key, entry.value);
        JsonStyle style;
        style.null_for_nonfinite = true;
        std::printf("%s\n", to_json(out, style).c_str());
    } else {
        std::printf("%s", verdict.tables.c_str());
    }
    std::fflush(stdout);
    if (!verdict.failure.empty()) log_error(verdict.failure);
    return static_cast<int>(verdict.code);
}

}   // namespace trainer
