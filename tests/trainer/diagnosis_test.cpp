// The first number of a step that is not finite, found again and named.
#include "trainer/diagnosis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "comm/solo.h"
#include "hub/load.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/training.h"
#include "trainer/objectives/registry.h"
#include "trainer/stepper.h"

namespace trainer::test {
namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float huge = 3e38f;

// A model in memory with its data, to be poisoned.
struct Patient {
    const Inputs& inputs;
    DeclaredModel declared = declare_model(inputs.recipe, inputs.base.snapshot);
    std::unique_ptr<Objective> objective = objectives().at("sft")();

    explicit Patient(const Inputs& made) : inputs(made) {
        declared.model->prepare(Place::cpu(), DType::f32, 256);
        load_parameters(declared.model->parameters(), *inputs.base.snapshot.weights, "model");
        if (declared.peft) declared.peft->initialise(1);
    }
    void set(const std::string& name, std::int64_t begin, std::int64_t end, float value) {
        Parameter& parameter = *declared.model->parameters().find(name);
        for (std::int64_t i = begin; i < end; ++i) parameter.value.data<float>()[i] = value;
        parameter.changed();
    }
    Diagnosis diagnose(Communicator& ranks, std::vector<std::int64_t> leaves) {
        return trainer::diagnose({inputs, *declared.model, *objective, ranks, 0, std::move(leaves)});
    }
    // The first step alone on one rank.
    Diagnosis diagnose() {
        const auto solo = make_solo();
        std::vector<std::int64_t> all(inputs.plan->step(0).leaves.size());
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
        return diagnose(*solo, all);
    }
};

// The leaves' documents in the order of the first step.
std::vector<std::vector<const Example*>> first_step(const Inputs& inputs) {
    std::vector<std::vector<const Example*>> leaves;
    for (const auto& rows : inputs.plan->step(0).leaves) {
        auto& documents = leaves.emplace_back();
        for (const std::int32_t row : rows)
            for (const std::int32_t example : inputs.rows[static_cast<std::size_t>(row)])
                documents.push_back(&inputs.train.examples[static_cast<std::size_t>(example)]);
    }
    return leaves;
}

struct TokenPlace {
    std::int32_t id = -1;
    std::size_t leaf = 0;
    const Example* document = nullptr;
    std::int64_t position = 0;
};

// A token whose id no earlier leaf of the first step has, in `leaf`.
TokenPlace token_of_leaf_alone(const Inputs& inputs, std::size_t leaf) {
    std::vector<bool> seen(300);
    const auto leaves = first_step(inputs);
    for (std::size_t l = 0; l <= leaf; ++l)
        for (const Example* document : leaves[l])
            for (std::size_t i = 0; i < document->ids.size(); ++i) {
                const std::int32_t id = document->ids[i];
                if (l == leaf && !seen[static_cast<std::size_t>(id)])
                    return {id, l, document, static_cast<std::int64_t>(i)};
                if (l < leaf) seen[static_cast<std::size_t>(id)] = true;
            }
    return {};
}

void expect_token(const Node& token, const TokenPlace& place) {
    ASSERT_TRUE(token.is_map());
    EXPECT_EQ(token.at("row").as_integer(), place.document->row);
    EXPECT_TRUE(token.at("source").as_string().ends_with("train.jsonl"));
    EXPECT_EQ(token.at("position").as_integer(), place.position);
    EXPECT_EQ(token.at("id").as_integer(), place.id);
}

TEST(Diagnosis, NamesTokenAndRowOfAnEmbedding) {
    const TinyProject project(16, {.tied = false});
    put_text(project.path() / "train.jsonl", lettered_chats(16));
    for (const char* peft : {"peft=null", "peft.rank=4"}) {   // the embedding is trained, and is not recorded at all
        SCOPED_TRACE(peft);
        const Inputs inputs = project.inputs({peft, "training.batch=8"});
        const TokenPlace place = token_of_leaf_alone(inputs, 2);
        ASSERT_GE(place.id, 0);
        Patient patient(inputs);
        patient.set("model.embed_tokens.weight", place.id * 32 + 5, place.id * 32 + 6, nan_value);
        const Diagnosis diagnosis = patient.diagnose();
        const Node& found = diagnosis.document.at("found");
        EXPECT_EQ(found.at("pass").as_string(), "forward");
        EXPECT_EQ(found.at("module").as_string(), "model.embed_tokens");
        EXPECT_EQ(found.at("op").as_string(), "embedding");
        EXPECT_EQ(found.at("tensor").as_string(), "output");
        EXPECT_EQ(found.at("index").as_list()[1].as_integer(), 5);
        EXPECT_EQ(found.at("value").as_string(), "nan");
        EXPECT_EQ(found.at("leaf").as_integer(), 2);
        expect_token(found.at("token"), place);
        const Node& weight = diagnosis.document.at("weight");
        EXPECT_EQ(weight.at("name").as_string(), "model.embed_tokens.weight");
        EXPECT_EQ(weight.at("index").as_list()[0].as_integer(), place.id);

        const auto& leaves = diagnosis.document.at("leaves").as_list();
        ASSERT_EQ(leaves.size(), 1u);
        EXPECT_EQ(leaves[0].at("leaf").as_integer(), 2);
        const auto documents = first_step(inputs)[2];
        ASSERT_EQ(leaves[0].at("documents").size(), documents.size());
        const Node& first = leaves[0].at("documents").as_list()[0];
        EXPECT_EQ(first.at("row").as_integer(), documents[0]->row);
        ASSERT_EQ(first.at("input_ids").size(), documents[0]->ids.size());
        for (std::size_t i = 0; i < documents[0]->ids.size(); ++i) {
            EXPECT_EQ(first.at("input_ids").as_list()[i].as_integer(), documents[0]->ids[i]);
            EXPECT_EQ(first.at("labels").as_list()[i].as_integer(),
                      i > 0 && documents[0]->trained[i] ? documents[0]->ids[i] : -100);
        }
    }
}

// A member of a group that is multiplied at once, and its row of the weight, by the column of the output.
TEST(Diagnosis, NamesTheLayerOfABlock) {
    const TinyProject project;
    for (const char* recompute : {"training.recompute=none", "training.recompute=norms", "training.recompute=block"}) {
        const Inputs inputs = project.inputs({recompute});
        Patient patient(inputs);
        patient.set("model.layers.1.self_attn.v_proj.weight", 3 * 32, 4 * 32, nan_value);
        const Diagnosis diagnosis = patient.diagnose();
        const Node& found = diagnosis.document.at("found");
        EXPECT_EQ(found.at("module").as_string(), "model.layers.1.self_attn.v_proj");
        EXPECT_EQ(found.at("op").as_string(), "linear");
        EXPECT_EQ(found.at("index").as_list()[0].as_integer(), 0);
        EXPECT_EQ(found.at("index").as_list()[1].as_integer(), 3);
        EXPECT_EQ(found.at("shape").as_list()[1].as_integer(), 16);
        expect_token(found.at("token"), token_of_leaf_alone(inputs, 0));
    }
}

TEST(Diagnosis, AnOpWithoutWeightsHasItsBlocksName) {
    const TinyProject project;
    const Inputs inputs = project.inputs();
    Patient patient(inputs);   // silu(gate) · up overflows, neither of them does
    for (const char* name : {"gate_proj", "up_proj"})
        for (std::int64_t i = 0; i < 64 * 32; ++i)
            patient.declared.model->parameters()
                .find(std::string("model.layers.0.mlp.") + name + ".weight")
                ->value.data<float>()[i] *= 1e25f;
    const Diagnosis diagnosis = patient.diagnose();
    const Node& found = diagnosis.document.at("found");
    EXPECT_EQ(found.at("module").as_string(), "model.layers.0");
    EXPECT_EQ(found.at("op").as_string(), "silu_mul");
    EXPECT_TRUE(found.at("value").as_string().ends_with("inf"));
    EXPECT_TRUE(diagnosis.document.at("weight").is_null());
}

// Zeros times huge weights are zeros on the way forward; on the way back the weights meet a gradient.
TEST(Diagnosis, NamesWhatHappensOnTheWayBack) {
    const TinyProject project;
    for (const char* recompute : {"training.recompute=none", "training.recompute=norms", "training.recompute=block"}) {
        SCOPED_TRACE(recompute);
        const Inputs inputs = project.inputs({recompute, "peft=null"});
        Patient patient(inputs);
        patient.set("model.layers.1.self_attn.v_proj.weight", 0, 16 * 32, 0);
        patient.set("model.layers.1.self_attn.o_proj.weight", 0, 32 * 32, huge);
        patient.set("model.norm.weight", 0, 32, 1e4f);   // gradients large enough
        const Diagnosis diagnosis = patient.diagnose();
        const Node& found = diagnosis.document.at("found");
        EXPECT_EQ(found.at("pass").as_string(), "backward");
        EXPECT_EQ(found.at("module").as_string(), "model.layers.1.self_attn.o_proj");
        EXPECT_EQ(found.at("op").as_string(), "linear");
        EXPECT_EQ(found.at("tensor").as_string(), "gradient of the input");
        EXPECT_TRUE(found.at("token").is_map());
        EXPECT_TRUE(diagnosis.document.at("weight").is_null());
    }
}

TEST(Diagnosis, NamesTheTokenOfALoss) {
    const TinyProject project(16, {.tied = false});
    const Inputs inputs = project.inputs({"training.micro_batch=4"});
    Patient patient(inputs);
    const std::int32_t id = 260;
    patient.set("lm_head.weight", id * 32, (id + 1) * 32, huge);
    const Diagnosis diagnosis = patient.diagnose();
    const Node& found = diagnosis.document.at("found");
    EXPECT_EQ(found.at("op").as_string(), "linear_cross_entropy");
    EXPECT_EQ(found.at("module").as_string(), "lm_head");

    // one by one
    const Batch batch = make_leaf(inputs, inputs.plan->step(0), 0);
    std::int64_t first = -1;
    for (std::int64_t n = 0; n < batch.targets.elements() && first < 0; ++n) {
        Batch alone = batch;
        std::vector<std::int32_t> targets(static_cast<std::size_t>(batch.targets.elements()), -100);
        targets[static_cast<std::size_t>(n)] = batch.targets.data<std::int32_t>()[n];
        if (targets[static_cast<std::size_t>(n)] == -100) continue;
        alone.targets = Tensor::from<std::int32_t>(targets, batch.targets.shape());
        const ForwardContext context{batch.layout, true};
        if (!std::isfinite(*patient.objective->forward(*patient.declared.model, alone, context).loss.data<float>()))
            first = n;
    }
    ASSERT_GE(first, 0);
    const auto leaves = first_step(inputs);
    for (const Example* document : leaves[0]) {
        const auto length = static_cast<std::int64_t>(document->ids.size());
        if (first < length)
            return expect_token(found.at("token"),
                                {document->ids[static_cast<std::size_t>(first)], 0, document, first});
        first -= length;
    }
    FAIL();
}

TEST(Diagnosis, SaysWhenItDoesNotComeBack) {
    const TinyProject project;
    const Inputs inputs = project.inputs();
    Patient patient(inputs);
    const Diagnosis diagnosis = patient.diagnose();
    EXPECT_TRUE(diagnosis.document.at("found").is_null());
    EXPECT_EQ(diagnosis.document.at("leaves").size(), 2u);   // nobody knows which
    EXPECT_EQ(diagnosis.summary,
              "Run again leaf by leaf, every number is finite: the sum over the leaves is too large, or the machine "
              "computed wrongly and the failure does not come back");
    for (Parameter* parameter : patient.declared.model->parameters().trainable())
        EXPECT_FALSE(parameter->gradient.defined());
}

TEST(Diagnosis, RanksAgreeOnTheLowestLeaf) {
    const TinyProject project;
    const Inputs inputs = project.inputs({"training.batch=8", "peft=null"});   // four leaves
    for (const std::vector<int>& poisoned : {std::vector<int>{1}, {0, 1}}) {
        std::mutex mutex;
        std::vector<Diagnosis> all;
        run_ranks(2, [&](Communicator& ranks) {
            Patient patient(inputs);
            if (std::find(poisoned.begin(), poisoned.end(), ranks.rank()) != poisoned.end())
                patient.set("model.layers.0.mlp.down_proj.weight", 7, 8, nan_value);
            const std::int64_t first = 2 * ranks.rank();
            const Diagnosis one = patient.diagnose(ranks, {first, first + 1});
            const std::lock_guard lock(mutex);
            all.push_back(one);
        });
        ASSERT_EQ(all.size(), 2u);
        EXPECT_EQ(all[0].document, all[1].document);
        EXPECT_EQ(all[0].summary, all[1].summary);
        const int rank = poisoned.front();
        EXPECT_EQ(all[0].document.at("found").at("rank").as_integer(), rank);
        EXPECT_EQ(all[0].document.at("found").at("leaf").as_integer(), 2 * rank);
        EXPECT_EQ(all[0].document.at("weight").at("rank").as_integer(), rank);
        EXPECT_NE(all[0].summary.find("(leaf " + std::to_string(2 * rank) + ", rank " + std::to_string(rank) + ")"),
                  std::string::npos)
            << all[0].summary;
    }
}

}   // namespace
}   // namespace trainer::test
