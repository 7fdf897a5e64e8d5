#include "trainer/recipe_check.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "optim/adafactor.h"
#include "optim/expression.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "trainer/adapter_check.h"

namespace trainer {

namespace {

// The value written at a.b, or null.
const Node* written(const Node& document, std::string_view section, std::string_view key) {
    const Node* inner = document.find(section);
    const Node* value = inner ? inner->find(key) : nullptr;
    return value && !value->is_null() ? value : nullptr;
}

std::string place_of(const Node& node) {
    const std::string place = node.mark().text();
    return place.empty() ? "" : place + ": ";
}

bool same_file(const std::string& a, const std::string& b) {
    return std::filesystem::path(a).lexically_normal() == std::filesystem::path(b).lexically_normal();
}

void check_length(Recipe& recipe, const Node& document, Complaints& complaints) {
    TrainingOptions& training = recipe.training;
    const Node* steps = written(document, "training", "steps");
    const Node* epochs = written(document, "training", "epochs");
    if (steps && epochs)
        Where{complaints, "training.epochs"}.complain(
            *epochs,
            format("steps and epochs are both given; keep one of them (steps stands at {})", steps->mark().text()));
    if (!training.steps && !training.epochs) training.steps = TrainingOptions::default_steps;
}

void check_batch(Recipe& recipe, const Node& document, Complaints& complaints) {
    TrainingOptions& training = recipe.training;
    if (training.micro_batch.rows <= training.batch) return;
    const Node* micro_batch = written(document, "training", "micro_batch");
    if (micro_batch && !micro_batch->is_number()) return;   // complained about already
    if (micro_batch)
        Where{complaints, "training.micro_batch"}.complain(
            *micro_batch,
            format("expected at most batch, which is {}, found {}", training.batch, training.micro_batch.rows));
    else
        training.micro_batch.rows = training.batch;
}

void check_offload(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const TrainingOptions& training = recipe.training;
    if (training.offload != Offload::activations || training.recompute == Recompute::block) return;
    if (const Node* offload = written(document, "training", "offload"))
        Where{complaints, "training.offload"}.complain(
            *offload,
            format("activations needs recompute: block, found {}: what is offloaded are the inputs of blocks, "
                   "and only then nothing else of a block is kept",
                   enum_name(training.recompute)));
}

// A number of steps that may be a fraction of the run.
void check_steps(const Recipe& recipe, const Node& document, std::string_view key, double value,
                 Complaints& complaints) {
    const Node* node = written(document, "schedule", key);
    if (!node || value < 1) return;
    const Where where{complaints, "schedule." + std::string(key)};
    if (value != std::floor(value))
        where.complain(*node, format("expected a whole number of steps or a fraction below 1, found {}", value));
    else if (recipe.training.steps && value > static_cast<double>(*recipe.training.steps))
        where.complain(*node, format("a {} of {} steps is longer than the run of {}", key == "warmup" ? "warm-up" : key,
                                     value, *recipe.training.steps));
}

void check_cycles(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const ScheduleOptions& schedule = recipe.schedule;
    const Node* cycles = written(document, "schedule", "cycles");
    if (!cycles || schedule.name != ScheduleKind::cosine || !recipe.training.steps) return;
    const std::int64_t steps = *recipe.training.steps;
    if (const std::int64_t most = most_cycles(schedule, steps); schedule.cycles > most)
        Where{complaints, "schedule.cycles"}.complain(
            *cycles, format("expected at most {}, found {}: each of several takes two steps, and after warm-up the run "
                            "has {}",
                            most, schedule.cycles, steps - warmup_updates(schedule, steps)));
}

void check_schedule(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const ScheduleOptions& schedule = recipe.schedule;
    check_steps(recipe, document, "warmup", schedule.warmup, complaints);
    check_cycles(recipe, document, complaints);
    const Node* name = written(document, "schedule", "name");
    if (!name) return;
    const Where where{complaints, "schedule.name"};
    if (schedule.name == ScheduleKind::wsd) {
        check_steps(recipe, document, "decay", schedule.decay, complaints);
        const std::int64_t steps = recipe.training.steps.value_or(0);
        const std::int64_t warmup = warmup_updates(schedule, steps);
        const std::int64_t decay = decay_updates(schedule, steps);
        if (std::max(warmup, decay) <= steps && warmup + decay > steps)
            where.complain(*name, format("a warm-up of {} and a decay of {} steps are longer than the run of {}",
                                         warmup, decay, steps));
    }
    if (schedule.name == ScheduleKind::reduce_on_plateau && !written(document, "data", "valid"))
        where.complain(*name,
                       "reduce_on_plateau follows the validation loss, and there is no data.valid; add validation data "
                       "or take another schedule");
}

void check_rule(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const OptimizerOptions& optimizer = recipe.optimizer;
    const auto complain = [&](std::string_view key, const std::string& sentence) {
        if (const Node* node = written(document, "optimizer", key))
            Where{complaints, "optimizer." + std::string(key)}.complain(*node, sentence);
    };
    if (optimizer.name == "sgd") {
        const auto& options = optimizer.rule.as<SgdOptions>();
        if (options.nesterov && options.momentum == 0) complain("nesterov", "needs a momentum above 0");
    } else if (optimizer.name == "adafactor") {
        const auto& options = optimizer.rule.as<AdafactorOptions>();
        if (options.warmup_init && !options.relative_step) complain("warmup_init", "needs relative_step: true");
    }
    if (const Node* node = written(document, "optimizer", "adamw_for"); node && node->is_string())
        if (const std::string why = why_no_expression(node->as_string()); !why.empty())
            complain("adamw_for", format("\"{}\" is no regular expression: {}", node->as_string(), why));
}

void check_groups(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const std::vector<OptimizerGroup>& groups = recipe.optimizer.groups;
    const Node* list = written(document, "optimizer", "groups");
    if (!list || !list->is_list() || list->size() != groups.size()) return;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const Node& node = list->as_list()[i];
        const Where where{complaints, format("optimizer.groups.{}", i)};
        if (!groups[i].lr && !groups[i].weight_decay) where.complain(node, "has neither lr nor weight_decay");
        const Node* match = node.is_map() ? node.find("match") : nullptr;
        const std::string why = why_no_expression(groups[i].match);
        if (match && !why.empty())
            where.part("match").complain(*match, format("\"{}\" is no regular expression: {}", groups[i].match, why));
    }
}

// Its rate has no shape after warm-up.
void check_schedule_free(Recipe& recipe, const Node& document, Complaints& complaints) {
    if (recipe.optimizer.name != "schedule_free_adamw" || recipe.schedule.name == ScheduleKind::constant) return;
    if (const Node* name = written(document, "schedule", "name"))
        Where{complaints, "schedule.name"}.complain(
            *name, format("expected constant with optimizer {}, found {}", recipe.optimizer.name,
                          enum_name(recipe.schedule.name)));
    else if (const Node* schedule = document.find("schedule"); schedule && schedule->is_map())
        for (const Node::Entry& entry : schedule->as_map())
            if (entry.key != "warmup")
                Where{complaints, "schedule." + entry.key}.complain(
                    entry.value, format("has no effect with optimizer {}, whose schedule is constant; leave it out",
                                        recipe.optimizer.name));
    recipe.schedule.name = ScheduleKind::constant;
}

// What trains in bf16 and computes in another type would hold both.
void check_master(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const Node* master = written(document, "optimizer", "master");
    const Precision precision = recipe.training.precision;
    if (!master || recipe.optimizer.master != Master::bf16 || precision == Precision::bf16) return;
    Where{complaints, "optimizer.master"}.complain(
        *master, format("expected f32 with training.precision {}: an {} copy of every bf16 weight would be kept to "
                        "compute with, {}",
                        enum_name(precision), enum_name(precision),
                        precision == Precision::f32 ? "and take more memory than it saves" : "with other bits"));
}

// f16 is a GPU's; its gradients are scaled.
void check_precision(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const TrainingOptions& training = recipe.training;
    const Node* scale = written(document, "training", "loss_scale");
    int exponent = 0;
    if (training.precision != Precision::f16) {
        if (scale)
            Where{complaints, "training.loss_scale"}.complain(
                *scale, format("has no effect with training.precision {}, whose gradients need no scale; leave it out",
                               enum_name(training.precision)));
        return;
    }
    if (scale && training.loss_scale && std::frexp(*training.loss_scale, &exponent) != 0.5)
        Where{complaints, "training.loss_scale"}.complain(
            *scale,
            format("expected a power of two, which changes no bit of a gradient, found {}", *training.loss_scale));
    const Node* precision = written(document, "training", "precision");
    if (precision && recipe.device == Device::cpu)
        Where{complaints, "training.precision"}.complain(
            *precision, "expected bf16 or f32 with device cpu: f16 is computed on a GPU only");
}

// An update in the backward pass sees one block's gradients of one leaf.
void check_in_backward(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const Node* in_backward = written(document, "optimizer", "in_backward");
    if (!in_backward || !recipe.optimizer.in_backward) return;
    const TrainingOptions& training = recipe.training;
    const auto complain = [&](const std::string& why) {
        Where{complaints, "optimizer.in_backward"}.complain(*in_backward, why);
    };
    if (training.precision == Precision::f16)
        complain(
            "expected false with training.precision f16: whether the gradient fits into f16 is known when all of it "
            "is there, and then the first weights are updated");
    if (recipe.peft)
        complain("expected false with peft: an adapter's gradients are small, and there is little to save");
    if (training.clip_norm != 0)
        complain(
            format("expected training.clip_norm 0, found {}: a norm to clip by is known when all gradients are, and "
                   "then the first are applied",
                   training.clip_norm));
    if (training.micro_batch.rows < training.batch)
        complain(format(
            "expected a step of one leaf: training.micro_batch is {} and batch {}, and the sum of several "
            "leaves is known after the last; make them equal",
            training.micro_batch.automatic() ? "auto" : format("{}", training.micro_batch.rows), training.batch));
    if (training.sharding != Sharding::none)
        complain(format("expected training.sharding none, found {}: what ranks share out is exchanged first",
                        enum_name(training.sharding)));
}

// Updates and adapters are computed in f32, where smaller numbers are zero and larger ones infinite. `read` is what was
// understood of a section: a number there that is not the written one was complained about already, as was a key that
// is missing.
void check_f32_range(const Node& node, const Node& read, const Where& where) {
    constexpr double least = std::numeric_limits<float>::min(), most = std::numeric_limits<float>::max();
    if (node.is_map() && read.is_map()) {
        for (const Node::Entry& entry : node.as_map())
            if (const Node* value = read.find(entry.key)) check_f32_range(entry.value, *value, where.part(entry.key));
    } else if (node.is_list() && read.is_list() && node.size() == read.size()) {
        for (std::size_t i = 0; i < node.size(); ++i)
            check_f32_range(node.as_list()[i], read.as_list()[i], where.part(std::to_string(i)));
    } else if (node.is_number() && read.is_number() && node.as_number() == read.as_number()) {
        const double size = std::abs(node.as_number());
        if (size > most || (size > 0 && size < least))
            where.complain(node, format("expected a number whose size f32 holds, from {} to {} or 0, found {}",
                                        static_cast<float>(least), static_cast<float>(most), node.as_number()));
    }
}

void check_optimizer(Recipe& recipe, const Node& document, Complaints& complaints) {
    if (const Node* optimizer = document.find("optimizer"))
        check_f32_range(*optimizer, write_fields(recipe.optimizer), {complaints, "optimizer"});
    check_rule(recipe, document, complaints);
    check_groups(recipe, document, complaints);
    check_master(recipe, document, complaints);
    check_in_backward(recipe, document, complaints);
    const std::string_view whole = why_whole_parameters(recipe.optimizer);
    const Node* sharding = written(document, "training", "sharding");
    if (sharding && recipe.training.sharding != Sharding::none && !whole.empty())
        Where{complaints, "training.sharding"}.complain(
            *sharding,
            format("expected none with optimizer {}: {}, and sharding cuts parameters", recipe.optimizer.name, whole));
    check_schedule_free(recipe, document, complaints);
}

void check_template(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const std::string& name = recipe.data.chat_template;
    const Node* node = written(document, "data", "template");
    if (!node || name == "tokenizer" || std::filesystem::path(name).extension() == ".jinja") return;
    Where{complaints, "data.template"}.complain(
        *node, format("expected tokenizer or the path of a .jinja file, found {}", node->describe()));
}

void check_paths(Recipe& recipe, const Node& document, Complaints& complaints) {
    const Node* output = document.find("output");
    if (output && !recipe.output.empty() && same_file(recipe.output, recipe.model.base))
        Where{complaints, "output"}.complain(*output, "this is the model's own path; choose another folder");

    const std::vector<TrainSource>& train = recipe.data.train;
    const auto is_trained_on = [&](const std::string& path) {
        return std::any_of(train.begin(), train.end(), [&](const auto& one) { return same_file(one.path, path); });
    };
    const Node* valid = written(document, "data", "valid");
    for (const ValidSource& source : recipe.data.valid)
        if (valid && !source.path.empty() && is_trained_on(source.path))
            recipe.warnings.push_back(place_of(*valid) + "data.valid: " + source.path +
                                      " is trained on too; its loss says nothing about new text");
    const Node* sources = written(document, "data", "train");
    for (std::size_t i = 0; i < train.size(); ++i)
        for (std::size_t j = 0; j < i; ++j)
            if (sources && !train[i].path.empty() && same_file(train[i].path, train[j].path))
                recipe.warnings.push_back(place_of(*sources) + "data.train: " + train[i].path +
                                          " is listed twice; a weight says the same");
}

void check_dtype(Recipe& recipe, const Node& document) {
    const Node* dtype = written(document, "model", "dtype");
    if (dtype && recipe.model.dtype && !recipe.peft && recipe.training.unfrozen_parameters.empty())
        recipe.warnings.push_back(place_of(*dtype) +
                                  "model.dtype: without peft no weights are frozen, so it has no effect");
}

void check_quantize(const Recipe& recipe, const Node& document, Complaints& complaints) {
    const Node* quantize = written(document, "model", "quantize");
    if (quantize && recipe.model.quantize.format != QuantizeOptions::none && !recipe.peft)
        Where{complaints, "model.quantize"}.complain(
            *quantize, "quantised weights are frozen and cannot be trained; add a peft section, or leave the key out");
}

void check_eval(Recipe& recipe, const Node& document) {
    const Node* eval = document.find("eval");
    if (eval && !eval->is_null() && recipe.data.valid.empty() && !written(document, "data", "valid"))
        recipe.warnings.push_back(place_of(*eval) + "eval: there is no data.valid, so nothing is evaluated");
}

}   // namespace

void check_recipe(Recipe& recipe, const Node& document, Complaints& complaints) {
    check_length(recipe, document, complaints);
    check_batch(recipe, document, complaints);
    check_offload(recipe, document, complaints);
    check_optimizer(recipe, document, complaints);   // may decide the schedule
    check_schedule(recipe, document, complaints);
    check_template(recipe, document, complaints);
    check_paths(recipe, document, complaints);
    check_dtype(recipe, document);
    check_precision(recipe, document, complaints);
    check_quantize(recipe, document, complaints);
    if (const Node* peft = document.find("peft"); peft && recipe.peft)
        check_f32_range(*peft, write_fields(*recipe.peft), {complaints, "peft"});
    check_adapter(recipe, document, complaints);
    check_eval(recipe, document);
}

}   // namespace trainer
