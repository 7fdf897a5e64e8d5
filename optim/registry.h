#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "configs/any_fields.h"
#include "configs/registry.h"
#include "optim/optimizer.h"

namespace trainer {

struct OptimizerRule {
    double lr;           // when the recipe gives none
    AnyFields options;   // the rule's own, as they are when the recipe gives none
    std::unique_ptr<Optimizer> (*make)(const AnyFields& options, const std::vector<UpdatedSlice>& slices);
    std::string_view needs_whole_parameters = {};   // why it cannot update parts of them; "" when it can
};

const Registry<OptimizerRule>& optimizers();

}   // namespace trainer
