// What the parity scripts need to see of the trainer's inside.
//
//   model_driver plan RECIPE OUT.json                   steps → leaves → documents {ids, labels}, in the plan's order
//   model_driver gradients RECIPE ADAPTER|- OUT         first step, on the recipe's device: values and gradients of all
//                                                       trained parameters (safetensors: value.NAME, gradient.NAME),
//                                                       loss on stdout
//   model_driver logits MODEL ADAPTER[,ADAPTER …]|- IDS.json OUT   f32 logits of each id list (safetensors: 0, 1, …)
#include <cstdio>
#include <cstring>
#include <sstream>

#include "autograd/ops/linear.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/tape.h"
#include "comm/solo.h"
#include "configs/error.h"
#include "configs/json.h"
#include "hub/load.h"
#include "hub/output_file.h"
#include "hub/safetensors.h"
#include "models/registry.h"
#include "peft/adapters_beside.h"
#include "trainer/base_format.h"
#include "trainer/device.h"
#include "trainer/inputs.h"
#include "trainer/objectives/registry.h"
#include "trainer/run_options.h"
#include "trainer/stepper.h"
#include "trainer/trainer.h"

namespace trainer {

namespace {

TensorToWrite to_write(const std::string& name, const Tensor& value) {
    return {name,
            FileDType::f32,
            value.shape().sizes(),
            {static_cast<const std::byte*>(value.raw()), value.bytes()},
            nullptr};
}

Node document_node(const Example& document) {
    Node ids = Node::list();
    Node labels = Node::list();
    for (std::size_t i = 0; i < document.ids.size(); ++i) {
        ids.push_back(document.ids[i]);
        labels.push_back(i > 0 && document.trained[i] ? document.ids[i] : ignored_target);
    }
    Node node = Node::map();
    node.set("ids", std::move(ids));
    node.set("labels", std::move(labels));
    return node;
}

Inputs read_inputs(const char* recipe) {
    return check_inputs(load_recipe(recipe), [] {});
}

void plan(const char* recipe, const char* out) {
    const Inputs inputs = read_inputs(recipe);
    Node steps = Node::list();
    for (std::int64_t i = 0; i < inputs.total_steps; ++i) {
        Node leaves = Node::list();
        for (const auto& rows : inputs.plan->step(i).leaves) {
            Node documents = Node::list();
            for (std::int32_t row : rows)
                for (std::int32_t example : inputs.rows[static_cast<std::size_t>(row)])
                    documents.push_back(document_node(inputs.train.examples[static_cast<std::size_t>(example)]));
            leaves.push_back(std::move(documents));
        }
        steps.push_back(std::move(leaves));
    }
    write_file(out, to_json(steps));
}

void gradients(const char* recipe, const std::string& adapter, const char* out) {
    const Inputs inputs = read_inputs(recipe);
    DeclaredModel declared;
    std::unique_ptr<SavedAdapter> saved;
    if (adapter == "-") {
        declared = declare_model(inputs.recipe, inputs.base.snapshot);
    } else {
        declared.model = make_causal_lm(inputs.base.snapshot.config);
        saved = std::make_unique<SavedAdapter>(adapter);
        saved->attach(declared.model->declarations());
        choose_formats(declared.model->declarations(), inputs.recipe.model, inputs.base.snapshot);
    }
    CausalLm& model = *declared.model;
    const Place place = open_place(inputs.recipe, *make_solo());
    model.prepare(place, compute_dtype(inputs.recipe), longest_document(inputs));
    load_parameters(model.parameters(), *inputs.base.snapshot.weights, inputs.base.snapshot.base);
    if (inputs.recipe.model.dtype) round_frozen(model.parameters(), *inputs.recipe.model.dtype);
    if (saved) saved->initialise();
    if (declared.peft) declared.peft->initialise(static_cast<std::uint64_t>(inputs.recipe.training.seed));

    const auto objective = objectives().at(enum_name(inputs.recipe.task))();
    const StepPlan::Step step = inputs.plan->step(0);
    std::vector<Batch> leaves;
    std::int64_t count = 0;
    for (const auto& rows : step.leaves) {
        leaves.push_back(make_batch(inputs.train.examples, inputs.rows, rows, 0, 0, place));
        count += leaves.back().trained_tokens;
    }
    double loss = 0;
    for (const Batch& batch : leaves)
        loss += value_of(forward_backward(model, *objective, batch,
                                          {batch.layout, true, true, inputs.recipe.training.recompute}, count)
                             .loss);
    std::vector<Tensor> values;
    std::vector<TensorToWrite> tensors;
    const auto add = [&](const std::string& name, const Tensor& value) {
        values.push_back(converted(on_place(value, Place::cpu()), DType::f32));
        tensors.push_back(to_write(name, values.back()));
    };
    for (const Parameter* parameter : model.parameters().trainable()) {
        add("value." + parameter->name, parameter->value);
        check(parameter->gradient.defined(), "{} has no gradient", parameter->name);
        add("gradient." + parameter->name, parameter->gradient);
    }
    write_safetensors(out, tensors);
    std::printf("%.9g\n", loss / static_cast<double>(count));
}

void logits(const std::string& base, const std::string& adapter, const char* ids_file, const char* out) {
    BaseModel opened = open_base_model(base, "main", Node(), "tokenizer", "");
    const auto model = make_causal_lm(opened.snapshot.config);
    std::vector<NamedAdapter> adapters;   // named by their places
    std::istringstream folders(adapter == "-" ? "" : adapter);
    for (std::string folder; std::getline(folders, folder, ',');)
        adapters.push_back({std::to_string(adapters.size()), folder});
    FrozenAdapters saved(adapters);
    saved.attach(model->declarations());
    const Node sequences = read_json(ids_file);
    std::int64_t longest = 1;
    for (const Node& sequence : sequences.as_list())
        longest = std::max(longest, static_cast<std::int64_t>(sequence.size()));
    model->prepare(Place::cpu(), DType::f32, longest);
    load_parameters(model->parameters(), *opened.snapshot.weights, base);
    saved.initialise();

    std::vector<Tensor> results;
    std::vector<TensorToWrite> tensors;
    for (const Node& sequence : sequences.as_list()) {
        Example document;
        for (const Node& id : sequence.as_list()) document.ids.push_back(static_cast<std::int32_t>(id.as_integer()));
        document.trained.assign(document.ids.size(), 1);
        const std::int32_t first = 0;
        const Batch batch = make_batch({document}, {{0}}, {&first, 1}, 0, 0);
        const ForwardContext context{batch.layout};
        const Tensor hidden = model->hidden(model->embed(batch.ids, context), context);
        results.push_back(linear(hidden, model->head(context), batch.layout, false));
    }
    for (std::size_t i = 0; i < results.size(); ++i) tensors.push_back(to_write(std::to_string(i), results[i]));
    write_safetensors(out, tensors);
}

int run(int count, char** words) {
    const std::string what = count > 1 ? words[1] : "";
    if (what == "plan" && count == 4) {
        plan(words[2], words[3]);
    } else if (what == "gradients" && count == 5) {
        gradients(words[2], words[3], words[4]);
    } else if (what == "logits" && count == 6) {
        logits(words[2], words[3], words[4], words[5]);
    } else {
        std::fprintf(stderr, "see the head of tests/parity/model_driver.cpp\n");
        return 64;
    }
    return 0;
}

}   // namespace

}   // namespace trainer

int main(int count, char** words) {
    try {
        return trainer::run(count, words);
    } catch (const trainer::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
