// Every method on a group of three: what it starts as, without its adapters, and beside the members run one by one.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <functional>

#include "autograd/memory.h"
#include "autograd/tape.h"
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
const std::vector<LinearSpec> members = {{"one", 16, true}, {"two", 8, true}, {"three", 12, true}};

struct Method {
    std::string name;
    std::vector<std::string> targets = {"one", "two"};
    std::vector<std::string> feedforward = {};
    double dropout = 0;
    TrainedBias bias = TrainedBias::none;
    std::vector<std::string> saved = {};
};

std::ostream& operator<<(std::ostream& out, const Method& method) {
    return out << method.name << (method.feedforward.empty() ? "" : " of inputs")
               << (method.dropout > 0 ? " with dropout" : "")
               << (method.bias == TrainedBias::none ? "" : " with biases");
}

AdapterOptions options_of(const Method& method) {
    AdapterOptions options;
    options.rank = 4;
    options.alpha = 6;
    options.dropout = method.dropout;
    options.targets.names = method.targets;
    options.feedforward = method.feedforward;
    options.bias = method.bias;
    options.modules_to_save = method.saved;
    return options;
}

// The members that are asked for, as one group, under one method.
class World {
public:
    World(const Method& method, const std::vector<LinearSpec>& chosen) {
        group = std::make_unique<LinearGroup>(Scope(model) / "layer", in, chosen);
        Method here = method;
        const auto gone = [&](const std::string& name) {
            return std::none_of(chosen.begin(), chosen.end(), [&](const LinearSpec& one) { return one.name == name; });
        };
        for (auto* list : {&here.targets, &here.feedforward, &here.saved})
            list->erase(std::remove_if(list->begin(), list->end(), gone), list->end());
        for (const auto& parameter : model.parameters.all()) base.push_back(parameter.get());
        for (Parameter* parameter : base) parameter->trainable = false;
        if (!here.targets.empty()) {
            adapters = peft_methods().at(method.name).make(options_of(here));
            adapters->attach(model);
        }
        group->prepare(Place::cpu(), DType::f32);
        for (Parameter* parameter : base) randomise(*parameter, static_cast<unsigned>(site_of(parameter->name)));
        if (adapters) adapters->initialise(3);
    }

    void perturb() {
        for (Parameter* parameter : adapters ? adapters->parameters() : std::vector<Parameter*>()) {
            const Tensor change =
                random_tensor(parameter->shape, static_cast<unsigned>(site_of(parameter->name)), 0.2f);
            for (std::int64_t i = 0; i < change.elements(); ++i)
                parameter->value.data<float>()[i] += change.data<float>()[i];
            parameter->changed();
        }
    }

    // y, and with `seed` the gradients; the input's is returned.
    Tensor run(bool training, bool with_adapters, Tensor* dx = nullptr, const Tensor& seed = {}) {
        const Layout layout = layout_of({5, 2});
        Tensor x = random_tensor({7, in}, 30);
        Tape tape;
        if (dx) tape.want(x);
        Tensor y;
        {
            const Recording record(tape);
            y = (*group)(x, {layout, training, with_adapters, Recompute::none});
        }
        if (!dx) return y;
        tape.backward(y, seed);
        *dx = tape.gradient(x);
        return y;
    }

    Declarations model;
    std::unique_ptr<LinearGroup> group;
    std::unique_ptr<PeftMethod> adapters;
    std::vector<Parameter*> base;

private:
    static std::size_t site_of(const std::string& name) { return std::hash<std::string>()(name) % 100000; }
};

class Forms : public ::testing::TestWithParam<Method> {};
class OneByOne : public Forms {};

TEST_P(Forms, StartAsTheBase) {
    World world(GetParam(), members);
    EXPECT_LT(relative_error(world.run(false, true), world.run(false, false)), 5e-6);
}

TEST_P(Forms, WithoutAdaptersItIsTheBase) {
    World world(GetParam(), members);
    const std::vector<float> before = world.run(false, false).to_vector<float>();
    world.perturb();
    EXPECT_EQ(world.run(true, false).to_vector<float>(), before);
    EXPECT_GT(relative_error(world.run(false, true), world.run(false, false)), 0.01);
}

TEST_P(OneByOne, TheGroupEqualsItsMembers) {
    World together(GetParam(), members);
    together.perturb();
    const Tensor seed = random_tensor({7, 36}, 31);
    Tensor dx;
    const Tensor y = together.run(true, true, &dx, seed);
    Tensor sum;
    std::int64_t column = 0;
    std::size_t compared = 0;
    for (const LinearSpec& member : members) {
        World alone(GetParam(), {member});
        alone.perturb();
        Tensor part;
        Tensor own_seed = Tensor::empty({7, member.out}, DType::f32);
        copy(seed.column_range(column, column + member.out), own_seed);
        const Tensor own = alone.run(true, true, &part, own_seed);
        EXPECT_LT(relative_error(y.column_range(column, column + member.out), own), 1e-5) << member.name;
        if (!sum.defined()) sum = Tensor::zeros(part.shape(), DType::f32);
        for (std::int64_t i = 0; i < part.elements(); ++i) sum.data<float>()[i] += part.data<float>()[i];
        for (const Parameter* parameter : alone.model.parameters.trainable()) {
            const Parameter* other = together.model.parameters.find(parameter->name);
            ASSERT_NE(other, nullptr) << parameter->name;
            ASSERT_TRUE(other->gradient.defined()) << parameter->name;
            EXPECT_LT(relative_error(other->gradient, parameter->gradient), 1e-5) << parameter->name;
            ++compared;
        }
        column += member.out;
    }
    EXPECT_LT(relative_error(dx, sum), 1e-5);
    EXPECT_EQ(compared, together.model.parameters.trainable().size());
}

TEST_P(Forms, ThreadsChangeNoBit) {
    const int before = omp_get_max_threads();
    std::vector<std::vector<float>> results;
    for (int threads : {1, 3}) {
        omp_set_num_threads(threads);
        World world(GetParam(), members);
        world.perturb();
        Tensor dx;
        results.push_back(world.run(true, true, &dx, random_tensor({7, 36}, 31)).to_vector<float>());
        results.push_back(dx.to_vector<float>());
        for (const Parameter* parameter : world.adapters->parameters()) {
            results.push_back(parameter->value.to_vector<float>());
            results.push_back(parameter->gradient.to_vector<float>());
        }
    }
    omp_set_num_threads(before);
    const std::size_t half = results.size() / 2;
    for (std::size_t i = 0; i < half; ++i) EXPECT_EQ(results[i], results[half + i]) << i;
}

const auto plain = ::testing::Values(
    Method{"lora"}, Method{"lora", {"one", "three"}, {}, 0.25, TrainedBias::lora_only}, Method{"rslora"},
    Method{"dora"}, Method{"dora", {"one", "three"}, {}, 0.25, TrainedBias::lora_only}, Method{"pissa"},
    Method{"pissa", {"one"}, {}, 0.25}, Method{"olora"}, Method{"ia3"}, Method{"ia3", {"one", "two"}, {"two"}},
    Method{"loha"}, Method{"lokr"}, Method{"vera"}, Method{"vera", {"one", "three"}, {}, 0.25}, Method{"oft"});
INSTANTIATE_TEST_SUITE_P(Methods, Forms, plain);
INSTANTIATE_TEST_SUITE_P(Methods, OneByOne, plain);
INSTANTIATE_TEST_SUITE_P(WithACopy, Forms,
                         ::testing::Values(Method{"lora", {"one"}, {}, 0, TrainedBias::none, {"three"}},
                                           Method{"ia3", {"one"}, {}, 0, TrainedBias::none, {"two"}}));

// What PiSSA starts at is the best approximation of its rank; OLoRA's B has orthonormal columns.
TEST(Init, TakesTheLeadingPartOfTheWeight) {
    for (const char* name : {"pissa", "olora"}) {
        World world({name, {"one"}}, members);
        const LowRank low = std::get<LowRank>(world.model.linears[0]->adapters.front()->form());
        EXPECT_EQ(low.initial_a->value.to_vector<float>(), low.a->value.to_vector<float>());
        double length = 0;
        for (const float value : low.a->value.to_vector<float>()) length += static_cast<double>(value) * value;
        EXPECT_GT(length, 1) << name;
        // saved as twice the rank, on the base as it is
        const std::vector<AdapterTensor> tensors =
            world.adapters->tensors([](const Parameter& parameter) { return parameter.value.data<float>(); });
        EXPECT_EQ(tensors[0].shape, (FileShape{8, in}));
        EXPECT_EQ(tensors[1].shape, (FileShape{16, 8}));
        EXPECT_EQ(world.adapters->config().rank, 8);
        EXPECT_EQ(world.adapters->config().alpha, 12);
        for (std::int64_t o = 0; o < 16; ++o)   // B' A' = B A − B₀ A₀ = 0 at the start
            for (std::int64_t i = 0; i < in; ++i) {
                double sum = 0;
                for (std::int64_t k = 0; k < 8; ++k)
                    sum += static_cast<double>(tensors[1].made[static_cast<std::size_t>(o * 8 + k)]) *
                           static_cast<double>(tensors[0].made[static_cast<std::size_t>(k * in + i)]);
                EXPECT_NEAR(sum, 0, 1e-6);
            }
    }
}

std::string refusal(const AdapterOptions& options, const char* method = "lora") {
    Declarations model;
    LinearGroup group(Scope(model) / "layer", in, members);
    LinearGroup head(Scope(model), in, {{"lm_head", 32}});
    Embedding embedding(Scope(model) / "embed_tokens", 32, in);
    try {
        peft_methods().at(method).make(options)->attach(model);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_recipe);
        return error.what();
    }
    return "";
}

TEST(Combinations, ThatCannotWorkAreRefusedWithTheReason) {
    const auto with = [](const std::function<void(AdapterOptions&)>& change) {
        AdapterOptions options;
        options.rank = 4;
        options.targets.names = {"one"};
        change(options);
        return options;
    };
    using O = AdapterOptions;
    EXPECT_EQ(refusal(with([](O&) {})), "");
    EXPECT_EQ(refusal(with([](O& o) { o.targets.names = {"one", "embed_tokens", "lm_head"}; })), "");
    EXPECT_EQ(
        refusal(with([](O& o) { o.init = LowRankInit::pissa; }), "dora"),
        "peft.dora: with init pissa the lengths of the rows would not start at those of the weight; use one of them");
    EXPECT_EQ(refusal(with([](O& o) { o.targets.names = {"lm_head"}; }), "dora"),
              "peft.dora: the output layer is computed piece by piece with the loss, where only low-rank adapters take "
              "part; leave lm_head out of targets");
    EXPECT_EQ(
        refusal(with([](O& o) { o.targets.names = {"lm_head"}; }), "ia3"),
        "peft.method: the output layer is computed piece by piece with the loss, where only low-rank adapters take "
        "part; leave lm_head out of targets");
    EXPECT_EQ(refusal(with([](O& o) { o.targets.names = {"embed_tokens"}; }), "pissa"),
              "peft.init: pissa takes parts of a linear layer's weight; leave the embedding out of targets");
    EXPECT_EQ(refusal(with([](O& o) { o.targets.names = {"one"}, o.feedforward = {"two"}; }), "ia3"),
              "peft.feedforward: \"two\" is none of the adapted layers, which are one");
    EXPECT_EQ(refusal(with([](O& o) { o.rank = 20; }), "olora"),
              "peft.rank: init olora takes 20 directions out of layer.one, which has 24 → 16 features");
    EXPECT_EQ(refusal(with([](O& o) {
                          o.rslora = true, o.rank_pattern.entries = {{"one", 2}};
                      }),
                      "pissa"),
              "peft.init: pissa is saved as a LoRA of twice the rank, which rslora scales rightly only without "
              "rank_pattern and alpha_pattern");
    EXPECT_EQ(refusal(with([](O& o) { o.modules_to_save = {"tree"}; })),
              "peft.modules_to_save: \"tree\" is no module of the model; did you mean \"three\"? it has embed_tokens, "
              "lm_head, one, three, two");
    EXPECT_EQ(refusal(with([](O& o) { o.modules_to_save = {"one"}, o.targets.names = {"one"}; })),
              "peft.targets: nothing is left to adapt after exclude, modules_to_save and layers_to_transform");
    EXPECT_EQ(
        refusal(with([](O& o) { o.modules_to_save = {"ne"}; })),
        "peft.modules_to_save: \"ne\" also ends the path of layer.one, which is adapted; name one module, or leave "
        "it out of targets");
    EXPECT_EQ(refusal(with([](O& o) { o.layers_to_transform = {1}; })),
              "peft.layers_to_transform: there is no layer 1; no path of the model has such a list of layers");
    EXPECT_EQ(refusal(with([](O& o) {
                  o.exclude = TargetOption{{"two"}, ""};
              })),
              "peft.exclude: \"two\" matches no linear layer or embedding of the model; it has one");
    EXPECT_EQ(refusal(with([](O& o) {
                  o.rank_pattern.entries = {{"(one", 2}};
              })).substr(0, 50),
              "peft.rank_pattern: \"(one\" is no regular expression");
    EXPECT_EQ(
        refusal(with([](O& o) {
            o.alpha_pattern.entries = {{"layer.oen", 2}};
        })),
        "peft.alpha_pattern: \"layer.oen\" matches none of the adapted layers as a whole or as the end of a path, "
        "such as layer.one; did you mean \"one\"? they are one");
    const auto tokens = [&](const TokenIndices& indices, std::vector<std::string> targets = {"one"},
                            std::vector<std::string> saved = {}) {
        return refusal(with([&](O& o) {
            o.trainable_token_indices = indices;
            o.targets.names = std::move(targets);
            o.modules_to_save = std::move(saved);
        }));
    };
    EXPECT_EQ(tokens({{0, 31}, {}}), "");
    EXPECT_EQ(tokens({{}, {{"embed_tokens", {4}}, {"lm_head", {5, 4}}}}), "");
    EXPECT_EQ(tokens({{3, 32}, {}}),
              "peft.trainable_token_indices: there is no token 32: embed_tokens has rows for the tokens 0 to 31");
    EXPECT_EQ(tokens({{}, {{"emb_tokens", {1}}}}),
              "peft.trainable_token_indices: \"emb_tokens\" has no rows of tokens; did you mean \"embed_tokens\"? "
              "expected embed_tokens or lm_head");
    EXPECT_EQ(
        tokens({{1}, {}}, {"one", "embed_tokens"}),
        "peft.trainable_token_indices: embed_tokens is adapted as a whole; leave it out of targets, or its tokens "
        "out");
    EXPECT_EQ(tokens({{}, {{"lm_head", {1}}}}, {"one"}, {"lm_head"}),
              "peft.trainable_token_indices: lm_head is trained whole; leave it out of modules_to_save, or its tokens "
              "out");
}

// The most that a forward pass of one layer with many inputs needs.
std::size_t peak_of_forward(const std::string& method, Place place) {
    constexpr std::int64_t inputs = 2048;
    Declarations model;
    LinearGroup group(Scope(model) / "layer", inputs, {{"one", 16, false}});
    AdapterOptions options = options_of({method, {"one"}});
    options.rank = 128;
    const auto adapters = peft_methods().at(method).make(options);
    adapters->attach(model);
    group.prepare(place, DType::f32);
    if (!place.is_meta())
        for (const auto& parameter : model.parameters.all()) randomise(*parameter, 1);
    adapters->initialise(3);
    const Layout layout = layout_of({3});
    const Tensor x = Tensor::zeros({3, inputs}, DType::f32, place);
    reset_memory_peak(place);
    const std::size_t before = memory_use(place).total();
    group(x, {layout});
    return memory_use(place).peak_total() - before;
}

// Products with long sums and small results are added up from parts.
TEST(FormsOnMeta, LongSumsNeedAsMuch) {
    for (const char* method : {"lora", "dora", "oft", "loha"}) {
        const std::size_t planned = peak_of_forward(method, Place::meta());
        const std::size_t measured = peak_of_forward(method, Place::cpu());
        EXPECT_GE(planned, measured) << method;
        EXPECT_LE(planned, measured + measured / 100) << method;
    }
}

}   // namespace
}   // namespace trainer
