#include "peft/lora.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "configs/error.h"
#include "models/group.h"
#include "peft/registry.h"

namespace trainer {
namespace {

AdapterOptions options(std::vector<std::string> targets, std::int64_t rank = 8) {
    AdapterOptions out;
    out.rank = rank;
    out.targets.names = std::move(targets);
    return out;
}

// q_proj and v_proj of one layer with the adapters attached and initialised.
class World {
public:
    explicit World(const AdapterOptions& chosen, std::uint64_t seed = 1)
        : group(Scope(model) / "model" / "layers" / 0 / "self_attn", 64, {{"q_proj", 48}, {"v_proj", 16}}),
          method(make_lora(chosen)) {
        model.linears.front()->weight->trainable = true;   // attach freezes
        method->attach(model);
        group.prepare(Place::cpu(), DType::f32);
        method->initialise(seed);
    }

    std::map<std::string, std::vector<float>> values() const {
        std::map<std::string, std::vector<float>> out;
        for (const Parameter* parameter : method->parameters())
            out[parameter->name] = parameter->value.to_vector<float>();
        return out;
    }

    Declarations model;
    LinearGroup group;
    std::unique_ptr<PeftMethod> method;
};

const std::string q_a = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const std::string q_b = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
const std::string v_a = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight";

TEST(Lora, DeclaresParametersByPeftsNames) {
    const World world(options({"q_proj", "v_proj"}, 4));
    std::vector<std::string> trainable;
    for (const Parameter* parameter : world.model.parameters.trainable()) trainable.push_back(parameter->name);
    EXPECT_EQ(trainable, (std::vector<std::string>{q_a, q_b, v_a,
                                                   "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"}));
    const std::vector<Parameter*>& trained = world.method->parameters();
    ASSERT_EQ(trained.size(), 4u);
    EXPECT_EQ(trained[0]->shape, Shape(4, 64));
    EXPECT_EQ(trained[1]->shape, Shape(48, 4));
    EXPECT_EQ(trained[0]->value.dtype(), DType::f32);
    EXPECT_FALSE(trained[0]->in_base);
    EXPECT_TRUE(trained[0]->decay);
    EXPECT_TRUE(world.model.linears.front()->weight->in_base);
    EXPECT_FALSE(world.model.linears.front()->weight->trainable);
}

TEST(Lora, AIsUniformWithinTheBoundAndBIsZero) {
    const World world(options({"q_proj"}, 64));
    const auto values = world.values();
    const double bound = 1 / std::sqrt(64.0);
    double sum = 0;
    double squares = 0;
    double largest = 0;
    for (float value : values.at(q_a)) {
        EXPECT_LE(std::abs(value), bound);
        largest = std::max<double>(largest, std::abs(value));
        sum += value;
        squares += static_cast<double>(value) * value;
    }
    const double count = 64 * 64;
    EXPECT_GT(largest, 0.99 * bound);
    EXPECT_NEAR(sum / count, 0, 5 * bound / std::sqrt(3 * count));
    EXPECT_NEAR(squares / count / (bound * bound / 3), 1, 0.1);
    EXPECT_EQ(values.at(q_b), std::vector<float>(48 * 64));
}

TEST(Lora, InitialisationIsKeyedBySeedAndName) {
    const auto alone = World(options({"v_proj"})).values();
    const auto both = World(options({"q_proj", "v_proj"})).values();
    EXPECT_EQ(alone.at(v_a), both.at(v_a));   // another target changes nothing
    EXPECT_NE(both.at(q_a), both.at(v_a));
    EXPECT_NE(World(options({"v_proj"}), 2).values().at(v_a), alone.at(v_a));
    const int before = omp_get_max_threads();
    omp_set_num_threads(before == 1 ? 2 : 1);
    EXPECT_EQ(World(options({"v_proj"})).values(), alone);
    omp_set_num_threads(before);
}

TEST(Lora, TheFormSaysWhatIsComputed) {
    AdapterOptions chosen = options({"q_proj"}, 4);
    chosen.alpha = 6;
    chosen.dropout = 0.25;
    const World world(chosen);
    const AdapterForm form = world.model.linears.front()->adapters.front()->form();
    const auto& low = std::get<LowRank>(form);
    EXPECT_EQ(low.scale, 1.5f);
    EXPECT_EQ(low.dropout, 0.25f);
    EXPECT_EQ(low.a->name, q_a);
    EXPECT_EQ(low.b->name, q_b);
    EXPECT_TRUE(world.model.linears[1]->adapters.empty());
    // each module draws its own mask
    const World both(options({"q_proj", "v_proj"}));
    EXPECT_NE(std::get<LowRank>(both.model.linears[0]->adapters.front()->form()).site,
              std::get<LowRank>(both.model.linears[1]->adapters.front()->form()).site);
}

TEST(Lora, StartsAsTheBaseModel) {
    const World world(options({"q_proj", "v_proj"}));
    for (const auto& linear : world.model.linears) {
        std::vector<float> weight(static_cast<std::size_t>(linear->weight->shape.elements()));
        for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = std::sin(static_cast<float>(i));
        Tensor from = Tensor::from<float>(weight, linear->weight->shape);
        copy(from, linear->weight->value);
        linear->weight->changed();
    }
    std::vector<float> x(3 * 64);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(i));
    const Tensor input = Tensor::from<float>(x, {3, 64});
    Layout layout;
    layout.offsets = {0, 3};
    EXPECT_EQ(world.group(input, {layout}).to_vector<float>(),
              world.group(input, {.layout = layout, .adapters = false}).to_vector<float>());
}

TEST(Lora, IsInTheTable) { EXPECT_EQ(peft_methods().at("lora").make, &make_lora); }

}   // namespace
}   // namespace trainer
