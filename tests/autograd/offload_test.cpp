#include "autograd/offload.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <numeric>

#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/autograd/small_tensors.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

Tensor counted_up(std::int64_t elements, float first) {
    std::vector<float> values(static_cast<std::size_t>(elements));
    std::iota(values.begin(), values.end(), first);
    return Tensor::from<float>(values, elements);
}

std::size_t offloaded_now() { return memory_use(Place::cpu()).bytes[static_cast<std::size_t>(Purpose::offloaded)]; }

// What is read must be what was written, whatever was given back in between.
TEST(Offload, ValuesComeBackFromRoomsThatAreUsedAgain) {
    const ScratchFolder folder;
    const auto store = make_file_store(folder.path(), 0);
    std::vector<std::pair<Tensor, std::unique_ptr<Offloaded>>> kept;
    for (int round = 0; round < 40; ++round) {
        const Tensor value = counted_up(1 + round * 37 % 100, static_cast<float>(100 * round));
        kept.emplace_back(value, std::make_unique<Offloaded>(*store, value));
        kept.back().second->write(value);
        if (round % 3 == 2) kept.erase(kept.begin() + round % static_cast<int>(kept.size()));
    }
    for (const auto& [value, waiting] : kept) {
        Tensor back = Tensor::empty(value.shape(), DType::f32);
        waiting->read(back);
        EXPECT_EQ(back.to_vector<float>(), value.to_vector<float>());
    }
}

TEST(Offload, SavedValuesTakeNoMemory) {
    const ScratchFolder folder;
    const auto store = make_file_store(folder.path(), 4000);
    const Tensor value = counted_up(1000, 1);
    const Tensor same = value;
    const std::size_t total = memory_use(Place::cpu()).total();
    const std::size_t offloaded = offloaded_now();
    {
        Offloaded waiting(*store, value);
        waiting.save(value);
        EXPECT_EQ(value.raw(), nullptr);
        EXPECT_EQ(memory_use(Place::cpu()).total(), total - 4096);
        EXPECT_EQ(offloaded_now(), offloaded + 4000);
        waiting.load(value);
    }
    EXPECT_EQ(memory_use(Place::cpu()).total(), total);
    EXPECT_EQ(offloaded_now(), offloaded);
    EXPECT_EQ(same.to_vector<float>()[999], 1000);
}

TEST(Offload, UntilBackward) {
    const ScratchFolder folder;
    const auto store = make_file_store(folder.path(), 0);
    Tape tape;
    Tensor x = counted_up(512, 1).reshaped({1, 512});
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = squared(x);
        const std::size_t before = memory_use(Place::cpu()).total();
        offload_until_backward(x, *store);
        EXPECT_EQ(memory_use(Place::cpu()).total(), before - 2048);
        EXPECT_EQ(offloaded_now(), 2048u);
    }
    tape.backward(y, Tensor::from<float>(std::vector<float>(512, 1.0f), {1, 512}));
    EXPECT_EQ(offloaded_now(), 0u);
    const std::vector<float> gradient = tape.gradient(x).to_vector<float>();
    for (int i = 0; i < 512; ++i) EXPECT_EQ(gradient[static_cast<std::size_t>(i)], 2.0f * static_cast<float>(i + 1));
}

TEST(Offload, TheFileHasNoName) {
    const ScratchFolder folder;
    const auto store = make_file_store(folder.path(), 1 << 20);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

template <typename Work>
Error error_of(Work&& work) {
    try {
        work();
    } catch (const Error& error) {
        return error;
    }
    return {Exit::done, ""};
}

TEST(Offload, AFolderThatIsNotThere) {
    const Error error = error_of([] { make_file_store("/nowhere/at/all", 1); });
    EXPECT_EQ(error.code(), Exit::cannot_create);
    EXPECT_STREQ(error.what(), "/nowhere/at/all: a file to offload to cannot be made: No such file or directory");
}

// A limit of file sizes stands for a disk that is full.
TEST(Offload, AFullDisk) {
    const ScratchFolder folder;
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit small{1 << 16, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const Error at_once = error_of([&] { make_file_store(folder.path(), 1 << 20); });
    const Error later = error_of([&] {
        const auto store = make_file_store(folder.path(), 0);
        const Tensor value = counted_up(1 << 16, 0);
        Offloaded(*store, value).write(value);
    });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(at_once.code(), Exit::io);
    EXPECT_EQ(std::string(at_once.what()),
              folder.path().string() + ": 1048576 bytes to offload to cannot be had: File too large");
    EXPECT_EQ(later.code(), Exit::io);
    EXPECT_EQ(std::string(later.what()), folder.path().string() +
                                             ": what is offloaded cannot be written: File too large; the run can be "
                                             "resumed");
}

}   // namespace
}   // namespace trainer::test
