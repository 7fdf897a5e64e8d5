#include "tests/trainer/promises/combinations.h"

#include "configs/error.h"

namespace trainer::test {

namespace {

constexpr std::size_t most_choices = 16;   // of an axis

std::vector<Combination> every_combination() {
    std::vector<Combination> all = {{}};
    for (std::size_t axis = 0; axis < axis_count; ++axis) {
        check(axes()[axis].choices.size() <= most_choices, "combinations: axis {} is too long", axes()[axis].name);
        std::vector<Combination> longer;
        for (Combination one : all)
            for (one[axis] = 0; one[axis] < axes()[axis].choices.size(); ++one[axis]) longer.push_back(one);
        all = std::move(longer);
    }
    return all;
}

constexpr std::size_t pair_count = axis_count * axis_count * most_choices * most_choices;
constexpr std::size_t pairs_of_one = axis_count * (axis_count - 1) / 2;

// A number for each pair of choices in it.
std::array<std::size_t, pairs_of_one> pairs_of(const Combination& one) {
    std::array<std::size_t, pairs_of_one> pairs{};
    std::size_t count = 0;
    for (std::size_t a = 0; a < axis_count; ++a)
        for (std::size_t b = a + 1; b < axis_count; ++b)
            pairs[count++] = ((a * axis_count + b) * most_choices + one[a]) * most_choices + one[b];
    return pairs;
}

// Always the one with most new pairs.
std::vector<Combination> covering(const std::vector<Combination>& all) {
    std::vector<char> missing(pair_count);
    for (const Combination& one : all)
        for (const std::size_t pair : pairs_of(one)) missing[pair] = 1;
    std::vector<Combination> chosen;
    for (;;) {
        std::size_t most = 0;
        const Combination* best = nullptr;
        for (const Combination& one : all) {
            std::size_t fresh = 0;
            for (const std::size_t pair : pairs_of(one)) fresh += static_cast<std::size_t>(missing[pair]);
            if (fresh <= most) continue;
            most = fresh;
            best = &one;
        }
        if (!best) return chosen;
        chosen.push_back(*best);
        for (const std::size_t pair : pairs_of(*best)) missing[pair] = 0;
    }
}

}   // namespace

const std::array<Axis, axis_count>& axes() {
    static const std::array<Axis, axis_count> all = {{
        {"method",
         {{"full", {"peft=null", "training.determinism=strict"}},
          {"lora", {}},
          {"rslora", {"peft.method=rslora"}},
          {"dora", {"peft.method=dora"}},
          {"pissa", {"peft.method=pissa"}},
          {"olora", {"peft.method=olora"}},
          {"ia3", {"peft={method: ia3}"}},
          {"loha", {"peft={method: loha, rank: 4}"}},
          {"lokr", {"peft={method: lokr, rank: 2}"}},
          {"vera", {"peft={method: vera, rank: 32, d_initial: 0.5}"}},
          {"oft", {"peft={method: oft, oft_block_size: 8}"}},
          {"tokens", {"peft={method: lora, rank: 4, trainable_token_indices: [35, 14, 2]}"}}}},
        {"base",
         {{"plain", {}},
          {"nf4", {"model.quantize=nf4"}},
          {"fp4", {"model.quantize={format: fp4, double_quant: false, skip: [v_proj]}"}},
          {"int8", {"model.quantize={format: int8, embeddings: int8}"}},
          {"fp8", {"model.quantize={format: fp8, block_size: 32}"}},
          {"stored",
           {"model.base=compressed", "model.quantize=stored"},
           {"export", "bitsandbytes", "model", "--out", "compressed"}}}},
        {"precision", {{"f32", {"training.precision=f32"}}, {"bf16", {"training.precision=bf16"}}}},
        {"optimizer",
         {{"adamw", {"optimizer={name: adamw, lr: 5e-3}"}},
          {"adamw_bf16", {"optimizer={name: adamw, lr: 5e-3, master: bf16}"}},
          {"adamw_8bit", {"optimizer={name: adamw_8bit, lr: 5e-3}"}},
          {"ademamix", {"optimizer={name: ademamix, lr: 3e-3, beta3_warmup: 6}"}},
          {"sgd", {"optimizer={name: sgd, lr: 0.5, momentum: 0.9}"}},
          {"lion", {"optimizer={name: lion, lr: 2e-3}"}},
          {"adafactor", {"optimizer={name: adafactor, lr: 1e-2}"}},
          {"muon", {"optimizer={name: muon, lr: 1e-2}"}},
          {"apollo", {"optimizer={name: apollo, lr: 1e-2, rank: 8, renew_every: 2}"}},
          {"apollo_mini", {"optimizer={name: apollo_mini, lr: 1e-3, renew_every: 2}"}},
          {"schedule_free_adamw", {"optimizer={name: schedule_free_adamw, lr: 5e-3}"}}}},
        {"memory",
         {{"none", {}},
          {"norms", {"training.recompute=norms"}},
          {"block", {"training.recompute=block"}},
          {"block_offloaded", {"training.recompute=block", "training.offload=activations"}},
          {"optimizer_offloaded", {"training.offload=optimizer"}},
          {"mlp_chunk", {"training.mlp_chunk=50"}},
          {"recompute_auto", {"training.recompute=auto"}},
          {"micro_batch_auto", {"training.micro_batch=auto"}},
          {"in_backward", {"optimizer.in_backward=true", "training.micro_batch=9", "training.clip_norm=0"}}}},
    }};
    return all;
}

const Choice& choice_of(const Combination& one, std::size_t axis) { return axes()[axis].choices[one[axis]]; }

std::string name_of(const Combination& one) {
    std::string name;
    for (std::size_t axis = 0; axis < axis_count; ++axis)
        name += (name.empty() ? "" : "_") + std::string(choice_of(one, axis).name);
    return name;
}

std::string refusal(const Combination& one) {
    const bool full = one[0] == 0, quantised = one[1] != 0, in_backward = one[4] == 8;
    if (full && quantised) return "quantised weights are frozen and cannot be trained";
    const bool f32 = one[2] == 0, values_in_bf16 = one[3] == 1;
    if (!full && in_backward) return "an adapter's gradients are small, and there is little to save";
    return f32 && values_in_bf16 ? "an f32 copy of every bf16 weight would be kept" : "";
}

std::vector<Combination> covering_array() {
    std::vector<Combination> working, refused;
    for (const Combination& one : every_combination()) (refusal(one).empty() ? working : refused).push_back(one);
    std::vector<Combination> all = covering(working);
    for (const Combination& one : covering(refused)) all.push_back(one);
    return all;
}

}   // namespace trainer::test
