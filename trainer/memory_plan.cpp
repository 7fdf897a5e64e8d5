#include "trainer/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "autograd/cuda/gemm.h"
#include "configs/error.h"
#include "trainer/checkpoint/state_file.h"
#include "trainer/evaluation_values.h"
#include "trainer/objectives/registry.h"
#include "trainer/run_options.h"
#include "trainer/stepper.h"

namespace trainer {

namespace {

constexpr std::int64_t scanned_rows = 10'000'000;   // of a run's plan

// A leaf as large as any that was considered.
class LargestLeaf {
public:
    LargestLeaf(const std::vector<Example>& examples, const std::vector<Row>& rows) : examples_(examples), rows_(rows) {
        for (const Row& row : rows) {
            std::int64_t& tokens = row_tokens_.emplace_back(0);
            for (const std::int32_t index : row) {
                const Example& example = examples[static_cast<std::size_t>(index)];
                tokens += static_cast<std::int64_t>(example.ids.size());
                longest_ = std::max(longest_, static_cast<std::int32_t>(example.ids.size()));
            }
        }
    }

    void consider(const std::vector<std::int32_t>& leaf) {
        std::int64_t tokens = 0;
        for (const std::int32_t row : leaf) tokens += row_tokens_[static_cast<std::size_t>(row)];
        if (tokens <= most_tokens_) return;
        most_tokens_ = tokens;
        leaf_ = leaf;
    }

    // The `count` rows with most tokens: no leaf of any plan is larger.
    void consider_largest_rows(std::int64_t count) {
        std::vector<std::int32_t> order(rows_.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
            return row_tokens_[static_cast<std::size_t>(a)] > row_tokens_[static_cast<std::size_t>(b)];
        });
        order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
        consider(order);
    }

    Batch on_meta(Place place) const {
        Batch batch = make_meta_batch(examples_, rows_, leaf_, place);
        batch.layout.longest = longest_;
        return batch;
    }

private:
    const std::vector<Example>& examples_;
    const std::vector<Row>& rows_;
    std::vector<std::int64_t> row_tokens_;
    std::int32_t longest_ = 0;
    std::int64_t most_tokens_ = 0;
    std::vector<std::int32_t> leaf_;
};

// Ranks that are there in number only: what is sent goes nowhere.
class PlannedRanks : public Communicator {
public:
    explicit PlannedRanks(const Communicator& ranks) : rank_(ranks.rank()), size_(ranks.size()) {}
    int rank() const override { return rank_; }
    int size() const override { return size_; }
    void all_to_all(std::span<const std::span<const std::byte>>, std::span<const std::span<std::byte>>) override {}
    void all_gather(std::span<const std::byte>, std::span<const std::span<std::byte>>) override {}
    void broadcast(std::span<std::byte>, int) override {}
    void barrier() override {}
    void all_reduce(std::span<float>) override {}
    std::string name_of(int) const override { return ""; }
    void abandon(int, const std::string&) noexcept override {}

private:
    int rank_;
    int size_;
};

// What is offloaded on the meta place only counts.
class PlannedStore : public OffloadStore {
public:
    void write(std::uint64_t, std::span<const std::byte>) override { fail(Exit::internal, "written on meta"); }
    void read(std::uint64_t, std::span<std::byte>) const override { fail(Exit::internal, "read on meta"); }
};

LargestLeaf largest_training_leaf(const Inputs& inputs) {
    const TrainingOptions& training = inputs.recipe.training;
    LargestLeaf largest(inputs.train.examples, inputs.rows);
    if (inputs.total_steps > scanned_rows / training.batch)
        largest.consider_largest_rows(training.micro_batch.rows);
    else
        for (std::int64_t step = 0; step < inputs.total_steps; ++step)
            for (const auto& leaf : inputs.plan->step(step).leaves) largest.consider(leaf);
    return largest;
}

LargestLeaf largest_evaluation_leaf(const ValidationSet& set, std::int64_t batch) {
    LargestLeaf largest(set.data.examples, set.rows);
    for (const auto& leaf : leaves_in_order(static_cast<std::int64_t>(set.rows.size()), batch)) largest.consider(leaf);
    return largest;
}

}   // namespace

MemoryPlan plan_memory(const Inputs& inputs, const Communicator& ranks) {
    const Recipe& recipe = inputs.recipe;
    const Place place = Place::meta(inputs.place.kind);
    reset_memory_peak(place);
    MemoryPlan plan;
    {
        const CountedBytes products(place.on_device() ? cuda::gemm_workspace_bytes : 0, place, Purpose::workspace);
        DeclaredModel declared = declare_model(recipe, inputs.base.snapshot);
        CausalLm& model = *declared.model;
        model.prepare(place, compute_dtype(recipe), longest_document(inputs));
        if (declared.peft) declared.peft->initialise(0);
        plan.parameters = model.parameters().elements(false);
        plan.trainable = model.parameters().elements(true);
        const auto objective = objectives().at(enum_name(recipe.task))();
        PlannedRanks planned(ranks);
        PlannedStore store;
        StepperOptions options = stepper_options(recipe);
        if (recipe.training.offload == Offload::activations) options.offload = &store;
        Stepper stepper(model, *objective, planned, options, place);
        const auto optimizer = make_optimizer(recipe.optimizer, stepper.slices());
        optimizer->prepare(recipe.training.offload == Offload::optimizer ? &store : nullptr);

        const auto evaluate = [&] {
            const EvaluationValues values(model, *optimizer, stepper);
            for (const ValidationSet& set : inputs.valid) {
                const Batch batch = largest_evaluation_leaf(set, evaluation_batch(recipe)).on_meta(place);
                LeafTable table(set.rows.size(), place);
                table.add(0, evaluate_leaf(model, *objective, batch, options.mlp_chunk), 0, batch);
            }
        };
        evaluate();
        const LargestLeaf largest = largest_training_leaf(inputs);
        const std::int64_t leaves = leaves_of_full_step(inputs, recipe.training.micro_batch.rows);
        const auto leaf = [&](std::int64_t) { return largest.on_meta(place); };
        stepper.step(leaves, leaf, *optimizer, 0.0);
        if (inputs.total_steps > 1)
            stepper.step(leaves, leaf, *optimizer, 0.0);   // with copies that the first one made
        if (const auto checkpoint = first_checkpoint(inputs)) {
            const StateCopy copy(*optimizer, stepper.layout().owned(ranks.rank()),
                                 copied_whole(model.parameters(), ranks.rank()));
            const ValueCopies saved = copy_evaluation_values(model, *optimizer, stepper, ranks.rank() == 0);
            if (*checkpoint < inputs.total_steps) {
                stepper.step(leaves, leaf, *optimizer, 0.0);
                evaluate();
            }
        }
        plan.use = memory_use(place);
    }
    return plan;
}

std::string bytes_text(std::size_t bytes) {
    constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        ++unit;
    }
    char text[32];
    std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return text;
}

Node MemoryPlan::to_node() const {
    Node out = Node::map();
    for (std::size_t i = 0; i < purpose_count; ++i)
        out.set(name_of(static_cast<Purpose>(i)), static_cast<std::int64_t>(use.peak_bytes[i]));
    out.set("total", static_cast<std::int64_t>(total()));
    out.set("parameters", parameters);
    out.set("trainable_parameters", trainable);
    return out;
}

std::string MemoryPlan::table() const {
    std::string text = "memory plan (peak):";
    for (std::size_t i = 0; i < purpose_count; ++i)
        if (use.peak_bytes[i] > 0 && static_cast<Purpose>(i) != Purpose::offloaded)
            text += format("\n  {} {}", name_of(static_cast<Purpose>(i)), bytes_text(use.peak_bytes[i]));
    text += format("\n  total {}", bytes_text(total()));
    if (use.peak_offloaded() > 0)
        text += format("\nand in a file of the output folder {}", bytes_text(use.peak_offloaded()));
    return text;
}

}   // namespace trainer
