#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

#include "configs/error.h"
#include "trainer/commands/ranges.h"
#include "trainer/commands/verify.h"
#include "trainer/run_options.h"
#include "trainer/verify/comparison.h"
#include "trainer/verify/short_plan.h"

namespace trainer {

namespace {

constexpr int most_attempts = 5;

struct ResumeArguments : VerifyArguments {
    std::int64_t stops = 2;
    std::optional<int> processes;
};

// Stops spread evenly over the run: by SIGKILL, then by SIGTERM, and so on.
std::vector<StopAt> stops_of(const ResumeArguments& arguments) {
    std::vector<StopAt> stops;
    for (std::int64_t i = 0; i < arguments.stops; ++i)
        stops.push_back({(i + 1) * arguments.steps / (arguments.stops + 1), i % 2 == 0 ? SIGKILL : SIGTERM});
    return stops;
}

// Runs with all stops. Nothing when the run reached its end before one of them could be made.
bool run_with_stops(RunCommand command, const std::vector<StopAt>& stops, std::vector<std::string>& events) {
    for (const StopAt& stop : stops) {
        const RunEnd end = run_as_child(command, stop);
        if (end == RunEnd::finished) return false;
        events.push_back(format("{} after step {}", end == RunEnd::killed ? "killed (SIGKILL)" : "stopped (SIGTERM)",
                                steps_logged(command.output)));
        command.resume = true;
    }
    run_as_child(command);
    return true;
}

RunRecord stopped_run(const ShortPlan& plan, const ResumeArguments& arguments, std::vector<std::string>& events) {
    RunCommand command = plan.command({"checkpoint.every=1"});
    command.processes = arguments.processes;
    for (int attempt = 0; attempt < most_attempts; ++attempt) {
        events.clear();
        if (run_with_stops(command, stops_of(arguments), events)) return plan.take("resumed", command);
        std::filesystem::remove_all(command.output);
    }
    fail(Exit::system, "verify: the run was over before it could be stopped; give it more steps than {} (--steps)",
         arguments.steps);
}

int verify_resume(const ResumeArguments& arguments) {
    require(arguments.stops < arguments.steps, Exit::usage,
            "--stops is {}; expected fewer stops than steps, which are {} (--steps)", arguments.stops, arguments.steps);
    const ShortPlan plan(arguments.path, arguments.overrides, arguments.steps, {arguments.processes.value_or(1)});
    RunCommand straight = plan.command();
    straight.processes = arguments.processes;
    BitComparison comparison(plan.run("straight", straight));
    std::vector<std::string> events;
    comparison.add(stopped_run(plan, arguments, events));

    Verdict verdict;
    verdict.tables = format("{} steps; {}, and resumed each time\n{}{}", arguments.steps, join(events),
                            comparison.table_by_part(), comparison.differences());
    verdict.json = comparison.to_node();
    verdict.json.set("steps", arguments.steps);
    Node stops = Node::list();
    for (const std::string& event : events) stops.push_back(event);
    verdict.json.set("stops", std::move(stops));
    const Determinism sums = determinism(plan.inputs().recipe);
    if (!comparison.equal()) fail_bits(verdict, sums != Determinism::fast, sums, "a run that was stopped and resumed");
    return report_verdict("resume", verdict, arguments.json);
}

}   // namespace

std::function<int()> define_verify_resume(CLI::App& app) {
    const auto arguments = std::make_shared<ResumeArguments>();
    arguments->declare(app, 2);
    app.add_option("--stops", arguments->stops, "how often the run is stopped, by SIGKILL and SIGTERM in turn")
        ->check(count_from(1))
        ->capture_default_str();
    app.add_option("--nproc", arguments->processes, "ranks of the runs")
        ->check(count_from(1, std::numeric_limits<int>::max()));
    app.footer(
        "Runs the first steps of the recipe twice, straight through and with stops, in a temporary folder\n"
        "(TMPDIR, else beside the recipe's output). Exit codes: 0 equal, 70 different, 78 different and not\n"
        "promised by training.determinism.");
    return [arguments] { return verify_resume(*arguments); };
}

}   // namespace trainer
