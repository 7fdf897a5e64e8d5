#include "trainer/diagnosis.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/tape.h"
#include "comm/collective.h"
#include "configs/error.h"
#include "configs/json.h"
#include "trainer/numeric_check.h"
#include "trainer/run_options.h"
#include "trainer/stepper.h"

namespace trainer {

namespace {

Node index_of(const NonFinite& at, const Shape& shape) {
    Node index = Node::list();
    index.push_back(at.row);
    if (shape.dimensions() > 1) index.push_back(at.column);
    return index;
}

// "nan", "inf", "-inf": JSON has no such numbers, and a NaN's sign means nothing.
std::string value_text(float value) { return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"; }

const Example& example_of(const Inputs& inputs, std::int32_t index) {
    return inputs.train.examples[static_cast<std::size_t>(index)];
}

Node origin_of(const Inputs& inputs, const Example& document) {
    Node out = Node::map();
    out.set("source", train_sources(inputs.recipe)[static_cast<std::size_t>(document.source)].path.string());
    out.set("row", document.row);
    out.set("occurrence", document.occurrence);
    return out;
}

std::vector<std::int32_t> documents_of(const Inputs& inputs, const std::vector<std::int32_t>& rows) {
    std::vector<std::int32_t> documents;
    for (const std::int32_t row : rows)
        for (const std::int32_t example : inputs.rows[static_cast<std::size_t>(row)]) documents.push_back(example);
    return documents;
}

// The document and position of token n of a leaf.
Node token_node(const Inputs& inputs, const std::vector<std::int32_t>& rows, std::int64_t n) {
    for (const std::int32_t index : documents_of(inputs, rows)) {
        const Example& document = example_of(inputs, index);
        const auto length = static_cast<std::int64_t>(document.ids.size());
        if (n >= length) {
            n -= length;
            continue;
        }
        const std::int32_t id = document.ids[static_cast<std::size_t>(n)];
        Node out = origin_of(inputs, document);
        out.set("position", n);
        out.set("id", id);
        out.set("text", inputs.base.tokenizer->decode({id}, false));
        return out;
    }
    return Node();
}

bool loss_is_finite(const FailedStep& step, Batch batch, std::span<const std::int64_t> trained,
                    const ForwardContext& context) {
    std::vector<std::int32_t> targets(static_cast<std::size_t>(batch.targets.elements()), ignored_target);
    for (const std::int64_t n : trained)
        targets[static_cast<std::size_t>(n)] = batch.targets.data<std::int32_t>()[static_cast<std::size_t>(n)];
    batch.targets = Tensor::from<std::int32_t>(targets, batch.targets.shape());
    const NotRecording pause;
    return std::isfinite(value_of(step.objective.forward(step.model, batch, context).loss));
}

// The loss is a sum over tokens: the first that is not finite alone, by halving; nothing when only their sum is not.
std::optional<std::int64_t> token_of_loss(const FailedStep& step, const Batch& batch, const ForwardContext& context) {
    std::vector<std::int64_t> all;
    for (std::int64_t n = 0; n < batch.targets.elements(); ++n)
        if (batch.targets.data<std::int32_t>()[n] != ignored_target) all.push_back(n);
    std::span<const std::int64_t> left(all);
    while (left.size() > 1) {
        const auto half = left.first(left.size() / 2);
        left = loss_is_finite(step, batch, half, context) ? left.subspan(half.size()) : half;
    }
    if (left.empty() || loss_is_finite(step, batch, left, context)) return std::nullopt;
    return left.front();
}

Node finding_node(const NumericFinding& found) {
    Node out = Node::map();
    out.set("pass", found.backward ? "backward" : "forward");
    out.set("module", found.module);
    out.set("op", found.op);
    out.set("tensor", found.tensor);
    Node shape = Node::list();
    for (const std::int64_t size : found.shape.sizes()) shape.push_back(size);
    out.set("shape", std::move(shape));
    out.set("index", index_of(found.at, found.shape));
    out.set("value", value_text(found.at.value));
    return out;
}

void forget_gradients(CausalLm& model) {
    for (Parameter* parameter : model.parameters().trainable()) parameter->gradient = Tensor();
}

// Null when everything is finite.
Node check_leaf(const FailedStep& step, const Batch& batch, const std::vector<std::int32_t>& rows,
                std::int64_t step_count) {
    const StepperOptions options = stepper_options(step.inputs.recipe);
    const ForwardContext context{batch.layout, true, true, options.recompute, {}, nullptr, options.mlp_chunk};
    NumericCheck check(step.model);
    forget_gradients(step.model);
    {
        const Observing observing(check);
        forward_backward(step.model, step.objective, batch, context, step_count, step.loss_scale);
        check.finish();
    }
    forget_gradients(step.model);
    if (!check.found()) return Node();
    const NumericFinding& found = *check.found();
    Node out = finding_node(found);
    std::optional<std::int64_t> token;
    if (found.activation && found.shape.rows() == batch.layout.tokens()) token = found.at.row;
    if (found.activation && found.shape.elements() == 1) token = token_of_loss(step, batch, context);
    out.set("token", token ? token_node(step.inputs, rows, *token) : Node());
    return out;
}

// Of the leaves of this rank; null when everything is finite.
Node check_leaves(const FailedStep& step, const StepPlan::Step& planned) {
    std::int64_t count = 0;
    for (const std::int64_t leaf : step.leaves) count += step.objective.count(make_leaf(step.inputs, planned, leaf));
    const std::int64_t step_count = sum(step.ranks, count);
    for (const std::int64_t leaf : step.leaves) {
        const auto& rows = planned.leaves[static_cast<std::size_t>(leaf)];
        Node found = check_leaf(step, make_leaf(step.inputs, planned, leaf), rows, step_count);
        if (found.is_null()) continue;
        found.set("leaf", leaf);
        found.set("rank", step.ranks.rank());
        return found;
    }
    return Node();
}

// The first weight that is not finite; null when all are.
Node check_weights(const FailedStep& step) {
    for (const auto& parameter : step.model.parameters().all()) {
        if (!parameter->value.defined()) continue;
        const auto at = first_nonfinite(parameter->value);
        if (!at) continue;
        Node out = Node::map();
        out.set("name", parameter->name);
        out.set("index", index_of(*at, parameter->shape));
        out.set("value", value_text(at->value));
        out.set("rank", step.ranks.rank());
        return out;
    }
    return Node();
}

struct Findings {
    Node number;   // of the lowest leaf
    Node weight;   // of the lowest rank
};

Findings agreed(Communicator& ranks, const Findings& mine) {
    Node both = Node::list();
    both.push_back(mine.number);
    both.push_back(mine.weight);
    Findings first;
    for (const std::string& text : gather_texts(ranks, to_json(both))) {
        const Node found = parse_json(text, "findings");
        const Node& number = found.as_list()[0];
        const Node& weight = found.as_list()[1];
        if (!number.is_null() &&
            (first.number.is_null() || number.at("leaf").as_integer() < first.number.at("leaf").as_integer()))
            first.number = number;
        if (first.weight.is_null()) first.weight = weight;
    }
    return first;
}

Node leaf_node(const Inputs& inputs, const StepPlan::Step& planned, std::int64_t leaf) {
    Node documents = Node::list();
    for (const std::int32_t index : documents_of(inputs, planned.leaves[static_cast<std::size_t>(leaf)])) {
        const Example& document = example_of(inputs, index);
        Node ids = Node::list(), labels = Node::list();
        for (std::size_t i = 0; i < document.ids.size(); ++i) {
            ids.push_back(document.ids[i]);
            labels.push_back(i > 0 && document.trained[i] ? document.ids[i] : ignored_target);
        }
        Node out = origin_of(inputs, document);
        out.set("input_ids", std::move(ids));
        out.set("labels", std::move(labels));
        documents.push_back(std::move(out));
    }
    Node out = Node::map();
    out.set("leaf", leaf);
    out.set("documents", std::move(documents));
    return out;
}

Node document_of(const FailedStep& step, const StepPlan::Step& planned, const Findings& findings) {
    Node leaves = Node::list();
    for (std::int64_t leaf = 0; leaf < static_cast<std::int64_t>(planned.leaves.size()); ++leaf)
        if (findings.number.is_null() || findings.number.at("leaf").as_integer() == leaf)
            leaves.push_back(leaf_node(step.inputs, planned, leaf));
    Node out = Node::map();
    out.set("step", step.index + 1);
    out.set("epoch", planned.epoch);
    out.set("seed", step.inputs.recipe.training.seed);
    out.set("found", findings.number);
    out.set("weight", findings.weight);
    out.set("leaves", std::move(leaves));
    return out;
}

std::string place_text(Communicator& ranks, const Node& found) {
    const std::string leaf = format("leaf {}", found.at("leaf").as_integer());
    return ranks.size() == 1 ? leaf : leaf + ", " + ranks.name_of(static_cast<int>(found.at("rank").as_integer()));
}

std::string token_text(const Node& token) {
    if (token.is_null()) return "";
    return format(": {}:{}, token {} (id {}, {})", token.at("source").as_string(), token.at("row").as_integer(),
                  token.at("position").as_integer(), token.at("id").as_integer(), to_json(token.at("text")));
}

std::string summary_of(Communicator& ranks, const Findings& findings) {
    std::string text;
    if (!findings.weight.is_null())
        text = format("The weight {} holds {} at {}. ", findings.weight.at("name").as_string(),
                      findings.weight.at("value").as_string(), to_json(findings.weight.at("index")));
    const Node& found = findings.number;
    if (found.is_null())
        return text +
               "Run again leaf by leaf, every number is finite: the sum over the leaves is too large, or the machine "
               "computed wrongly and the failure does not come back";
    const std::string& module = found.at("module").as_string();
    return text + format("First of all, in the {} pass, the {} of {}{} is {} at {} of {} ({}){}",
                         found.at("pass").as_string(), found.at("tensor").as_string(), found.at("op").as_string(),
                         module.empty() ? "" : " in " + module, found.at("value").as_string(),
                         to_json(found.at("index")), to_json(found.at("shape")), place_text(ranks, found),
                         token_text(found.at("token")));
}

}   // namespace

Diagnosis diagnose(const FailedStep& step) {
    const StepPlan::Step planned = step.inputs.plan->step(step.index);
    const Findings findings = agreed(step.ranks, {check_leaves(step, planned), check_weights(step)});
    return {summary_of(step.ranks, findings), document_of(step, planned, findings)};
}

std::string reproduction_name(std::int64_t step) { return format("nonfinite-step-{}.json", step); }

}   // namespace trainer
