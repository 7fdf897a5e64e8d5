#include "models/group.h"

#include <gtest/gtest.h>

#include "autograd/memory.h"
#include "autograd/ops/add.h"
#include "autograd/ops/dropout.h"
#include "autograd/quant/dense.h"
#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/models/random_values.h"

namespace trainer {
namespace {

using test::layout_of;
using test::random_tensor;
using test::randomise;
using test::relative_error;

constexpr std::int64_t in = 24;
constexpr std::int64_t rank = 4;
constexpr float dropped = 0.25f;

class LowRankAdapter : public Adapter {
public:
    LowRankAdapter(std::int64_t out, float scale, std::uint64_t site)
        : a("a", Shape(rank, in)), b("b", Shape(out, rank)), scale_(scale), site_(site) {
        a.trainable = b.trainable = true;
    }
    AdapterForm form() const override { return LowRank{&a, &b, scale_, dropped, site_}; }
    void prepare(Place place) override {
        for (Parameter* parameter : {&a, &b}) parameter->value = Tensor::empty(parameter->shape, DType::f32, place);
    }
    void merge_weight(Tensor&) const override {}

    mutable Parameter a;
    mutable Parameter b;

private:
    float scale_;
    std::uint64_t site_;
};

// The same change of the output, made of other ops; `b` holds scale · B.
class ComposedAdapter : public Adapter {
public:
    ComposedAdapter(std::int64_t out, std::uint64_t site)
        : a("a", Shape(rank, in)), b("b", Shape(out, rank)), site_(site) {
        a.trainable = b.trainable = true;
    }
    AdapterForm form() const override {
        return General{[this](const Tensor& x, const LinearTerms& bare, const ForwardContext& context) {
            const Tensor y = linear(x, bare, context.layout, false);
            const Tensor kept = context.training ? dropout(x, dropped, site_, context.layout) : x;
            const Tensor low = linear(kept, a_terms_, context.layout, false);
            return add(y, linear(low, b_terms_, context.layout, false));
        }};
    }
    void prepare(Place place) override {
        make(a, a_weight_, a_terms_, place);
        make(b, b_weight_, b_terms_, place);
    }
    void merge_weight(Tensor&) const override {}

    Parameter a;
    Parameter b;

private:
    static void make(Parameter& parameter, std::unique_ptr<DenseWeight>& weight, LinearTerms& terms, Place place) {
        weight = std::make_unique<DenseWeight>(std::vector<Parameter*>{&parameter}, DType::f32, DType::f32, place);
        terms = {weight.get(), {{0, parameter.shape.rows(), &parameter, nullptr}}, {}};
    }

    std::uint64_t site_;
    std::unique_ptr<DenseWeight> a_weight_;
    std::unique_ptr<DenseWeight> b_weight_;
    LinearTerms a_terms_;
    LinearTerms b_terms_;
};

// Three members: one adapted in the way that is asked for, one low-rank, one bare; with a bias each.
class World {
public:
    explicit World(bool composed, bool train_weights = true)
        : group(Scope(model) / "layer", in, {{"one", 16, true}, {"two", 8, true}, {"three", 12, true}}) {
        if (composed) {
            auto adapter = std::make_unique<ComposedAdapter>(16, 11);
            one_a = &adapter->a;
            one_b = &adapter->b;
            model.linears[0]->adapters.push_back(std::move(adapter));
        } else {
            auto adapter = std::make_unique<LowRankAdapter>(16, 0.5f, 11);
            one_a = &adapter->a;
            one_b = &adapter->b;
            model.linears[0]->adapters.push_back(std::move(adapter));
        }
        auto second = std::make_unique<LowRankAdapter>(8, 2.0f, 12);
        two_a = &second->a;
        two_b = &second->b;
        model.linears[1]->adapters.push_back(std::move(second));
        for (const auto& parameter : model.parameters.all()) parameter->trainable = train_weights;
        poison_new_memory(true);
        group.prepare(Place::cpu(), DType::f32);
        unsigned seed = 1;
        for (const auto& parameter : model.parameters.all()) randomise(*parameter, seed++);
        randomise(*one_a, 20);
        randomise(*one_b, 21, composed ? 0.5f : 1.0f);   // 0.5 is exact
        randomise(*two_a, 22);
        randomise(*two_b, 23);
    }
    ~World() { poison_new_memory(false); }

    struct Result {
        Tensor y;
        Tensor dx;
    };
    Result run(bool training, bool adapters = true) {
        const Layout layout = layout_of({5, 2});
        Tensor x = random_tensor({7, in}, 30);
        Tape tape;
        tape.want(x);
        Result out;
        {
            const Recording record(tape);
            out.y = group(x, {layout, training, adapters, Recompute::none});
        }
        tape.backward(out.y, random_tensor({7, 36}, 31));
        out.dx = tape.gradient(x);
        return out;
    }

    Declarations model;
    LinearGroup group;
    Parameter* one_a;
    Parameter* one_b;
    Parameter* two_a;
    Parameter* two_b;
};

TEST(LinearGroup, FusedEqualsMemberByMember) {
    for (bool training : {false, true}) {
        World fused(false);
        World apart(true);
        const World::Result a = fused.run(training);
        const World::Result b = apart.run(training);
        EXPECT_LT(relative_error(a.y, b.y), 1e-5);
        EXPECT_LT(relative_error(a.dx, b.dx), 1e-5);
        for (std::size_t i = 0; i < fused.model.parameters.all().size(); ++i) {
            const Parameter& parameter = *fused.model.parameters.all()[i];
            EXPECT_LT(relative_error(parameter.gradient, apart.model.parameters.all()[i]->gradient), 1e-5)
                << parameter.name;
        }
        EXPECT_LT(relative_error(fused.one_a->gradient, apart.one_a->gradient), 1e-5);
        Tensor scaled = Tensor::empty(fused.one_b->shape, DType::f32);   // from the gradient of scale · B
        for (std::int64_t i = 0; i < scaled.elements(); ++i)
            scaled.data<float>()[i] = 0.5f * apart.one_b->gradient.data<float>()[i];
        EXPECT_LT(relative_error(fused.one_b->gradient, scaled), 1e-5);
        EXPECT_LT(relative_error(fused.two_a->gradient, apart.two_a->gradient), 1e-5);
        EXPECT_LT(relative_error(fused.two_b->gradient, apart.two_b->gradient), 1e-5);
    }
}

TEST(LinearGroup, WithoutAdaptersItIsTheBase) {
    World fused(false);
    World apart(true);
    const Tensor base = fused.run(true, false).y;
    EXPECT_EQ(base.to_vector<float>(), apart.run(true, false).y.to_vector<float>());
    EXPECT_FALSE(fused.one_a->gradient.defined());
    EXPECT_GT(relative_error(fused.run(false).y, base), 0.1);

    const Tensor x = random_tensor({7, in}, 30);   // x Wᵀ + bias, member by member, in double
    for (std::int64_t n = 0; n < 7; ++n) {
        std::int64_t column = 0;
        for (const Linear* linear : fused.model.linears)
            for (std::int64_t o = 0; o < linear->out_features; ++o, ++column) {
                double sum = linear->bias->value.data<float>()[o];
                for (std::int64_t i = 0; i < in; ++i)
                    sum += static_cast<double>(x.data<float>()[n * in + i]) *
                           linear->weight->value.data<float>()[o * linear->weight->value.stride() + i];
                EXPECT_NEAR(base.data<float>()[n * 36 + column], sum, 1e-4);
            }
    }
}

// As the output layer does it, which is multiplied and summed up piece by piece.
TEST(LinearGroup, TermsHoldTheAdaptersThatTheContextAsksFor) {
    const Layout layout = layout_of({5, 2});
    const Tensor x = random_tensor({7, in}, 30);
    World fused(false);
    for (const bool adapters : {false, true}) {
        const ForwardContext context{layout, false, adapters};
        EXPECT_EQ(linear(x, fused.group.terms(context), layout, false).to_vector<float>(),
                  fused.run(false, adapters).y.to_vector<float>());
    }
    World apart(true);
    EXPECT_EQ(linear(x, apart.group.terms({layout, false, false}), layout, false).to_vector<float>(),
              fused.run(false, false).y.to_vector<float>());
    try {
        apart.group.terms({layout});
        ADD_FAILURE() << "a general adapter has no terms";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::internal);
    }
}

TEST(LinearGroup, DropoutIsOffOutsideTraining) {
    World world(false);
    const std::vector<float> still = world.run(false).y.to_vector<float>();
    EXPECT_EQ(world.run(false).y.to_vector<float>(), still);
    EXPECT_NE(world.run(true).y.to_vector<float>(), still);
    EXPECT_EQ(world.run(true).y.to_vector<float>(), world.run(true).y.to_vector<float>());   // keyed, not drawn
}

TEST(LinearGroup, FrozenWeightsGetNoGradientAndAreStoredInTheComputeDtype) {
    World world(false, false);
    world.run(true);
    for (const auto& parameter : world.model.parameters.all())
        EXPECT_FALSE(parameter->gradient.defined()) << parameter->name;
    EXPECT_TRUE(world.one_a->gradient.defined());

    const auto dtype = [](bool trainable) {
        Declarations model;
        LinearGroup group(Scope(model), in, {{"one", 16}, {"two", 8}});
        model.linears[1]->weight->trainable = trainable;
        group.prepare(Place::cpu(), DType::bf16);
        return model.linears[0]->weight->value.dtype();
    };
    EXPECT_EQ(dtype(false), DType::bf16);
    EXPECT_EQ(dtype(true), DType::f32);   // a master is f32, and the members share one tensor
}

TEST(LinearGroup, MembersKeepTheirHubNames) {
    Declarations model;
    const LinearGroup group(Scope(model) / "model" / "layers" / 3 / "mlp", in,
                            {{"gate_proj", 8, true}, {"up_proj", 8}});
    std::vector<std::string> names;
    for (const auto& parameter : model.parameters.all()) names.push_back(parameter->name);
    EXPECT_EQ(names,
              (std::vector<std::string>{"model.layers.3.mlp.gate_proj.weight", "model.layers.3.mlp.gate_proj.bias",
                                        "model.layers.3.mlp.up_proj.weight"}));
    EXPECT_EQ(model.linears[0]->name, "model.layers.3.mlp.gate_proj");
    EXPECT_FALSE(model.linears[0]->bias->decay);
}

}   // namespace
}   // namespace trainer
