#include "optim/registry.h"

#include "optim/adamw.h"

namespace trainer {

const Registry<MakeOptimizer>& optimizers() {
    static const Registry<MakeOptimizer> table("optimizer",
                                               {
                                                   {"adamw", "Adam with decoupled weight decay, f32 state", make_adamw},
                                               });
    return table;
}

}   // namespace trainer
