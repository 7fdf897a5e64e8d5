// Tensors of a device on their way between ranks, which are threads here: through the host's memory and, on the
// emulator, over the fake NCCL; gradients summed there beside the CPU's, and their memory beside the plan's.
#include "comm/data_path.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <random>

#include "autograd/memory.h"
#include "comm/solo.h"
#include "tests/cuda/device.h"
#include "tests/support/thread_ranks.h"
#include "trainer/gradient_sum.h"

namespace trainer::test {
namespace {

enum class Way { host, nccl };

// Ends the test if a rank's connections fail.
void never(int, const std::string& message) { FAIL() << message; }

std::unique_ptr<DataPath> make_path(Way way, Communicator& ranks) {
    if (way == Way::host) return make_host_path(ranks, Place::cuda(), "the test wants it");
    auto path = open_data_path(ranks, Place::cuda(), never);
    EXPECT_TRUE(path->text().starts_with("NCCL 2.")) << path->text();
    return path;
}

// Whether ranks that are threads can use NCCL: on a device they would share one GPU.
bool nccl_is_there() {
#ifdef TRAINER_EMULATED
    return ::dlopen(FAKE_NCCL, RTLD_NOW) != nullptr;   // found by its name from now on
#else
    return false;
#endif
}

class DeviceRanks : public ::testing::TestWithParam<Way> {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
        if (GetParam() == Way::nccl && !nccl_is_there()) GTEST_SKIP() << "the ranks have one GPU";
    }
};
INSTANTIATE_TEST_SUITE_P(Ways, DeviceRanks, ::testing::Values(Way::host, Way::nccl),
                         [](const auto& way) { return way.param == Way::host ? "Host" : "Nccl"; });

// What rank `from` has for rank `to`: numbers that name both, as many as nobody else sends.
std::vector<float> words(int from, int to) {
    std::vector<float> values(static_cast<std::size_t>((from * 5 + to * 3) % 7 * 300));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(from * 100 + to) + 1e-4f * i;
    return values;
}

Tensor on_device(const std::vector<float>& values) {
    return on_place(Tensor::from<float>(values, Shape(static_cast<std::int64_t>(values.size()))), Place::cuda());
}

Tensor room(std::size_t elements, DType dtype = DType::f32) {
    return Tensor::empty(Shape(static_cast<std::int64_t>(elements)), dtype, Place::cuda());
}

TEST_P(DeviceRanks, EveryTensorArrivesWhereItBelongs) {
    for (const int size : {2, 3, 4})
        run_ranks(size, [&](Communicator& ranks) {
            const int here = ranks.rank();
            const auto path = make_path(GetParam(), ranks);
            for (int round = 0; round < 3; ++round) {
                std::vector<Tensor> send, receive, gathered;
                for (int rank = 0; rank < size; ++rank) {
                    send.push_back(on_device(words(here, rank)));
                    receive.push_back(room(words(rank, here).size()));
                    gathered.push_back(room(words(rank, round).size()));
                }
                path->all_to_all(send, receive);
                path->all_gather(on_device(words(here, round)), gathered);
                for (int rank = 0; rank < size; ++rank) {
                    const auto r = static_cast<std::size_t>(rank);
                    if (rank != here) {
                        EXPECT_EQ(receive[r].to_vector<float>(), words(rank, here));
                    }
                    EXPECT_EQ(gathered[r].to_vector<float>(), words(rank, round));
                }
            }
        });
}

TEST_P(DeviceRanks, SumsAndOtherTypes) {
    run_ranks(3, [&](Communicator& ranks) {
        const auto path = make_path(GetParam(), ranks);
        const auto own = static_cast<float>(ranks.rank());
        const Tensor values = on_device({own, 2 * own, -1, 0.5f});
        path->all_reduce(values);
        EXPECT_EQ(values.to_vector<float>(), (std::vector<float>{3, 6, -3, 1.5f}));
        const Tensor mine = on_place(Tensor::from<bf16>(std::vector<bf16>(5, bf16(own)), Shape(5)), Place::cuda());
        std::vector<Tensor> all = {room(5, DType::bf16), room(5, DType::bf16), room(5, DType::bf16)};
        all[static_cast<std::size_t>(ranks.rank())] = mine;   // where it lies already
        path->all_gather(mine, all);
        for (int rank = 0; rank < 3; ++rank)
            for (const bf16 value : all[static_cast<std::size_t>(rank)].to_vector<bf16>())
                EXPECT_EQ(static_cast<float>(value), static_cast<float>(rank));
    });
}

// The fake finds what NCCL itself would answer with a hang or another's memory.
TEST(DeviceRanksAlone, MistakesOverNcclAreFound) {
    if (!device_is_there() || !nccl_is_there()) GTEST_SKIP() << "the ranks have one GPU";
    const auto exchange = [](std::int64_t sent, std::int64_t expected, Place place) {
        std::string found;
        run_ranks(2, [&](Communicator& ranks) {
            const auto path = make_path(Way::nccl, ranks);
            const std::int64_t here = ranks.rank() == 0 ? sent : 1, there = ranks.rank() == 0 ? 1 : expected;
            const std::vector<Tensor> send(2, Tensor::zeros(Shape(here), DType::f32, place));
            const std::vector<Tensor> receive(2, Tensor::zeros(Shape(there), DType::f32, place));
            try {
                path->all_to_all(send, receive);
            } catch (const Error& error) {
                EXPECT_EQ(error.code(), Exit::system);
                if (ranks.rank() == 1) found = error.what();
            }
        });
        return found;
    };
    EXPECT_EQ(exchange(5, 5, Place::cuda()), "");
    EXPECT_THAT(exchange(5, 6, Place::cuda()),
                ::testing::HasSubstr("with 20 bytes, rank 1 in call 3 of kind 0 with 24"));
    EXPECT_THAT(exchange(5, 5, Place::cpu()), ::testing::HasSubstr("the buffer is not the device's"));
}

// Parameters of several sizes and their gradients of random leaves, at a place.
struct Leaves {
    ParameterSet set;
    std::vector<std::vector<Parameter*>> units;
    Place place;

    explicit Leaves(Place where) : place(where) {
        constexpr std::int64_t sizes[] = {3, 5000, 64, 70001};
        std::vector<Parameter*> all;
        for (const std::int64_t size : sizes) {
            Parameter& parameter = set.declare("p" + std::to_string(size), Shape(size));
            parameter.value = Tensor::zeros(Shape(size), DType::f32, place);
            all.push_back(&parameter);
        }
        units = {{all[0], all[1]}, {all[2], all[3]}};
    }

    void backward(std::int64_t leaf, GradientSum& sum) {
        const PurposeScope purpose(Purpose::gradients);
        for (const auto& unit : units)
            for (Parameter* parameter : unit) {
                std::mt19937 generator(static_cast<unsigned>(leaf * 1000 + parameter->shape.elements()));
                std::normal_distribution<float> normal;
                std::vector<float> values(static_cast<std::size_t>(parameter->shape.elements()));
                for (float& value : values) value = normal(generator);
                parameter->add_gradient(on_place(Tensor::from<float>(values, parameter->shape), place));
            }
        sum.unit_done(0);
        sum.add_leaf();
    }

    void step(GradientSum& sum, std::int64_t leaves) {
        sum.begin(leaves);
        for (const std::int64_t leaf : sum.leaves_of(leaves)) backward(leaf, sum);
        sum.finish();
    }
};

std::vector<float> sums_of_one(std::int64_t leaves, double& norm) {
    const auto alone = make_solo();
    const auto path = make_host_path(*alone, Place::cpu());
    Leaves all(Place::cpu());
    const auto sum = make_gradient_sum(all.units, *path, Determinism::strict, Sharding::none);
    all.step(*sum, leaves);
    norm = sum->norm();
    std::vector<float> values;
    for (const Tensor& gradient : sum->gradients()) {
        const std::vector<float> one = gradient.to_vector<float>();
        values.insert(values.end(), one.begin(), one.end());
    }
    return values;
}

TEST_P(DeviceRanks, SumsOfLeavesHaveTheBitsOfTheCpu) {
    constexpr std::int64_t leaves = 7;
    double norm = 0;
    const std::vector<float> expected = sums_of_one(leaves, norm);
    for (const int size : {2, 3})
        for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
            std::vector<float> found(expected.size());
            std::mutex mutex;
            run_ranks(size, [&](Communicator& ranks) {
                const auto path = make_path(GetParam(), ranks);
                Leaves mine(Place::cuda());
                const auto sum = make_gradient_sum(mine.units, *path, Determinism::strict, sharding);
                mine.step(*sum, leaves);
                EXPECT_EQ(sum->norm(), norm);
                sum->share_values();
                const std::lock_guard lock(mutex);
                std::map<const Parameter*, std::int64_t> begins;
                std::int64_t begin = 0;
                for (const auto& unit : mine.units)
                    for (const Parameter* parameter : unit) {
                        begins[parameter] = begin;
                        begin += parameter->shape.elements();
                    }
                for (std::size_t i = 0; i < sum->slices().size(); ++i) {
                    const ParameterSlice& slice = sum->slices()[i];
                    const std::vector<float> part = sum->gradients()[i].to_vector<float>();
                    std::copy(part.begin(), part.end(), found.begin() + begins[slice.parameter] + slice.begin);
                }
            });
            EXPECT_EQ(found, expected) << size;
        }
}

// One of several ranks, whose others are not there: what is sent goes nowhere, and nothing comes.
class Nowhere : public Communicator {
public:
    Nowhere(int rank, int size) : rank_(rank), size_(size) {}
    int rank() const override { return rank_; }
    int size() const override { return size_; }
    void all_to_all(std::span<const std::span<const std::byte>>, std::span<const std::span<std::byte>>) override {}
    void all_gather(std::span<const std::byte>, std::span<const std::span<std::byte>>) override {}
    void broadcast(std::span<std::byte>, int) override {}
    void barrier() override {}
    void all_reduce(std::span<float>) override {}
    std::string name_of(int) const override { return ""; }
    void abandon(int, const std::string&) noexcept override {}

private:
    int rank_;
    int size_;
};

std::array<std::size_t, purpose_count> peak_of(Place place, int rank, Determinism sums, Sharding sharding) {
    Nowhere ranks(rank, 3);
    const auto path = make_host_path(ranks, place);
    Leaves leaves(place);
    const auto sum = make_gradient_sum(leaves.units, *path, sums, sharding);
    const auto before = memory_use(place).bytes;
    reset_memory_peak(place);
    leaves.step(*sum, 8);
    sum->share_values();
    auto peak = memory_use(place).peak_bytes;
    for (std::size_t i = 0; i < peak.size(); ++i) peak[i] -= before[i];
    return peak;
}

TEST(DeviceRanksAlone, ThePlanCountsWhatTheExchangeTakes) {
    if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    for (const int rank : {0, 2})
        for (const Determinism sums : {Determinism::strict, Determinism::repeatable, Determinism::fast})
            for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients})
                EXPECT_EQ(peak_of(Place::cuda(), rank, sums, sharding),
                          peak_of(Place::meta(Place::Kind::cuda), rank, sums, sharding))
                    << rank;
}

}   // namespace
}   // namespace trainer::test
