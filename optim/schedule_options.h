#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "configs/fields.h"

namespace trainer {

enum class ScheduleKind { constant, linear, cosine, polynomial, inverse_sqrt, wsd, reduce_on_plateau };
enum class DecayShape { linear, cosine, one_minus_sqrt };

template <>
struct EnumTable<ScheduleKind> {
    static constexpr std::pair<std::string_view, ScheduleKind> names[] = {
        {"constant", ScheduleKind::constant},
        {"linear", ScheduleKind::linear},
        {"cosine", ScheduleKind::cosine},
        {"polynomial", ScheduleKind::polynomial},
        {"inverse_sqrt", ScheduleKind::inverse_sqrt},
        {"wsd", ScheduleKind::wsd},
        {"reduce_on_plateau", ScheduleKind::reduce_on_plateau}};
    static constexpr std::string_view help[] = {
        "the full rate after warm-up",
        "falls in a straight line after warm-up",
        "falls along half a cosine after warm-up, once or several times",
        "falls as a power of the steps that are left",
        "falls as one over the square root of the steps done",
        "warm-up, the full rate for most of the run, decay at its end",
        "the full rate until the validation loss no longer falls, then less",
    };   // in the order of names
    static_assert(std::size(help) == std::size(names));
};

template <>
struct EnumTable<DecayShape> {
    static constexpr std::pair<std::string_view, DecayShape> names[] = {
        {"linear", DecayShape::linear}, {"cosine", DecayShape::cosine}, {"1-sqrt", DecayShape::one_minus_sqrt}};
};

// Of a schedule only the keys that have an effect on it are read and written.
struct ScheduleOptions {
    ScheduleKind name = ScheduleKind::cosine;
    double warmup = 0.03;
    double min_lr_ratio = 0.1;
    std::int64_t cycles = 1;                 // cosine
    double power = 1.0;                      // polynomial
    std::optional<std::int64_t> timescale;   // inverse_sqrt
    double decay = 0.2;                      // wsd
    DecayShape decay_shape = DecayShape::linear;
    double factor = 0.1;   // reduce_on_plateau
    std::int64_t patience = 10;
    double threshold = 1e-4;
    std::int64_t cooldown = 0;
    double lowest_ratio = 0.0;

    static std::vector<std::string> choices() { return FieldType<ScheduleKind>::names(); }
    void choose(const std::string& choice) {
        for (const auto& entry : EnumTable<ScheduleKind>::names)
            if (entry.first == choice) name = entry.second;
    }

    template <typename Visitor>
    void fields(Visitor& field) {
        field("name", name, "shape of the learning rate after warm-up");
        field("warmup", warmup, "steps from 0 to the full rate; below 1 a fraction of all steps", between(0, 1e9));
        const auto floor = [&] {
            field("min_lr_ratio", min_lr_ratio, "share of lr that is left at the end", between(0, 1));
        };
        switch (name) {
            case ScheduleKind::constant:
                return;
            case ScheduleKind::linear:
                return floor();
            case ScheduleKind::cosine:
                field("cycles", cycles, "how often it falls; after each but the last it begins anew at the full rate",
                      between(1, 1e6));
                return floor();
            case ScheduleKind::polynomial:
                field("power", power, "of the share of the steps that is left; 1 is a straight line", above(0));
                return floor();
            case ScheduleKind::inverse_sqrt:
                field("timescale", timescale,
                      "steps after which the rate falls, by then sqrt(timescale / step); null: the warm-up, or 10000",
                      between(1, 1e9));
                return;
            case ScheduleKind::wsd:
                field("decay", decay, "steps of the decay at the end; below 1 a fraction of all steps", at_least(0));
                field("decay_shape", decay_shape, "how it falls in them");
                return floor();
            case ScheduleKind::reduce_on_plateau:
                field("factor", factor, "what the rate is multiplied by", above(0), below(1));
                field("patience", patience, "evaluations without a lower loss that are waited for", at_least(0));
                field("threshold", threshold, "share by which a loss must be below the lowest to count as lower",
                      at_least(0), below(1));
                field("cooldown", cooldown, "evaluations after a reduction that do not count", at_least(0));
                field("min_lr_ratio", lowest_ratio, "share of lr below which the rate is not reduced", between(0, 1));
                return;
        }
    }
};

}   // namespace trainer
