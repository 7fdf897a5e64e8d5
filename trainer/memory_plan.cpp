#include "trainer/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "configs/error.h"
#include "optim/registry.h"
#include "trainer/objectives/registry.h"
#include "trainer/run_options.h"
#include "trainer/stepper.h"

namespace trainer {

namespace {

// The `count` rows with most tokens: no leaf of the plan is larger.
std::vector<std::int32_t> largest_rows(const std::vector<Example>& examples, const std::vector<Row>& rows,
                                       std::int64_t count) {
    std::vector<std::int64_t> tokens(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i)
        for (std::int32_t example : rows[i])
            tokens[i] += static_cast<std::int64_t>(examples[static_cast<std::size_t>(example)].ids.size());
    std::vector<std::int32_t> order(rows.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return tokens[static_cast<std::size_t>(a)] > tokens[static_cast<std::size_t>(b)];
    });
    order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
    return order;
}

}   // namespace

MemoryPlan plan_memory(const Inputs& inputs) {
    const Recipe& recipe = inputs.recipe;
    reset_memory_peak(Place::meta());
    MemoryPlan plan;
    {
        DeclaredModel declared = declare_model(inputs.base.config, recipe.peft);
        CausalLm& model = *declared.model;
        model.prepare(Place::meta(), compute_dtype(recipe), longest_document(inputs));
        plan.parameters = model.parameters().elements(false);
        plan.trainable = model.parameters().elements(true);
        const auto objective = objectives().at(task_name(recipe.task))();
        const auto optimizer =
            optimizers().at(recipe.optimizer.name)(recipe.optimizer.adamw, model.parameters().trainable());
        optimizer->prepare();

        for (const ValidationSet& set : inputs.valid) {
            Sums sums;
            const auto chosen = largest_rows(set.data.examples, set.rows, evaluation_batch(recipe));
            evaluate_leaf(model, *objective, make_meta_batch(set.data.examples, set.rows, chosen), sums);
        }
        const auto chosen = largest_rows(inputs.train.examples, inputs.rows, recipe.training.micro_batch);
        const std::int64_t batch_rows = std::min(recipe.training.batch, static_cast<std::int64_t>(inputs.rows.size()));
        std::vector<Batch> leaves;
        for (std::int64_t row = 0; row < batch_rows; row += recipe.training.micro_batch)
            leaves.push_back(make_meta_batch(inputs.train.examples, inputs.rows, chosen));
        Stepper stepper(model, *objective, *optimizer, stepper_options(recipe));
        stepper.step(leaves, 0.0);
        plan.use = memory_use(Place::meta());
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
        if (use.peak_bytes[i] > 0)
            text += format("\n  {} {}", name_of(static_cast<Purpose>(i)), bytes_text(use.peak_bytes[i]));
    return text + format("\n  total {}", bytes_text(total()));
}

}   // namespace trainer
