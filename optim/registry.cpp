#include "optim/registry.h"

#include "optim/adafactor.h"
#include "optim/adamw.h"
#include "optim/adamw_8bit.h"
#include "optim/ademamix.h"
#include "optim/apollo.h"
#include "optim/lion.h"
#include "optim/muon.h"
#include "optim/optimizer_options.h"
#include "optim/schedule_free_adamw.h"
#include "optim/sgd.h"

namespace trainer {

namespace {

template <typename Options>
using Make = std::unique_ptr<Optimizer> (*)(const Options& options, const std::vector<UpdatedSlice>& slices);

// `lr`: when the recipe gives none; `whole`: why the rule needs whole parameters.
template <typename Options, Make<Options> make>
OptimizerRule rule(double lr, std::string_view whole = {}) {
    const auto erased = [](const AnyFields& options, const std::vector<UpdatedSlice>& slices) {
        return make(options.as<Options>(), slices);
    };
    return {lr, AnyFields(Options()), erased, whole};
}

constexpr std::string_view apollo_whole = "it projects the gradient of a whole matrix";

}   // namespace

const Registry<OptimizerRule>& optimizers() {
    static const Registry<OptimizerRule> table(
        "optimizer",
        {
            {"adamw", "Adam with decoupled weight decay, two f32 state tensors", rule<AdamWOptions, make_adamw>(2e-4)},
            {"adamw_8bit", "AdamW with state of 8 bits in blocks of 256, as bitsandbytes keeps it",
             rule<AdamWOptions, make_adamw_8bit>(2e-4)},
            {"ademamix", "AdamW with a second mean of gradients that forgets slowly, three f32 state tensors",
             rule<AdemamixOptions, make_ademamix>(2e-4)},
            {"sgd", "gradient descent with momentum", rule<SgdOptions, make_sgd>(1e-2)},
            {"lion", "the sign of a running mean, one f32 state tensor", rule<LionOptions, make_lion>(5e-5)},
            {"adafactor", "second means of rows and columns only, hardly any state",
             rule<AdafactorOptions, make_adafactor>(1e-3, "it takes means over the rows and columns of a matrix")},
            {"muon", "orthogonal updates of matrices, AdamW for the rest",
             rule<MuonOptions, make_muon>(2e-2, "it makes the update of a matrix orthogonal as a whole")},
            {"apollo",
             "gradients of matrices scaled as AdamW would a random projection of low rank, AdamW for the rest",
             rule<ApolloOptions, make_apollo>(1e-3, apollo_whole)},
            {"apollo_mini", "APOLLO of rank 1 with one factor for a matrix, hardly any state",
             rule<ApolloMiniOptions, make_apollo_mini>(1e-3, apollo_whole)},
            {"schedule_free_adamw", "AdamW that averages its steps instead of lowering the rate",
             rule<ScheduleFreeOptions, make_schedule_free_adamw>(1e-3)},
        });
    return table;
}

std::vector<std::string> optimizer_names() { return optimizers().names(); }

}   // namespace trainer
