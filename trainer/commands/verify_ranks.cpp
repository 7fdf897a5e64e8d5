#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <set>

#include "configs/error.h"
#include "trainer/commands/ranges.h"
#include "trainer/commands/verify.h"
#include "trainer/run_options.h"
#include "trainer/verify/comparison.h"
#include "trainer/verify/short_plan.h"

namespace trainer {

namespace {

constexpr int most_ranks = 1024;

struct RanksArguments : VerifyArguments {
    std::string ranks = "1,2,3,4";
};

// "1,2,4", rising and each once.
std::set<int> counts_in(const std::string& text) {
    std::set<int> counts;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (true) {
        int count = 0;
        const auto [next, error] = std::from_chars(at, end, count);
        require(error == std::errc() && count >= 1 && count <= most_ranks && (next == end || *next == ','), Exit::usage,
                "--ranks: expected numbers from 1 to {} with commas between, such as 1,2,4, found {}", most_ranks,
                text);
        counts.insert(count);
        if (next == end) return counts;
        at = next + 1;
    }
}

std::string ranks_text(int count) { return count == 1 ? "1 rank" : format("{} ranks", count); }

std::string reason_against(const Inputs& inputs, int ranks) {
    try {
        check_ranks(inputs, ranks);
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

class RanksVerification {
public:
    explicit RanksVerification(const RanksArguments& arguments)
        : arguments_(arguments),
          counts_(counts_in(arguments.ranks)),
          plan_(arguments.path, arguments.overrides, arguments.steps, counts_) {}

    int run() {
        for (const int count : counts_) {
            const std::string reason = reason_against(plan_.inputs(), count);
            (reason.empty() ? possible_ : impossible_).emplace_back(count, reason);
        }
        require(!possible_.empty(), Exit::bad_recipe, "--ranks: none of {} can be: {}", arguments_.ranks,
                impossible_.empty() ? "" : impossible_.front().second);
        BitComparison comparison(record(possible_.front().first, ""));
        for (std::size_t i = 1; i < possible_.size(); ++i) comparison.add(record(possible_[i].first, ""));
        const std::string_view whole = why_whole_parameters(plan_.inputs().recipe.optimizer);
        for (const std::string& sharding : other_shardings()) {
            if (!whole.empty())
                comparison.leave_out("sharding " + sharding, std::string(whole));
            else if (possible_.back().first > 1)
                comparison.add(record(possible_.back().first, sharding));
        }
        require(comparison.has_runs(), Exit::usage, "--ranks: {} leaves nothing to compare: {}", arguments_.ranks,
                impossible_.empty() ? "name two numbers of ranks, or one above 1" : impossible_.front().second);
        for (const auto& [count, reason] : impossible_) comparison.leave_out(ranks_text(count), reason);
        return conclude(comparison);
    }

private:
    RunRecord record(int count, const std::string& sharding) const {
        std::vector<std::string> overrides;
        if (!sharding.empty()) overrides.push_back("training.sharding=" + sharding);
        // Sharded gradients are always summed strictly; what they are compared with then too.
        if (determinism(plan_.inputs().recipe) == Determinism::strict)
            overrides.push_back("training.determinism=strict");
        RunCommand command = plan_.command(overrides);
        command.processes = count;
        return plan_.run(ranks_text(count) + (sharding.empty() ? "" : ", sharding " + sharding), command);
    }

    std::vector<std::string> other_shardings() const {
        std::vector<std::string> names;
        for (const auto& [name, value] : EnumTable<Sharding>::names)
            if (value != plan_.inputs().recipe.training.sharding) names.emplace_back(name);
        return names;
    }

    int conclude(const BitComparison& comparison) const {
        Verdict verdict;
        verdict.tables =
            format("{} steps\n{}{}", arguments_.steps, comparison.table_by_run(), comparison.differences());
        verdict.json = comparison.to_node();
        verdict.json.set("steps", arguments_.steps);
        const Determinism sums = determinism(plan_.inputs().recipe);
        if (!comparison.equal()) fail_bits(verdict, sums == Determinism::strict, sums, "the ranks or their sharding");
        return report_verdict("ranks", verdict, arguments_.json);
    }

    const RanksArguments& arguments_;
    std::set<int> counts_;
    ShortPlan plan_;
    std::vector<std::pair<int, std::string>> possible_;
    std::vector<std::pair<int, std::string>> impossible_;
};

}   // namespace

std::function<int()> define_verify_ranks(CLI::App& app) {
    const auto arguments = std::make_shared<RanksArguments>();
    arguments->declare(app, 1);
    app.add_option("--ranks", arguments->ranks, "the numbers of ranks")->capture_default_str();
    app.footer(
        "Runs the first steps of the recipe with each number of ranks on this machine, and with every\n"
        "training.sharding, in a temporary folder (TMPDIR, else beside the recipe's output). Exit codes:\n"
        "0 equal, 70 different, 78 different and not promised by training.determinism.");
    return [arguments] { return RanksVerification(*arguments).run(); };
}

}   // namespace trainer
