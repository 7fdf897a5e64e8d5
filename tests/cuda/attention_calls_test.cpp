// How documents and heads are shared out among calls of cuDNN: nothing is computed, so the real sizes are asked for.
#include "autograd/cuda/attention.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/runtime.h"

namespace trainer::cuda {
namespace {

constexpr std::size_t gib = std::size_t{1} << 30;

Layout layout_of(const std::vector<std::int32_t>& lengths) {
    Layout out;
    for (const std::int32_t tokens : lengths) out.offsets.push_back(out.offsets.back() + tokens);
    out.positions = Tensor::empty(out.tokens(), DType::i32, Place::meta());
    out.token_keys = Tensor::empty(out.tokens(), DType::u64, Place::meta());
    return on_place(out, Place::meta(Place::Kind::cuda));
}

AttentionCalls calls_of(const Layout& layout, const AttentionShape& shape) {
    return attention_calls(layout, shape, DType::bf16, std::int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim);
}

// Every document and key head is in one call, in one that is long enough for it.
void expect_complete(const Layout& layout, const AttentionShape& shape, const std::vector<AttentionCall>& calls) {
    std::map<std::int64_t, std::set<int>> heads;
    for (const AttentionCall& call : calls) {
        EXPECT_LE(call.documents, call.batch);
        for (std::int64_t index = call.first; index < call.first + call.documents; ++index) {
            const std::int64_t document = index < layout.documents()
                                              ? index
                                              : layout.by_length[static_cast<std::size_t>(index - layout.documents())];
            EXPECT_LE(layout.tokens_of(document), call.longest);
            for (int kv = call.first_kv; kv < call.first_kv + call.kv_heads; ++kv)
                EXPECT_TRUE(heads[document].insert(kv).second) << "document " << document << " twice";
        }
    }
    EXPECT_EQ(static_cast<std::int64_t>(heads.size()), layout.documents());
    for (const auto& [document, found] : heads) EXPECT_EQ(static_cast<int>(found.size()), shape.kv_heads);
}

class AttentionCallsOf : public ::testing::Test {
protected:
    // The answers below are for compute capability 9.0, which is what a plan without a device is for.
    void SetUp() override {
        if (opened_device() && (opened_device()->major != 9 || !cudnn_is_there()))
            GTEST_SKIP() << "this device has answers of its own";
    }
};

constexpr AttentionShape llama{32, 8, 128, 0.09f};

TEST_F(AttentionCallsOf, AFullBatchIsOneCall) {
    const Layout layout = layout_of({4096, 4096});
    const AttentionCalls calls = calls_of(layout, llama);
    EXPECT_TRUE(calls.equal);
    ASSERT_EQ(calls.forward.size(), 1u);
    ASSERT_EQ(calls.backward.size(), 1u);
    EXPECT_EQ(calls.backward[0].batch, 2);
    // What cuDNN 9.19 asks for on compute capability 9.0 was 2,282,751,232 bytes (docs/decisions.md).
    const std::size_t room = attention_room_bytes(calls, llama, true);
    EXPECT_GE(room, 2'282'751'232u);
    EXPECT_LE(room, 2'282'751'232u * 1.07);
    EXPECT_LE(attention_room_bytes(calls, llama, false), 1u << 20);
}

TEST_F(AttentionCallsOf, ALongDocumentIsSharedOutByHeads) {
    for (const std::int32_t tokens : {8192, 16384}) {
        const Layout layout = layout_of({tokens});
        const AttentionCalls calls = calls_of(layout, llama);
        ASSERT_TRUE(calls.by_library()) << tokens;
        EXPECT_GT(calls.backward.size(), 1u);
        expect_complete(layout, llama, calls.backward);
        EXPECT_LE(attention_room_bytes(calls, llama, true), 5 * gib / 2 + 256);
        EXPECT_EQ(calls.forward.size(), 1u);
    }
    EXPECT_FALSE(calls_of(layout_of({65536}), llama).by_library());   // one key head alone takes too much
}

TEST_F(AttentionCallsOf, PackedDocumentsGoByClassesOfLength) {
    std::vector<std::int32_t> lengths = {3000, 17, 900, 1};
    for (std::int32_t i = 0; i < 40; ++i) lengths.push_back(100 + 13 * i);
    const Layout layout = layout_of(lengths);
    const AttentionCalls calls = calls_of(layout, llama);
    EXPECT_FALSE(calls.equal);
    EXPECT_EQ(calls.forward.size(), 1u);
    expect_complete(layout, llama, calls.forward);
    EXPECT_GT(calls.backward.size(), 1u);
    expect_complete(layout, llama, calls.backward);
    EXPECT_LE(attention_room_bytes(calls, llama, true), 5 * gib / 2 + (1 << 20));
    for (const AttentionCall& call : calls.backward) EXPECT_EQ(call.batch & (call.batch - 1), 0);
}

TEST_F(AttentionCallsOf, ManyShortDocumentsAreOneCall) {
    const Layout layout = layout_of(std::vector<std::int32_t>(300, 27));
    const AttentionCalls calls = calls_of(layout, {9, 3, 64, 0.125f});
    ASSERT_EQ(calls.backward.size(), 1u);
    EXPECT_EQ(calls.backward[0].batch, 512);
    EXPECT_EQ(calls.backward[0].longest, 128);
    expect_complete(layout, {9, 3, 64, 0.125f}, calls.backward);
}

// Few shapes, so few plans: whatever the documents are, so many lengths there are.
TEST_F(AttentionCallsOf, LengthsAreRoundedToFew) {
    std::set<std::int64_t> found;
    for (std::int32_t tokens = 1; tokens <= 4096; tokens += 3)
        for (const AttentionCall& call : calls_of(layout_of({tokens, 1}), llama).forward) {
            EXPECT_GE(call.longest, tokens);
            EXPECT_LE(call.longest, std::max(128, 2 * tokens));
            found.insert(call.longest);
        }
    EXPECT_EQ(found.size(), 10u);
}

TEST_F(AttentionCallsOf, OffsetsThatDoNotFitAreOurs) {
    EXPECT_FALSE(calls_of(layout_of(std::vector<std::int32_t>(400, 1000)), llama).by_library());
}

}   // namespace
}   // namespace trainer::cuda
