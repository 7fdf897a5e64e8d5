#pragma once

#include <array>
#include <iterator>
#include <string_view>

#include "configs/fields.h"

namespace trainer {

struct AdamWOptions {
    double lr = 2e-4;
    double weight_decay = 0.0;
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-8;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("lr", lr, "learning rate at its highest, after warm-up", above(0));
        field("weight_decay", weight_decay, "decay per step and learning rate; biases and norms are not decayed",
              at_least(0));
        field("betas", betas, "decay of the running means of the gradient and of its square", at_least(0), below(1));
        field("eps", eps, "added to the root of the second mean", above(0));
        field.later("master", "trainable weights have f32 masters");
        field.later("state", "the optimizer's state is f32");
    }
};

enum class ScheduleKind { constant, linear, cosine };

template <>
struct EnumTable<ScheduleKind> {
    static constexpr std::pair<std::string_view, ScheduleKind> names[] = {
        {"constant", ScheduleKind::constant}, {"linear", ScheduleKind::linear}, {"cosine", ScheduleKind::cosine}};
    static constexpr std::string_view help[] = {"the full rate after warm-up", "falls in a straight line after warm-up",
                                                "falls along half a cosine after warm-up"};   // in the order of names
    static_assert(std::size(help) == std::size(names));
};

struct ScheduleOptions {
    ScheduleKind name = ScheduleKind::cosine;
    double warmup = 0.03;
    double min_lr_ratio = 0.1;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("name", name, "shape of the learning rate after warm-up");
        field("warmup", warmup, "steps from 0 to the full rate; below 1 a fraction of all steps", at_least(0));
        field("min_lr_ratio", min_lr_ratio, "share of lr that is left at the end", between(0, 1));
    }
};

}   // namespace trainer
