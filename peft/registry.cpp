#include "peft/registry.h"

#include "peft/lora.h"

namespace trainer {

const Registry<MakePeftMethod>& peft_methods() {
    static const Registry<MakePeftMethod> table("adapter method",
                                                {
                                                    {"lora", "low-rank update of linear layers", make_lora},
                                                });
    return table;
}

}   // namespace trainer
