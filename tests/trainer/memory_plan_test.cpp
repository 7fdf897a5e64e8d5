#include "trainer/memory_plan.h"

#include <gtest/gtest.h>

#include <cmath>

#include "comm/solo.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

// The plan is never too small, and not much too large: the pool has blocks for every thread.
void expect_true_plan(TinyProject& project, const std::vector<std::string>& overrides, double most = 1.15) {
    const FinishedRun run = project.run(overrides);
    const auto measured = static_cast<double>(run.outcome.memory.peak_total());
    const auto planned = static_cast<double>(run.planned_bytes);
    std::string text;
    for (const std::string& word : overrides) text += word + " ";
    EXPECT_GE(planned, measured) << text;
    EXPECT_LE(planned, most * measured) << text;
}

TEST(MemoryPlan, HoldsForTheTinyModel) {
    TinyProject project;
    for (const char* extra : {"training.precision=f32", "training.precision=bf16", "training.recompute=norms",
                              "training.recompute=block", "training.seed=1", "training.seed=2", "training.seed=3",
                              "peft=null", "training.micro_batch=1", "training.determinism=repeatable"})
        expect_true_plan(project, {"training.steps=8", "checkpoint.every=null", extra});
    // the plan counts every token as trained on, which shows in a model of two layers
    expect_true_plan(project, {"training.steps=8", "checkpoint.every=null", "data.packing=true"}, 1.2);
    // copies for a checkpoint live until it is written, which may be soon
    expect_true_plan(project, {"training.steps=8", "checkpoint.every=1", "peft=null"}, 1.6);
    for (const char* peft : {"peft=null", "peft.method=lora"})
        expect_true_plan(project, {"training.steps=8", "checkpoint.every=null", "training.precision=bf16",
                                   "optimizer.master=bf16", peft});
    expect_true_plan(
        project,
        {"training.steps=8", "checkpoint.every=1", "training.precision=bf16", "optimizer.master=bf16", "peft=null"},
        1.6);
    expect_true_plan(project, {"training.steps=8", "checkpoint.every=null", "optimizer.in_backward=true", "peft=null",
                               "training.micro_batch=4", "training.clip_norm=0"});
}

TEST(MemoryPlan, HoldsForEveryOptimizer) {
    TinyProject project;
    for (const char* name :
         {"adamw_8bit", "ademamix", "sgd", "lion", "adafactor", "muon", "apollo", "apollo_mini", "schedule_free_adamw"})
        expect_true_plan(project, {"training.steps=4", "checkpoint.every=null", "peft=null",
                                   std::string("optimizer={name: ") + name + "}"});
    for (const char* name : {"muon", "apollo"})
        expect_true_plan(project, {"training.steps=4", "checkpoint.every=null", "peft=null", "training.precision=bf16",
                                   std::string("optimizer={master: bf16, name: ") + name + "}"});
    expect_true_plan(
        project, {"training.steps=8", "checkpoint.every=1", "peft=null", "optimizer={name: schedule_free_adamw}"}, 1.7);
}

// What waits in a file is no part of the total, and both are what the run has.
void expect_true_offload(const std::vector<std::string>& overrides, const std::vector<std::string>& offload,
                         double most) {
    TinyShape shape;
    shape.hidden = 128;
    shape.layers = 6;
    shape.intermediate = 256;
    TinyProject project(16, shape);
    const FinishedRun plain = project.run(overrides);
    std::vector<std::string> with = overrides;
    with.insert(with.end(), offload.begin(), offload.end());
    expect_true_plan(project, with, most);
    const FinishedRun run = project.run(with);
    const auto measured = static_cast<double>(run.outcome.memory.peak_offloaded());
    EXPECT_GT(measured, 0);
    EXPECT_GE(static_cast<double>(run.planned_offloaded), measured);
    EXPECT_LE(static_cast<double>(run.planned_offloaded), 1.3 * measured);
    EXPECT_LT(run.planned_bytes, plain.planned_bytes);
    EXPECT_EQ(plain.planned_offloaded, 0u);
}

TEST(MemoryPlan, HoldsForWhatIsOffloaded) {
    const std::vector<std::string> few = {"training.steps=4", "checkpoint.every=null"};
    const std::vector<std::string> full = {"training.steps=6", "checkpoint.every=2", "peft=null"};
    const std::vector<std::string> optimizer = {"training.offload=optimizer"};
    expect_true_offload(few, optimizer, 1.15);
    expect_true_offload(full, optimizer, 1.6);
    std::vector<std::string> blocks = few;
    blocks.emplace_back("training.recompute=block");
    expect_true_offload(blocks, {"training.offload=activations"}, 1.15);
}

TEST(MemoryPlan, HoldsForChunksOfTheFeedForwardLayer) {
    TinyShape shape;
    shape.intermediate = 1024;
    TinyProject project(16, shape);
    const auto planned = [&](const char* chunk) {
        const std::vector<std::string> overrides = {"training.steps=4", "checkpoint.every=null",
                                                    "training.micro_batch=4", chunk};
        expect_true_plan(project, overrides);
        return plan_memory(project.inputs(overrides), *make_solo()).total();
    };
    EXPECT_LT(2 * planned("training.mlp_chunk=32"), planned("training.mlp_chunk=null"));
}

TEST(MemoryPlan, HoldsForAMediumModel) {
    TinyShape shape;
    shape.hidden = 256;
    shape.layers = 4;
    shape.heads = 4;
    shape.intermediate = 768;
    shape.vocabulary = 4096;
    shape.tied = false;
    TinyProject project(16, shape);
    for (const char* extra : {"training.precision=f32", "training.precision=bf16", "training.recompute=norms",
                              "training.recompute=block", "data.packing=true", "peft=null"})
        expect_true_plan(project, {"training.steps=4", "checkpoint.every=null", extra});
}

// Products with long sums and small results are added up from parts, which need memory of their own.
TEST(MemoryPlan, HoldsForLongSums) {
    TinyProject project(4);
    for (const char* precision : {"training.precision=f32", "training.precision=bf16"})
        expect_true_plan(project, {"peft.rank=4096", "training.steps=3", "checkpoint.every=null", precision});
}

// Where the rows are short, an update or the norms of DoRA need most.
TEST(MemoryPlan, HoldsForLongMatrices) {
    TinyShape shape;
    shape.layers = 1;
    shape.intermediate = 2048;
    TinyProject project(4, shape);
    put_text(project.path() / "train.jsonl", lettered_chats(4));
    for (const char* peft : {"peft={method: dora, rank: 362, targets: [down_proj]}", "peft={method: oft}", "peft=null"})
        for (const char* rule : {"sgd", "muon", "apollo"})
            expect_true_plan(project,
                             {"training.steps=3", "training.batch=1", "training.micro_batch=1", "checkpoint.every=null",
                              "data.valid=null", peft, std::string("optimizer={name: ") + rule + "}"});
}

// Decompositions of the weights need more than the short rows of the training that follows.
TEST(MemoryPlan, HoldsForStartsFromTheWeights) {
    TinyShape shape;
    shape.hidden = 128;
    shape.layers = 3;
    shape.heads = 4;
    shape.intermediate = 1024;
    TinyProject project(4, shape);
    for (const char* options :
         {"{method: pissa, rank: 8}", "{method: pissa, rank: 8, targets: [down_proj]}", "{method: olora, rank: 8}"})
        for (const char* precision : {"training.precision=f32", "training.precision=bf16"})
            expect_true_plan(project,
                             {std::string("peft=") + options, "training.batch=1", "training.micro_batch=1",
                              "training.steps=2", "checkpoint.every=null", precision},
                             1.5);
}

// Matrices of rotations and of Kronecker products are workspace, gradients of the latter's factors are kept.
TEST(MemoryPlan, HoldsForMethodsThatMakeMatrices) {
    TinyShape shape;
    shape.hidden = 128;
    shape.heads = 4;
    shape.intermediate = 512;
    TinyProject project(4, shape);
    for (const char* options : {"{method: oft, oft_block_size: 128}", "{method: lokr, rank: 64}", "{method: loha}"})
        for (const char* master : {"optimizer.master=f32", "optimizer.master=bf16"})
            expect_true_plan(project, {std::string("peft=") + options, "training.steps=4", "checkpoint.every=null",
                                       "training.precision=bf16", master});
}

// N parameters, P ranks, 4 bytes each: optimizer 2 N, or 2 N / P when it is shared out; gradients N, or N / P and the
// largest block when they are.
TEST(MemoryPlan, ShardingFollowsTheFormulas) {
    TinyShape shape;
    shape.hidden = 256;
    shape.layers = 6;
    shape.heads = 4;
    shape.intermediate = 768;
    const TinyProject project(16, shape);
    const auto part = [](const MemoryPlan& plan, Purpose purpose) {
        return static_cast<double>(plan.use.peak_bytes[static_cast<std::size_t>(purpose)]);
    };
    for (const int size : {2, 4, 8})
        for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
            const char* name = sharding == Sharding::none        ? "none"
                               : sharding == Sharding::optimizer ? "optimizer"
                                                                 : "gradients";
            const Inputs inputs = project.inputs({"peft=null", "training.batch=8", "training.micro_batch=1",
                                                  "training.determinism=strict", "checkpoint.every=null",
                                                  std::string("training.sharding=") + name});
            run_ranks(size, [&](Communicator& ranks) {
                if (ranks.rank() != size - 1) return;
                const MemoryPlan plan = plan_memory(inputs, ranks);
                const auto bytes = 4.0 * static_cast<double>(plan.parameters);
                const double shards = sharding == Sharding::none ? 1 : size;
                const double buffers = 8.0 / size;   // leaves of this rank: at most log2 + 1 sums
                EXPECT_NEAR(part(plan, Purpose::optimizer), 2 * bytes / shards, 0.25 * bytes / shards) << name << size;
                if (sharding == Sharding::gradients)
                    EXPECT_LT(part(plan, Purpose::gradients), 4 * bytes / size + 0.25 * bytes) << size;
                else
                    EXPECT_LT(part(plan, Purpose::gradients), (std::log2(buffers) + 1.1) * bytes) << name << size;
            });
        }
}

TEST(MemoryPlan, BytesInWords) {
    EXPECT_EQ(bytes_text(0), "0 B");
    EXPECT_EQ(bytes_text(1023), "1023 B");
    EXPECT_EQ(bytes_text(1536), "1.50 KiB");
    EXPECT_EQ(bytes_text(std::size_t{5} << 30), "5.00 GiB");
}

}   // namespace
}   // namespace trainer::test
