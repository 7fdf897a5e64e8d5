// Several adapters in the slots of one group: what they do adds up, or multiplies, and low-rank ones stay fused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>

#include "configs/error.h"
#include "models/embedding.h"
#include "models/group.h"
#include "peft/registry.h"
#include "tests/models/random_values.h"

namespace trainer {
namespace {

using test::layout_of;
using test::random_tensor;
using test::randomise;
using test::relative_error;

constexpr std::int64_t in = 24;
const std::vector<LinearSpec> members = {{"one", 16, true}, {"two", 8, true}};

AdapterOptions options_of(std::vector<std::string> targets) {
    AdapterOptions options;
    options.rank = 4;
    options.targets.names = std::move(targets);
    options.feedforward.clear();
    return options;
}

// Both adapters are declared; `first` and `second` say which of them is there.
struct World {
    World(const char* method, bool first, bool second) {
        if (first) attach(method, {"one", "two"}, "style: ");
        if (second) attach(method, {"two"}, "");
        group.prepare(Place::cpu(), DType::f32);
        unsigned seed = 1;
        for (Parameter* parameter : base) randomise(*parameter, seed++);
        for (const auto& parameter : model.parameters.all())   // the same values whoever else is there
            if (!parameter->in_base)
                randomise(*parameter, static_cast<unsigned>(std::hash<std::string>()(parameter->name) % 1000));
    }

    void attach(const char* method, std::vector<std::string> targets, const std::string& name) {
        const ParameterSet::NamesBegin names(model.parameters, name);
        methods.push_back(peft_methods().at(method).make(options_of(std::move(targets))));
        methods.back()->attach(model);
    }

    Tensor run(bool adapters = true) const {
        const Layout layout = layout_of({5, 2});
        return group(random_tensor({7, in}, 30), {layout, false, adapters, Recompute::none});
    }

    Declarations model;
    LinearGroup group{Scope(model) / "layer", in, members};
    std::vector<Parameter*> base = [this] {
        std::vector<Parameter*> all;
        for (const auto& parameter : model.parameters.all()) all.push_back(parameter.get());
        return all;
    }();
    std::vector<std::unique_ptr<PeftMethod>> methods;
};

TEST(SeveralAdapters, LowRankUpdatesAddUpInOneProduct) {
    const World both("lora", true, true), first("lora", true, false), second("lora", false, true);
    const Tensor base = both.run(false), y = both.run(), a = first.run(), b = second.run();
    Tensor expected = Tensor::empty(y.shape(), DType::f32);
    for (std::int64_t i = 0; i < y.elements(); ++i)
        expected.data<float>()[i] = a.data<float>()[i] + b.data<float>()[i] - base.data<float>()[i];
    EXPECT_LT(relative_error(y, expected), 1e-5);
    EXPECT_GT(relative_error(y, a), 0.01);
    EXPECT_GT(relative_error(y, b), 0.01);
    const Layout layout = layout_of({7});
    EXPECT_EQ(both.group.terms({layout}).low_rank.size(), 3u);   // fused: two of the first, one of the second
}

TEST(SeveralAdapters, FactorsMultiply) {
    const World both("ia3", true, true), first("ia3", true, false), second("ia3", false, true);
    const Tensor base = both.run(false), y = both.run(), a = first.run(), b = second.run();
    for (std::int64_t i = 0; i < y.elements(); ++i)
        EXPECT_NEAR(y.data<float>()[i] * base.data<float>()[i], a.data<float>()[i] * b.data<float>()[i],
                    1e-4 * std::max(1.0f, std::abs(a.data<float>()[i] * b.data<float>()[i])))
            << i;
}

TEST(SeveralAdapters, EachHasParametersOfItsOwnName) {
    const World both("lora", true, true);
    EXPECT_NE(both.model.parameters.find("style: base_model.model.layer.two.lora_A.weight"), nullptr);
    EXPECT_NE(both.model.parameters.find("base_model.model.layer.two.lora_A.weight"), nullptr);
    EXPECT_EQ(both.model.parameters.find("base_model.model.layer.one.lora_A.weight"), nullptr);
}

// Rows of an embedding stand in for the base's while adapters are on, in a tied output layer too.
TEST(TrainedTokens, StandInForRowsOfTheEmbeddingAndItsHead) {
    Declarations model;
    Embedding embedding(Scope(model) / "embed_tokens", 12, in);
    LinearGroup group(Scope(model) / "layer", in, members);
    AdapterOptions options = options_of({"one"});
    options.trainable_token_indices.ids = {7, 2};
    const auto method = peft_methods().at("lora").make(options);
    method->attach(model);
    embedding.prepare(Place::cpu(), DType::f32);
    group.prepare(Place::cpu(), DType::f32);
    unsigned seed = 1;
    for (const auto& parameter : model.parameters.all())
        if (parameter->in_base) randomise(*parameter, seed++);
    method->initialise(3);
    Parameter& rows = *model.parameters.find("base_model.model.embed_tokens.token_adapter.trainable_tokens_delta");
    const Tensor ids = Tensor::from<std::int32_t>(std::vector<std::int32_t>{2, 3, 7}, 3);
    const Layout layout = layout_of({3});
    const ForwardContext on{layout, false, true, Recompute::none}, off{layout, false, false, Recompute::none};
    const std::vector<float> before = embedding(ids, off).to_vector<float>();
    EXPECT_EQ(embedding(ids, on).to_vector<float>(), before);   // they start as the base
    std::fill_n(rows.value.data<float>(), rows.value.elements(), 2.0f);
    rows.changed();
    const std::vector<float> after = embedding(ids, on).to_vector<float>();
    EXPECT_EQ(embedding(ids, off).to_vector<float>(), before);
    for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i], i / in == 1 ? before[i] : 2.0f) << i;
    const Tensor x = random_tensor({3, in}, 9);
    const Tensor with = linear(x, embedding.as_head(on), layout, false),
                 without = linear(x, embedding.as_head(off), layout, false);
    for (std::int64_t n = 0; n < 3; ++n)
        for (std::int64_t token = 0; token < 12; ++token) {
            float expected = without.data<float>()[n * 12 + token];
            if (token == 2 || token == 7) {
                expected = 0;
                for (std::int64_t c = 0; c < in; ++c) expected += 2 * x.data<float>()[n * in + c];
            }
            EXPECT_NEAR(with.data<float>()[n * 12 + token], expected, 1e-4);
        }
}

}   // namespace
}   // namespace trainer
