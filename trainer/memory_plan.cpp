#include "trainer/memory_plan.h"

#include <cstdio>

#include "autograd/cuda/gemm.h"
#include "comm/data_path.h"
#include "configs/error.h"
#include "trainer/checkpoint/state_file.h"
#include "trainer/evaluation_values.h"
#include "trainer/largest_leaf.h"
#include "trainer/objectives/registry.h"
#include "trainer/run_options.h"
#include "trainer/stepper.h"

namespace trainer {

namespace {

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
    std::uint64_t take_room(std::uint64_t) override { return 0; }
    void give_room(std::uint64_t, std::uint64_t) override {}
    void write(std::uint64_t, const Tensor&) override { fail(Exit::internal, "written on meta"); }
    void read(std::uint64_t, Tensor&) const override { fail(Exit::internal, "read on meta"); }
};

}   // namespace

MemoryPlan plan_memory(const Inputs& inputs, const Communicator& ranks) {
    const Recipe& recipe = inputs.recipe;
    const Place place = Place::meta(inputs.place.kind);
    reset_memory_peak(place);
    MemoryPlan plan;
    plan.place = place;
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
        const auto path = make_host_path(planned, place);
        PlannedStore store;
        StepperOptions options = stepper_options(recipe);
        if (recipe.training.offload == Offload::activations) options.offload = &store;
        Stepper stepper(model, *objective, *path, options);
        const auto optimizer = make_optimizer(recipe.optimizer, stepper.slices());
        optimizer->prepare(recipe.training.offload == Offload::optimizer ? &store : nullptr);

        const auto evaluate = [&] {
            const EvaluationValues values(model, *optimizer, stepper);
            for (const ValidationSet& set : inputs.valid) {
                const Batch batch = LargestLeaf::of_evaluation(set, evaluation_batch(recipe)).on_meta(place);
                LeafTable table(set.rows.size(), place);
                table.add(0, evaluate_leaf(model, *objective, batch, options.mlp_chunk), 0, batch);
            }
        };
        evaluate();
        const LargestLeaf largest = LargestLeaf::of_training(inputs);
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

std::size_t MemoryPlan::held() const { return total() + total() / (place.on_device() ? 64 : 8); }

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
        text += format("\nand in {} {}", place.on_device() ? "the host's memory" : "a file of the output folder",
                       bytes_text(use.peak_offloaded()));
    return text;
}

}   // namespace trainer
