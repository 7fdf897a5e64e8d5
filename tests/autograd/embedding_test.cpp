#include "autograd/ops/embedding.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <random>

#include "autograd/quant/dense.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {
namespace {

struct Table {
    static constexpr std::int64_t vocabulary = 50, width = 19, tokens = 333;
    Parameter parameter{"model.embed_tokens.weight", {vocabulary, width}};
    DenseWeight weight{{&parameter}, DType::f32, DType::f32, Place::cpu()};
    std::vector<std::int32_t> ids;
    std::vector<float> values, upstream;

    Table() {
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        for (std::int64_t i = 0; i < vocabulary * width; ++i) values.push_back(normal(random));
        for (std::int64_t i = 0; i < tokens * width; ++i) upstream.push_back(normal(random));
        for (std::int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<std::int32_t>(random() % 37));
        Tensor table = Tensor::from<float>(values, {vocabulary, width});
        copy(table, parameter.value);
        parameter.changed();
        parameter.trainable = true;
    }

    std::vector<float> gradient(DType dtype) {
        Tape tape;
        Tensor y;
        {
            const Recording recording(tape);
            y = embedding(Tensor::from<std::int32_t>(ids, {tokens}), weight, &parameter, dtype);
        }
        tape.backward(y, converted(Tensor::from<float>(upstream, {tokens, width}), dtype));
        return parameter.gradient.to_vector<float>();
    }
};

TEST(Embedding, PicksRows) {
    Table table;
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const Tensor ids = Tensor::from<std::int32_t>(table.ids, {Table::tokens});
        const Tensor y = converted(embedding(ids, table.weight, nullptr, dtype), DType::f32);
        const std::vector<float> rows = y.to_vector<float>();
        for (std::int64_t n = 0; n < Table::tokens; ++n)
            for (std::int64_t c = 0; c < Table::width; ++c) {
                const float value =
                    table.values[static_cast<std::size_t>(table.ids[static_cast<std::size_t>(n)] * Table::width + c)];
                EXPECT_EQ(rows[static_cast<std::size_t>(n * Table::width + c)],
                          dtype == DType::f32 ? value : static_cast<float>(bf16(value)));
            }
    }
}

TEST(Embedding, GradientSumsInTokenOrderAndAddsUp) {
    poison_new_memory(true);
    Table table;
    std::vector<float> expected(table.values.size(), 0.0f);
    for (std::int64_t n = 0; n < Table::tokens; ++n)
        for (std::int64_t c = 0; c < Table::width; ++c)
            expected[static_cast<std::size_t>(table.ids[static_cast<std::size_t>(n)] * Table::width + c)] +=
                table.upstream[static_cast<std::size_t>(n * Table::width + c)];
    EXPECT_EQ(table.gradient(DType::f32), expected);
    for (float& value : expected) value *= 2;
    EXPECT_EQ(table.gradient(DType::f32), expected);
    poison_new_memory(false);
}

TEST(Embedding, ThreadsChangeNoBit) {
    const int before = omp_get_max_threads();
    for (const DType dtype : {DType::f32, DType::bf16}) {
        omp_set_num_threads(1);
        const std::vector<float> expected = Table().gradient(dtype);
        for (const int threads : {2, 3, 5, 16}) {
            omp_set_num_threads(threads);
            EXPECT_EQ(Table().gradient(dtype), expected) << threads;
        }
    }
    omp_set_num_threads(before);
}

TEST(Embedding, FrozenRecordsNothing) {
    Table table;
    table.parameter.trainable = false;
    Tape tape;
    const Recording recording(tape);
    embedding(Tensor::from<std::int32_t>(table.ids, {Table::tokens}), table.weight, &table.parameter, DType::f32);
    EXPECT_EQ(tape.size(), 0u);
}

TEST(Embedding, RefusesIdsOutsideTheVocabulary) {
    const Table table;
    for (const std::int32_t id : {-1, 50, 1 << 30}) {
        const std::vector<std::int32_t> ids{0, id};
        EXPECT_THROW(embedding(Tensor::from<std::int32_t>(ids, {2}), table.weight, nullptr, DType::f32), Error);
    }
}

}   // namespace
}   // namespace trainer
