#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "configs/any_fields.h"
#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

// Parameters with a learning rate or weight decay of their own.
struct OptimizerGroup {
    std::string match;
    std::optional<double> lr;
    std::optional<double> weight_decay;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("match", match, "regular expression that the whole name of a parameter must match", required(),
              not_empty());
        field("lr", lr,
              "their learning rate, multiplied by the parameter's own factor as that of all is; null: that of all",
              above(0));
        field("weight_decay", weight_decay, "their weight decay, biases and norms included; null: that of all",
              at_least(0));
    }
};

std::vector<std::string> optimizer_names();   // in optim/registry.cpp

// What trained values are kept in.
enum class Master { f32, bf16 };

template <>
struct EnumTable<Master> {
    static constexpr std::pair<std::string_view, Master> names[] = {{"f32", Master::f32}, {"bf16", Master::bf16}};
};

// The section `optimizer` of a recipe: what all rules have, and what the chosen one has besides.
struct OptimizerOptions {
    OptimizerOptions() { choose("adamw"); }

    std::string name;
    double lr = 0;
    double weight_decay = 0;
    Master master = Master::f32;
    bool in_backward = false;
    AnyFields rule{OptimizerGroup()};   // of the type that the rule's maker takes
    std::vector<OptimizerGroup> groups;

    static std::vector<std::string> choices() { return optimizer_names(); }
    void choose(const std::string& choice);

    template <typename Visitor>
    void fields(Visitor& field) {
        field("name", name, "the rule", one_of(optimizer_names));
        if (name != chosen_) choose(name);
        field("lr", lr, "learning rate at its highest, after warm-up", above(0));
        field("weight_decay", weight_decay, "decay per step and learning rate; biases and norms are not decayed",
              at_least(0));
        rule.fields(field);
        field("groups", groups, "parameters with a rate or decay of their own; the first that matches a name counts");
        field("master", master,
              "what trained weights are kept in: f32, or bf16 with updates that are rounded stochastically");
        field("in_backward", in_backward,
              "update each block in the backward pass as soon as its gradients are complete, and free them");
        field.later("state", "the rule's name says how its state is kept");
    }

private:
    std::string chosen_;
};

// The rule over these slices; `seed` as in Optimizer::set_seed. Error(bad_recipe) for groups as below.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const std::vector<ParameterSlice>& slices,
                                          std::uint64_t seed = 0);

// Error(bad_recipe) when a group is no regular expression or matches none of these parameters that no group before it
// matches.
void check_groups(const std::vector<OptimizerGroup>& groups, const std::vector<Parameter*>& trainable);

// Whether the rule cannot work on parts of parameters (training.sharding), with the reason; "" when it can.
std::string_view why_whole_parameters(const OptimizerOptions& options);

}   // namespace trainer
