// Adapter method, format of the base, precision, optimizer and recomputation go together in any way: every pair of
// their values occurs in a run that learns, and that ends in the same bits when it is stopped and resumed; or the
// combination is refused with its reason.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <set>

#include "configs/json.h"
#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

struct Choice {
    const char* name;
    Words overrides;
    Words preparation = {};   // a command before the runs
};

struct Axis {
    const char* name;
    std::vector<Choice> choices;
};

constexpr std::size_t axis_count = 5;

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
          {"schedule_free_adamw", {"optimizer={name: schedule_free_adamw, lr: 5e-3}"}}}},
        {"recompute", {{"none", {}}, {"norms", {"training.recompute=norms"}}, {"block", {"training.recompute=block"}}}},
    }};
    return all;
}

using Combination = std::array<std::size_t, axis_count>;   // index of a choice for each axis

std::vector<Combination> every_combination() {
    std::vector<Combination> all = {{}};
    for (std::size_t axis = 0; axis < axis_count; ++axis) {
        std::vector<Combination> longer;
        for (Combination one : all)
            for (one[axis] = 0; one[axis] < axes()[axis].choices.size(); ++one[axis]) longer.push_back(one);
        all = std::move(longer);
    }
    return all;
}

using Pair = std::array<std::size_t, 4>;   // axis and choice, twice

std::set<Pair> pairs_of(const Combination& one) {
    std::set<Pair> pairs;
    for (std::size_t a = 0; a < axis_count; ++a)
        for (std::size_t b = a + 1; b < axis_count; ++b) pairs.insert({a, one[a], b, one[b]});
    return pairs;
}

// Why a combination cannot work; "" when it can.
std::string refusal(const Combination& one) {
    const bool full = one[0] == 0, quantised = one[1] != 0;
    if (full && quantised) return "quantised weights are frozen and cannot be trained";
    const bool f32 = one[2] == 0, values_in_bf16 = one[3] == 1;
    return f32 && values_in_bf16 ? "an f32 copy of every bf16 weight would be kept" : "";
}

// Few of the combinations in which every pair of choices of two axes occurs that is in any: always the one with most
// new pairs.
std::vector<Combination> covering(const std::vector<Combination>& all) {
    std::set<Pair> missing;
    for (const Combination& one : all) missing.merge(pairs_of(one));
    std::vector<Combination> chosen;
    while (!missing.empty()) {
        std::size_t most = 0;
        const Combination* best = nullptr;
        for (const Combination& one : all) {
            std::size_t fresh = 0;
            for (const Pair& pair : pairs_of(one)) fresh += missing.count(pair);
            if (fresh <= most) continue;
            most = fresh;
            best = &one;
        }
        chosen.push_back(*best);
        for (const Pair& pair : pairs_of(*best)) missing.erase(pair);
    }
    return chosen;
}

// Of those that work and of those that are refused.
std::vector<Combination> covering_array() {
    std::vector<Combination> working, refused;
    for (const Combination& one : every_combination()) (refusal(one).empty() ? working : refused).push_back(one);
    std::vector<Combination> all = covering(working);
    for (const Combination& one : covering(refused)) all.push_back(one);
    return all;
}

std::string name_of(const Combination& one) {
    std::string name;
    for (std::size_t axis = 0; axis < axis_count; ++axis)
        name += (name.empty() ? "" : "_") + std::string(axes()[axis].choices[one[axis]].name);
    return name;
}

class Combinations : public testing::TestWithParam<Combination> {};

TEST_P(Combinations, LearnAndAreResumedOrRefused) {
    Words overrides = {"schedule={name: constant, warmup: 0}"};
    for (std::size_t axis = 0; axis < axis_count; ++axis)
        for (const std::string& one : axes()[axis].choices[GetParam()[axis]].overrides) overrides.push_back(one);
    const PromiseProject project(overrides);
    for (std::size_t axis = 0; axis < axis_count; ++axis)
        if (const Words& words = axes()[axis].choices[GetParam()[axis]].preparation; !words.empty()) {
            const ProgramResult prepared = run_program(words, project.path());
            ASSERT_EQ(prepared.code, 0) << prepared.err;
        }
    if (const std::string reason = refusal(GetParam()); !reason.empty()) {
        const ProgramResult result = project.run("refused");
        EXPECT_EQ(result.code, 78);
        EXPECT_NE(result.err.find(reason), std::string::npos) << result.err;
        return;
    }
    const RunResult expected = project.finish("straight");
    ASSERT_FALSE(expected.empty());
    std::vector<double> losses;
    for (const std::string& text : metrics_lines(project / "straight"))
        if (const Node* loss = parse_json(text, "metrics").find("eval_loss")) losses.push_back(loss->as_number());
    ASSERT_GE(losses.size(), 2u);
    EXPECT_LT(losses.back(), losses.front());

    const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    expect_same(project.finish("stopped", {"--resume"}), expected);
}

std::string name_of_case(const testing::TestParamInfo<Combination>& one) { return name_of(one.param); }

INSTANTIATE_TEST_SUITE_P(Pairwise, Combinations, testing::ValuesIn(covering_array()), name_of_case);

}   // namespace
}   // namespace trainer::test
