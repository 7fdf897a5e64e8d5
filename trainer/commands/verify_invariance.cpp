#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <thread>

#include "configs/error.h"
#include "trainer/commands/verify.h"
#include "trainer/run_options.h"
#include "trainer/verify/comparison.h"
#include "trainer/verify/row_sample.h"
#include "trainer/verify/short_plan.h"

namespace trainer {

namespace {

// Relative, of the worst step. Another cut of the work rounds in other places, and training carries that on.
struct Bounds {
    double loss;
    double norm;
};
constexpr Bounds f32_bounds{1e-5, 1e-4};
constexpr Bounds bf16_bounds{5e-3, 3e-2};

// Updates in the backward pass need steps of one leaf, and have the bits of those after it.
constexpr const char* any_leaves = "optimizer.in_backward=false";

struct CloseRun {
    std::string name;
    std::string reference;
    double loss;
    double norm;
};

std::string scientific(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1e", value);
    return text;
}

class InvarianceVerification {
public:
    explicit InvarianceVerification(const VerifyArguments& arguments)
        : arguments_(arguments),
          plan_(arguments.path, arguments.overrides, arguments.steps),
          recipe_(plan_.inputs().recipe),
          bounds_(recipe_.training.precision == Precision::f32 ? f32_bounds : bf16_bounds) {}

    int run() {
        BitComparison bits(plan_.run("1 thread", with_threads(1)));
        for (const int threads : other_threads())
            bits.add(plan_.run(format("{} threads", threads), with_threads(threads)));
        for (const Recompute recompute : {Recompute::none, Recompute::norms, Recompute::block})
            if (recompute != recipe_.training.recompute) bits.add(with_recompute(recompute));
        for (const std::int64_t rows : other_leaves()) {
            const std::string key = "training.micro_batch=" + std::to_string(rows);
            add_close(bits.reference(), plan_.run(format("micro_batch {}", rows), plan_.command({key, any_leaves})));
        }
        compare_packing();
        return conclude(bits);
    }

private:
    RunCommand with_threads(int threads) const {
        RunCommand command = plan_.command();
        command.threads = threads;
        return command;
    }

    RunRecord with_recompute(Recompute recompute) const {
        const std::string name(enum_name(recompute));
        return plan_.run("recompute " + name, plan_.command({"training.recompute=" + name, "training.offload=none"}));
    }

    static std::set<int> other_threads() {
        std::set<int> counts = {2, 3, static_cast<int>(std::thread::hardware_concurrency())};
        counts.erase(0);
        counts.erase(1);
        return counts;
    }

    // Half and double, where they are others and possible.
    std::set<std::int64_t> other_leaves() const {
        const TrainingOptions& training = recipe_.training;
        std::set<std::int64_t> rows = {std::max<std::int64_t>(1, training.micro_batch.rows / 2),
                                       std::min(training.batch, 2 * training.micro_batch.rows)};
        rows.erase(training.micro_batch.rows);
        return rows;
    }

    // The same documents in every step: all rows of a small sample.
    void compare_packing() {
        const std::vector<std::string> sample = sample_rows(recipe_, recipe_.training.batch, plan_.folder());
        const auto packed = [&](const char* packing) {
            std::vector<std::string> words = sample;
            words.insert(words.end(), {std::string("data.packing=") + packing, any_leaves});
            return plan_.run(std::string("packing ") + packing, plan_.command(words));
        };
        const RunRecord without = packed("false");
        add_close(without, packed("true"));
    }

    void add_close(const RunRecord& reference, const RunRecord& run) {
        close_.push_back({run.name, reference.name, largest_relative_difference(reference, run, "loss"),
                          largest_relative_difference(reference, run, "grad_norm")});
    }

    bool within(const CloseRun& run) const { return run.loss <= bounds_.loss && run.norm <= bounds_.norm; }

    std::string table_of_close() const {
        std::vector<std::vector<std::string>> rows = {{"run", "against", "loss", "grad_norm", "within"}};
        for (const CloseRun& one : close_)
            rows.push_back(
                {one.name, one.reference, scientific(one.loss), scientific(one.norm), within(one) ? "yes" : "NO"});
        return format("largest relative differences; allowed: loss {}, grad_norm {}\n{}", scientific(bounds_.loss),
                      scientific(bounds_.norm), table_text(rows));
    }

    Node close_node() const {
        Node list = Node::list();
        for (const CloseRun& one : close_) {
            Node node = Node::map();
            node.set("name", one.name);
            node.set("against", one.reference);
            node.set("loss", one.loss);
            node.set("grad_norm", one.norm);
            node.set("within", within(one));
            list.push_back(std::move(node));
        }
        return list;
    }

    int conclude(const BitComparison& bits) const {
        Verdict verdict;
        verdict.tables =
            format("{} steps\n{}{}\n{}", arguments_.steps, bits.table_by_run(), bits.differences(), table_of_close());
        verdict.json = bits.to_node();
        verdict.json.set("steps", arguments_.steps);
        verdict.json.set("close", close_node());
        verdict.json.set("allowed", allowed_node());
        if (!bits.equal()) {
            fail_bits(verdict, true, determinism(recipe_), "threads or recomputation");
        } else if (!std::all_of(close_.begin(), close_.end(), [&](const CloseRun& one) { return within(one); })) {
            verdict.code = Exit::internal;
            verdict.failure =
                "verify: losses or norms differ by more than rounding does; if optimizer.lr is not far too "
                "high, this is a bug of ours, please report it with the table";
        }
        return report_verdict("invariance", verdict, arguments_.json);
    }

    Node allowed_node() const {
        Node node = Node::map();
        node.set("loss", bounds_.loss);
        node.set("grad_norm", bounds_.norm);
        return node;
    }

    const VerifyArguments& arguments_;
    ShortPlan plan_;
    const Recipe& recipe_;
    Bounds bounds_;
    std::vector<CloseRun> close_;
};

}   // namespace

std::function<int()> define_verify_invariance(CLI::App& app) {
    const auto arguments = std::make_shared<VerifyArguments>();
    arguments->declare(app, 1);
    app.footer(
        "Runs the first steps of the recipe with 1, 2, 3 and as many threads as there are cores, with every\n"
        "kind of recomputation (equal in bits), with half and twice the micro_batch, and a step of its first\n"
        "rows packed and not packed (equal within a printed bound), in a temporary folder (TMPDIR, else beside\n"
        "the recipe's output). Exit codes: 0 equal, 70 different.");
    return [arguments] { return InvarianceVerification(*arguments).run(); };
}

}   // namespace trainer
