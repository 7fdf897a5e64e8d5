#pragma once

// The sections of a recipe. Adapter, optimizer and schedule options belong to their rooms.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/dtype.h"
#include "autograd/quant/options.h"
#include "configs/fields.h"
#include "optim/optimizer_options.h"
#include "optim/schedule_options.h"
#include "peft/options.h"
#include "trainer/recipe_values.h"

namespace trainer {

struct ModelOptions {
    std::string base;
    std::string revision = "main";
    std::optional<std::string> hub_id;
    std::optional<DType> dtype;
    QuantizeOptions quantize;
    Node config = Node::map();

    template <typename Visitor>
    void fields(Visitor& field) {
        field("base", base, "hub id, model folder, or .gguf file", required(), not_empty());
        field("revision", revision, "branch, tag or commit of a hub id", not_empty());
        field("hub_id", hub_id, "what the adapter names as its base when that is a folder or file", not_empty());
        field("dtype", dtype, "of frozen weights; null: the checkpoint's, bf16 for GGUF");
        field("quantize", quantize,
              "frozen linear layers in fewer bits: nf4, fp4, int8, fp8, or stored (as the base's files have them)");
        field("config", config, "keys that replace those of the model's config.json, or that the model reads",
              only_map());
    }
};

struct DataOptions {
    std::vector<TrainSource> train;
    std::vector<ValidSource> valid;   // empty: no evaluation
    std::string chat_template = "tokenizer";
    std::optional<std::string> system;
    std::optional<std::string> eos_token;
    TrainOn train_on = TrainOn::assistant;
    std::int64_t max_length = 1024;
    Overlong overlong = Overlong::truncate;
    PackingStrategy packing = PackingStrategy::best_fit;
    bool drop_last = false;
    OnBadRow on_bad_row = OnBadRow::stop;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("train", train, "what is trained on", required());
        field("valid", valid, "what is evaluated; named sources give eval_NAME_loss each");
        field("template", chat_template, "tokenizer (the model's own chat template) or a .jinja file", not_empty());
        field("system", system, "system message for rows without one");
        field("eos_token", eos_token, "end of a text; null: the tokenizer's", not_empty());
        field("train_on", train_on, "which tokens count: assistant turns, the last one, the completion, all");
        field("max_length", max_length, "tokens of a row, or of a pack", between(2, 1e7));
        field("overlong", overlong, "what happens to longer rows");
        field("packing", packing, "several rows after another up to max_length, attention kept apart");
        field("drop_last", drop_last, "leave out the last step of an epoch when it is short");
        field("on_bad_row", on_bad_row, "stop at the first malformed row, or skip and count them");
    }
};

// The names in peft/registry.cpp.
std::vector<std::string> adapter_method_names();

struct PeftOptions {
    std::string method = "lora";
    AdapterOptions adapter;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("method", method, "kind of adapter", one_of(adapter_method_names));
        adapter.fields(field);
    }
};

struct TrainingOptions {
    static constexpr std::int64_t default_steps = 200;

    std::optional<std::int64_t> steps;   // after reading, exactly one of steps and epochs is set
    std::optional<double> epochs;
    std::int64_t batch = 32;
    MicroBatch micro_batch;
    Precision precision = Precision::bf16;
    std::optional<double> loss_scale;
    bool tf32 = false;
    Recompute recompute = Recompute::none;
    Offload offload = Offload::none;
    std::optional<std::int64_t> mlp_chunk;
    double clip_norm = 1.0;
    Determinism determinism = Determinism::automatic;
    Sharding sharding = Sharding::none;
    std::vector<std::string> unfrozen_parameters;
    std::int64_t nonfinite_steps = 3;
    std::int64_t seed = 42;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("steps", steps, "optimizer steps; 200 when neither steps nor epochs is given", between(1, 1e9));
        field("epochs", epochs, "passes over the data instead of steps; fractions are allowed", above(0), at_most(1e6));
        field("batch", batch, "rows (with packing: packs) per optimizer step", between(1, 1e6));
        field("micro_batch", micro_batch,
              "rows computed at once; at most batch; auto: as many as fit into memory, decided before the run",
              between(1, 1e6));
        field("precision", precision, "of activations and matrix products; f16 on a GPU only");
        field("loss_scale", loss_scale,
              "the first factor on the loss's gradient, a power of two, which is halved and doubled as f16 needs it; "
              "null: 65536 with precision f16, otherwise there is none",
              between(1, 1e12));
        field("tf32", tf32,
              "products of f32 matrices on a GPU round their factors to 10 bits of fraction: several times as fast");
        field("recompute", recompute,
              "what is computed again in backward to save memory: nothing, the outputs of norms and of the gated "
              "activation, whole blocks; auto: the least that fits");
        field("offload", offload,
              "what waits in a file in the output folder instead of in memory: nothing, the inputs of blocks (with "
              "recompute: block), or the optimizer's state");
        field("mlp_chunk", mlp_chunk, "tokens that a feed-forward layer computes at once; null: all", at_least(1));
        field("clip_norm", clip_norm, "largest norm of the gradient; 0 measures without clipping", at_least(0));
        field("determinism", determinism,
              "strict: the same bits whatever the number of ranks; repeatable: for one number of ranks; "
              "fast: no promise; auto: strict with an adapter, else repeatable");
        field("sharding", sharding,
              "what ranks share out among them instead of each holding all: nothing, the optimizer's state (ZeRO-1), "
              "or also the gradients (ZeRO-2)");
        field("unfrozen_parameters", unfrozen_parameters,
              "without peft: only parameters whose name begins with a match of one of these regular expressions are "
              "trained ([\".*bias$\"] is BitFit); empty: all");
        field("nonfinite_steps", nonfinite_steps,
              "stop when so many steps in a row had a loss or gradient that is not finite; the ones before are skipped",
              between(1, 1e6));
        field("seed", seed, "of the order of the data, dropout and new weights", at_least(0));
        field.later("grad_dtype", "gradients are f32");
    }
};

struct EvalOptions {
    Interval every;
    std::optional<std::int64_t> batch;
    std::optional<std::int64_t> patience;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("every", every, "steps between evaluations; \"epoch\"; or below 1 a fraction of the run");
        field("batch", batch, "rows computed at once; null: micro_batch", between(1, 1e6));
        field("patience", patience, "stop after so many evaluations in a row without a lower loss; null: never",
              at_least(1));
    }
};

struct CheckpointOptions {
    std::optional<Interval> every = Interval();
    std::int64_t keep = 2;
    bool best = true;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("every", every, "steps between checkpoints; \"epoch\"; below 1 a fraction of the run; null: none");
        field("keep", keep, "how many of the newest stay", between(1, 1e6));
        field("best", best, "also write and keep the one with the lowest validation loss");
        field.later("save_dtype", "models are saved in the base's dtype");
    }
};

struct LoggingOptions {
    std::int64_t every = 1;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("every", every, "steps between progress lines", at_least(1));
    }
};

}   // namespace trainer
