#include "trainer/checkpoint/state_file.h"

#include <gtest/gtest.h>

#include <thread>

#include "optim/optimizer_options.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

// Two parameters with all elements of one value each, and their state.
struct Trained {
    ParameterSet set;
    std::unique_ptr<Optimizer> optimizer;

    explicit Trained(OffloadStore* store = nullptr) {
        for (const auto& [name, shape] : {std::pair("a", Shape(3, 5)), std::pair("b", Shape(5'000'000))}) {
            Parameter& parameter = set.declare(name, shape);
            parameter.trainable = true;
            parameter.value = Tensor::zeros(shape, DType::f32);
        }
        optimizer = make_optimizer({}, whole_slices(set.trainable()));
        optimizer->prepare(store);
    }

    void fill(float value) {
        const auto put = [&value](const Tensor& tensor) {
            auto* values = tensor.data<float>();
            for (std::int64_t i = 0; i < tensor.elements(); ++i) values[i] = value;
            ++value;
        };
        for (Parameter* parameter : set.trainable()) put(parameter->value);
        for (std::size_t i = 0; i < optimizer->slices().size(); ++i)
            optimizer->with_state(i, Optimizer::Access::change, [&](Optimizer::State& state) {
                for (const auto& [name, tensor] : state) put(tensor);
            });
    }
};

void expect_all(const float* values, std::int64_t count, float expected) {
    for (std::int64_t i = 0; i < count; ++i) ASSERT_EQ(values[i], expected) << i;
}

void expect_pieces(const StateCopy& copy, float first) {
    const std::map<std::string, float> expected = {{"value.a", 0},   {"value.b", 1},      {"exp_avg.a", 2},
                                                   {"exp_avg.b", 4}, {"exp_avg_sq.a", 3}, {"exp_avg_sq.b", 5}};
    EXPECT_EQ(copy.pieces().size(), expected.size());
    for (const StateCopy::Piece& piece : copy.pieces())
        expect_all(piece.values.data<float>(), piece.values.elements(), first + expected.at(piece.tensor));
}

TEST(StateCopy, HoldsTheMomentItWasTaken) {
    Trained trained;
    for (const int rank : {0, 1}) {
        StateCopy copy(*trained.optimizer, trained.optimizer->slices(), copied_whole(trained.set, rank));
        for (const float moment : {10.0f, 20.0f}) {   // the second in the memory of the first
            trained.fill(moment);
            copy.take();
            trained.fill(90);
            expect_pieces(copy, moment);
            if (rank == 0) expect_all(copy.value_of(*trained.set.trainable()[1]).data<float>(), 5'000'000, moment + 1);
        }
    }
}

TEST(StateCopy, PartsOfSlices) {
    Trained trained;
    trained.fill(10);
    Parameter* b = trained.set.trainable()[1];
    StateCopy copy(*trained.optimizer, {{b, 5, 12}}, {});
    for (std::int64_t i = 0; i < 20; ++i) b->value.data<float>()[i] = static_cast<float>(i);
    copy.take();
    ASSERT_EQ(copy.pieces().size(), 3u);
    EXPECT_EQ(copy.pieces()[0].begin, 5);
    EXPECT_EQ(copy.pieces()[0].values.to_vector<float>(), (std::vector<float>{5, 6, 7, 8, 9, 10, 11}));
}

// Its memory counts from the beginning, once, and populating it changes nothing that it holds.
TEST(StateCopy, MemoryIsHadOnce) {
    Trained trained;
    trained.fill(10);
    const std::size_t before = memory_use(Place::cpu()).total();
    StateCopy copy(*trained.optimizer, trained.optimizer->slices(), copied_whole(trained.set, 0));
    const std::size_t made = memory_use(Place::cpu()).total();
    EXPECT_GE(made - before, 3 * sizeof(float) * 5'000'015);
    EXPECT_LE(made - before, 4 * sizeof(float) * 5'000'015);
    std::jthread populating([&copy](const std::stop_token& stop) { copy.populate(stop); });
    copy.take();
    populating.join();
    copy.populate(std::stop_token());
    expect_pieces(copy, 10);
    EXPECT_EQ(memory_use(Place::cpu()).total(), made);
}

TEST(StateFile, IsReadBackFromParts) {
    const ScratchFolder folder;
    Trained trained;
    trained.fill(10);
    const SafetensorsLayout layout = state_layout(trained.set.trainable(), *trained.optimizer);
    StateCopy copy(*trained.optimizer, trained.optimizer->slices(), copied_whole(trained.set, 0));
    copy.take();
    create_shared_safetensors(folder / state_file_name, layout);
    const std::vector<WrittenRanges> parts = write_state(folder / state_file_name, layout, copy, true);
    ASSERT_EQ(parts.size(), 1u);
    EXPECT_EQ(parts[0].sha256, sha256_of_file(folder / state_file_name));
    trained.fill(90);
    read_state(folder / state_file_name, trained.set.trainable(), *trained.optimizer);
    copy.take();
    expect_pieces(copy, 10);
}

// State that waits in a store: the copy of it waits there too, longer than what is read back at once, and the file is
// the same byte for byte.
TEST(StateFile, OfOffloadedStateIsTheSame) {
    const ScratchFolder folder;
    const auto store = make_file_store(folder.path(), 0);
    const auto written = [&](Trained& trained, const std::string& name) {
        trained.fill(10);
        const SafetensorsLayout layout = state_layout(trained.set.trainable(), *trained.optimizer);
        const std::size_t before = memory_use(Place::cpu()).total();
        StateCopy copy(*trained.optimizer, trained.optimizer->slices(), copied_whole(trained.set, 0));
        copy.populate(std::stop_token());
        copy.take();
        const std::size_t had = memory_use(Place::cpu()).total() - before;
        const std::size_t bytes = sizeof(float) * 5'000'015;   // values, or also two of state
        EXPECT_TRUE(trained.optimizer->store() ? had < 2 * bytes : had >= 3 * bytes) << had;
        trained.fill(90);
        create_shared_safetensors(folder / name, layout);
        write_state(folder / name, layout, copy, true);
        return sha256_of_file(folder / name);
    };
    Trained plain;
    Trained offloaded(store.get());
    EXPECT_EQ(written(offloaded, "offloaded"), written(plain, "plain"));
    read_state(folder / "plain", offloaded.set.trainable(), *offloaded.optimizer);
    StateCopy copy(*offloaded.optimizer, offloaded.optimizer->slices(), {});
    copy.take();
    for (const StateCopy::Piece& piece : copy.pieces())
        if (piece.tensor == "exp_avg_sq.b")
            copy.show(piece, [](std::int64_t begin, std::span<const std::byte> values) {
                EXPECT_TRUE(begin == 0 || begin == 4'194'304) << begin;
                expect_all(reinterpret_cast<const float*>(values.data()), static_cast<std::int64_t>(values.size() / 4),
                           15);
            });
}

}   // namespace
}   // namespace trainer::test
