// Mistakes of export.
#include <gtest/gtest.h>

#include "tests/trainer/mistakes/mistake.h"

namespace trainer::test {
namespace {

TEST(Mistakes, Export) {
    const auto words = [](std::vector<std::string> more) {
        more.insert(more.begin(), {"export", "bitsandbytes"});
        return more;
    };
    check_mistakes({
        {"a folder that is not empty",
         words({"./model", "--out", "./model"}),
         {},
         73,
         "error: --out: ./model is there already and is not an empty folder"},
        {"no such model", words({"./mdel", "--out", "o"}), {}, 66, "error: ./mdel: no such model folder or .gguf file"},
        {"blocks of int8",
         words({"./model", "--out", "o", "--type", "int8", "--block-size", "64"}),
         {},
         64,
         "error: --block-size: int8 has no such choice; leave it out"},
        {"an unknown layer",
         words({"./model", "--out", "o", "--skip", "q_prj"}),
         {},
         64,
         "error: --skip: \"q_prj\" is no linear layer of the model; did you mean \"q_proj\"? it has "
         "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"},
        {"all layers skipped",
         words({"./model", "--out", "o", "--skip", "self_attn.q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                "up_proj", "down_proj"}),
         {},
         64,
         "error: --skip: no weight is left to hold in nf4: skip fewer layers"},
    });
}

}   // namespace
}   // namespace trainer::test
