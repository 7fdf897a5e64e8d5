#include "optim/optimizer_options.h"

#include <algorithm>
#include <regex>
#include <set>

#include "configs/error.h"
#include "optim/expression.h"
#include "optim/registry.h"

namespace trainer {

namespace {

// The groups' expressions, compiled once.
class Groups {
public:
    explicit Groups(const std::vector<OptimizerGroup>& groups) : groups_(groups) {
        for (const OptimizerGroup& group : groups)
            expressions_.push_back(compiled_expression(group.match, "optimizer.groups"));
    }

    bool matches(std::size_t group, const std::string& name) const {
        return std::regex_match(name, expressions_[group]);
    }
    // The index of the first group that matches, or their number.
    std::size_t of(const std::string& name) const {
        std::size_t group = 0;
        while (group < expressions_.size() && !matches(group, name)) ++group;
        return group;
    }

private:
    const std::vector<OptimizerGroup>& groups_;
    std::vector<std::regex> expressions_;
};

}   // namespace

void OptimizerOptions::choose(const std::string& choice) {
    const OptimizerRule* found = optimizers().find(choice);
    if (!found) return;   // complained about already
    name = choice;
    chosen_ = choice;
    lr = found->lr;
    rule = found->options;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const std::vector<ParameterSlice>& slices,
                                          std::uint64_t seed) {
    const Groups groups(options.groups);
    const std::string_view whole = why_whole_parameters(options);
    std::vector<UpdatedSlice> updated;
    for (const ParameterSlice& slice : slices) {
        check(whole.empty() || slice.elements() == slice.parameter->shape.elements(),
              "optimizer {} is given a part of {}: {}", options.name, slice.parameter->name, whole);
        UpdatedSlice& one =
            updated.emplace_back(UpdatedSlice{slice, 1, slice.parameter->decay ? options.weight_decay : 0.0});
        const std::size_t index = groups.of(slice.parameter->name);
        if (index == options.groups.size()) continue;
        const OptimizerGroup& group = options.groups[index];
        if (group.lr) one.rate = *group.lr / options.lr;
        if (group.weight_decay) one.weight_decay = *group.weight_decay;
    }
    auto optimizer = optimizers().at(options.name).make(options.rule, updated);
    optimizer->set_seed(seed);
    return optimizer;
}

void check_groups(const std::vector<OptimizerGroup>& groups, const std::vector<Parameter*>& trainable) {
    const Groups compiled(groups);
    std::vector<std::string> names;
    for (const Parameter* parameter : trainable) names.push_back(parameter->name);
    std::set<std::size_t> used;
    for (const std::string& name : names) used.insert(compiled.of(name));
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (used.contains(i)) continue;
        const bool shadowed =
            std::any_of(names.begin(), names.end(), [&](const std::string& name) { return compiled.matches(i, name); });
        require(!shadowed, Exit::bad_recipe,
                "optimizer.groups.{}: \"{}\" matches only parameters that a group before it matches; the first counts",
                i, groups[i].match);
        const std::string near = nearest(groups[i].match, names);
        fail(Exit::bad_recipe, "optimizer.groups.{}: \"{}\" matches no trained parameter as a whole name, such as {}",
             i, groups[i].match, near.empty() ? names.front() + " or " + names.back() : near);
    }
}

std::string_view why_whole_parameters(const OptimizerOptions& options) {
    return optimizers().at(options.name).needs_whole_parameters;
}

}   // namespace trainer
