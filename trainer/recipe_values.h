#pragma once

// The choices a recipe offers, and the values that may be written in several ways.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/dtype.h"
#include "configs/fields.h"
#include "data/options.h"
#include "models/context.h"

namespace trainer {

enum class Device { automatic, cpu, cuda };
enum class Task { sft };
enum class Precision { f32, bf16, f16 };
enum class Determinism { automatic, strict, repeatable, fast };
enum class Sharding { none, optimizer, gradients };
enum class Offload { none, activations, optimizer };

template <>
struct EnumTable<Device> {
    static constexpr std::pair<std::string_view, Device> names[] = {
        {"auto", Device::automatic}, {"cpu", Device::cpu}, {"cuda", Device::cuda}};
};

template <>
struct EnumTable<Task> {
    static constexpr std::pair<std::string_view, Task> names[] = {{"sft", Task::sft}};
    static constexpr std::string_view later[] = {"pretrain", "dpo",     "orpo", "kto", "simpo", "reward",
                                                 "classify", "regress", "tag",  "qa",  "embed"};
};

template <>
struct EnumTable<Precision> {
    static constexpr std::pair<std::string_view, Precision> names[] = {
        {"f32", Precision::f32}, {"bf16", Precision::bf16}, {"f16", Precision::f16}};
};

template <>
struct EnumTable<Recompute> {
    static constexpr std::pair<std::string_view, Recompute> names[] = {{"none", Recompute::none},
                                                                       {"norms", Recompute::norms},
                                                                       {"block", Recompute::block},
                                                                       {"auto", Recompute::automatic}};
};

template <>
struct EnumTable<Determinism> {
    static constexpr std::pair<std::string_view, Determinism> names[] = {{"auto", Determinism::automatic},
                                                                         {"strict", Determinism::strict},
                                                                         {"repeatable", Determinism::repeatable},
                                                                         {"fast", Determinism::fast}};
};

template <>
struct EnumTable<Sharding> {
    static constexpr std::pair<std::string_view, Sharding> names[] = {
        {"none", Sharding::none}, {"optimizer", Sharding::optimizer}, {"gradients", Sharding::gradients}};
    static constexpr std::string_view later[] = {"weights"};
};

template <>
struct EnumTable<Offload> {
    static constexpr std::pair<std::string_view, Offload> names[] = {
        {"none", Offload::none}, {"activations", Offload::activations}, {"optimizer", Offload::optimizer}};
};

// What frozen weights may be stored as.
template <>
struct EnumTable<DType> {
    static constexpr std::pair<std::string_view, DType> names[] = {
        {"f32", DType::f32}, {"bf16", DType::bf16}, {"f16", DType::f16}};
};

// The names of the data formats (data/registry.cpp).
std::vector<std::string> format_names();

struct TrainSource {
    std::string path;
    std::string format = "messages";
    double weight = 1.0;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("path", path, "the file, relative to the working directory", required(), not_empty());
        field("format", format, "what its rows look like", one_of(format_names));
        field("weight", weight, "share of its rows in each epoch: 2 takes each twice, 0.5 half of them", above(0),
              at_most(1000));
    }
};

struct ValidSource {
    std::string path;
    std::string format = "messages";
    std::string name;   // "" for a single source; else metrics are eval_NAME_…

    template <typename Visitor>
    void fields(Visitor& field) {
        field("path", path, "the file, relative to the working directory", required(), not_empty());
        field("format", format, "what its rows look like", one_of(format_names));
    }
};

// data.train: one source or a list of them.
template <>
struct FieldType<std::vector<TrainSource>> {
    static void read(const Node& node, std::vector<TrainSource>& out, const Where& where);
    static Node write(const std::vector<TrainSource>& sources);
    static Node schema(const Limits& limits);
    static std::string expects(const Limits&) { return "a source {path, format, weight} or a list of them"; }
    static void explain(std::vector<FieldNote>& notes, const std::string& path);
};

// data.valid: null, one source, or a map of named ones (a map without the key `path`).
template <>
struct FieldType<std::vector<ValidSource>> {
    static void read(const Node& node, std::vector<ValidSource>& out, const Where& where);
    static Node write(const std::vector<ValidSource>& sources);
    static Node schema(const Limits& limits);
    static std::string expects(const Limits&) { return "a source {path, format}, or names with a source each"; }
    static void explain(std::vector<FieldNote>& notes, const std::string& path);
};

// data.packing: true, false or {strategy: best_fit}.
template <>
struct FieldType<PackingStrategy> {
    static void read(const Node& node, PackingStrategy& out, const Where& where);
    static Node write(PackingStrategy packing) { return Node(packing != PackingStrategy::none); }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits&) { return "true, false or {strategy: best_fit}"; }
};

// training.micro_batch: a number of rows, or auto: as many as fit into memory, decided before the run
// (trainer/memory_choice.h).
struct MicroBatch {
    std::int64_t rows = 8;   // 0: auto

    bool automatic() const { return rows == 0; }
};

template <>
struct FieldType<MicroBatch> {
    static void read(const Node& node, MicroBatch& out, const Where& where);
    static Node write(MicroBatch value) { return value.automatic() ? Node("auto") : Node(value.rows); }
    static Node schema(const Limits& limits);
    static std::string expects(const Limits& limits) { return FieldType<std::int64_t>::expects(limits) + ", or auto"; }
};

// eval.every, checkpoint.every: a number of steps, "epoch", or a fraction of the run.
struct Interval {
    enum class Unit { steps, epoch, fraction };
    Unit unit = Unit::steps;
    double value = 50;   // steps, or the fraction; 1 for epoch

    friend bool operator==(const Interval&, const Interval&) = default;
};

template <>
struct FieldType<Interval> {
    static void read(const Node& node, Interval& out, const Where& where);
    static Node write(const Interval& every);
    static Node schema(const Limits& limits);
    static std::string expects(const Limits&) { return "a number of steps, \"epoch\", or a fraction below 1"; }
};

}   // namespace trainer
