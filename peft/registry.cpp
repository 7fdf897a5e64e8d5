#include "peft/registry.h"

#include <algorithm>
#include <iterator>

#include "peft/ia3.h"
#include "peft/lora.h"
#include "peft/lycoris.h"
#include "peft/oft.h"
#include "peft/vera.h"

namespace trainer {

namespace {

constexpr std::string_view about_lora =
    "Adds s B A to the weight of each adapted layer, A and B being thin matrices of `rank` rows and columns and s = "
    "alpha / rank. Only A and B are trained; B starts at zero, so training starts at the base model. Twice the rank "
    "is twice the adapter. Saved as PEFT's LORA.";

constexpr std::string_view about_rslora =
    "LoRA with s = alpha / sqrt(rank) (`rslora: true`): the update keeps its size as the rank grows, so high ranks "
    "learn as fast as low ones. An alpha chosen for LoRA is too large here; divide it by sqrt(rank).";

constexpr std::string_view about_dora =
    "LoRA that trains the length of each row of the weight apart from its direction (`dora: true`). Often a little "
    "better than LoRA at low ranks; costs the norms of all rows in each step and runs layer by layer.";

constexpr std::string_view about_pissa =
    "LoRA whose A and B start at the largest singular vectors of the weight (`init: pissa`), which then moves most "
    "where it is largest. Starts with one decomposition for each layer, which takes as long as its smaller side "
    "cubed. Saved as a LoRA of twice the rank on the unchanged base.";

constexpr std::string_view about_olora =
    "LoRA whose A and B start at the leading part of the weight's QR decomposition (`init: olora`). Saved as a LoRA "
    "of twice the rank on the unchanged base.";

constexpr std::string_view about_ia3 =
    "Trains one factor for each output of a layer, or, for layers under `feedforward`, for each input: a few thousand "
    "numbers in all. Wants a higher learning rate than LoRA (3e-3 and more). Without `targets` all linear layers "
    "are adapted; PEFT's own choice for such models is [k_proj, v_proj, down_proj].";

constexpr std::string_view about_loha =
    "Adds the product, element by element, of two low-rank matrices to the weight of each adapted layer: an update of "
    "up to rank squared for twice the numbers of LoRA. The update is made as a whole matrix in each pass, which costs "
    "time and, for one layer at a time, memory. Saved as PEFT's LOHA.";

constexpr std::string_view about_lokr =
    "Adds the Kronecker product of two small matrices to the weight of each adapted layer: sqrt(in) by sqrt(out) "
    "numbers or so for each of them, the larger of low rank where `rank` is less than half its side. The update is "
    "made as a whole matrix in each pass. Saved as PEFT's LOKR.";

constexpr std::string_view about_vera =
    "LoRA whose A and B are random, shared by all layers and never trained; each layer trains one factor for each of "
    "the `rank` numbers between them and one for each of its outputs. A tenth of LoRA's numbers and less, at ranks of "
    "256 and more; wants a higher learning rate (1e-2). The random matrices are saved with the adapter. Saved as "
    "PEFT's VERA.";

constexpr std::string_view about_oft =
    "Turns the input of each adapted layer, `oft_block_size` numbers at a time, by a trained matrix that is nearly "
    "orthogonal, so that lengths and angles of what it has learned stay. Starts at the identity; wants a higher "
    "learning rate than LoRA. Saved as PEFT's OFT.";

// The keys that a method reads beside those that all read.
const std::vector<std::string_view> lora_keys = {
    "rank",         "alpha",         "dropout", "layers_to_transform", "layers_pattern",
    "rank_pattern", "alpha_pattern", "bias",    "target_parameters",   "trainable_token_indices",
    "init",         "rslora",        "dora",    "loraplus_lr_ratio"};
// Of a method that is LoRA with one of its keys set.
std::vector<std::string_view> lora_keys_without(std::initializer_list<std::string_view> some) {
    std::vector<std::string_view> keys = lora_keys;
    for (const std::string_view key : some) std::erase(keys, key);
    return keys;
}
const std::vector<std::string_view> loha_keys = {"rank",           "alpha",        "layers_to_transform",
                                                 "layers_pattern", "rank_pattern", "alpha_pattern"};
const std::vector<std::string_view> lokr_keys = {"rank",           "alpha",           "layers_to_transform",
                                                 "layers_pattern", "rank_pattern",    "alpha_pattern",
                                                 "decompose_both", "decompose_factor"};
const std::vector<std::string_view> vera_keys = {"rank", "dropout", "layers_to_transform", "layers_pattern",
                                                 "d_initial"};
const std::vector<std::string_view> oft_keys = {"layers_to_transform", "layers_pattern", "oft_block_size"};
const std::vector<std::string_view> ia3_keys = {"feedforward"};

}   // namespace

bool PeftMethodEntry::reads(std::string_view key) const {
    constexpr std::string_view all[] = {"targets",    "exclude", "modules_to_save", "continue_from",
                                        "other_base", "name",    "beside"};
    return std::find(std::begin(all), std::end(all), key) != std::end(all) ||
           std::find(keys.begin(), keys.end(), key) != keys.end();
}

const Registry<PeftMethodEntry>& peft_methods() {
    static const Registry<PeftMethodEntry> table(
        "adapter method",
        {
            {"lora", "low-rank update of linear layers", {make_lora, lora_keys, about_lora}},
            {"rslora", "LoRA scaled by alpha / sqrt(rank)", {make_rslora, lora_keys_without({"rslora"}), about_rslora}},
            {"dora",
             "LoRA with trained lengths of the weight's rows",
             {make_dora, lora_keys_without({"dora"}), about_dora}},
            {"pissa",
             "LoRA that starts at the largest singular vectors",
             {make_pissa, lora_keys_without({"init", "dora"}), about_pissa}},
            {"olora",
             "LoRA that starts at the QR decomposition",
             {make_olora, lora_keys_without({"init", "dora"}), about_olora}},
            {"loha", "element-wise product of two low-rank updates", {make_loha, loha_keys, about_loha}},
            {"lokr", "Kronecker product of two small matrices", {make_lokr, lokr_keys, about_lokr}},
            {"vera", "trained factors around shared random matrices", {make_vera, vera_keys, about_vera}},
            {"oft", "inputs turned by nearly orthogonal matrices", {make_oft, oft_keys, about_oft}},
            {"ia3", "trained factors of inputs or outputs", {make_ia3, ia3_keys, about_ia3}},
        });
    return table;
}

}   // namespace trainer
