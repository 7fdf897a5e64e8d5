#include "trainer/objectives/registry.h"

#include "trainer/objectives/next_token.h"

namespace trainer {

const Registry<MakeObjective>& objectives() {
    static const Registry<MakeObjective> table(
        "task", {
                    {"sft", "supervised fine-tuning: cross-entropy of the trained tokens", make_next_token},
                });
    return table;
}

}   // namespace trainer
