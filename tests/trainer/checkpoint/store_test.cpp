#include "trainer/checkpoint/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/tiny_model.h"
#include "tests/trainer/checkpoint/small_checkpoint.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/staged_folder.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

std::string reason(const fs::path& folder) {
    const Error error = error_of([&] { verify_checkpoint(folder); });
    if (error.code() == Exit::done) return "";
    EXPECT_EQ(error.code(), Exit::bad_checkpoint) << error.what();
    return error.what();
}

TEST(Store, NamesAndOrder) {
    EXPECT_EQ(checkpoint_name(50), "checkpoint-50");
    EXPECT_EQ(checkpoint_step("checkpoint-50"), 50);
    for (const char* name : {"checkpoint-", "checkpoint-x", "checkpoint-05", "checkpoint--5", "checkpoint-5 ",
                             "checkpoint-5.old", "checkpoint-99999999999999999999", ".tmp-checkpoint-5", "checkpoint"})
        EXPECT_FALSE(checkpoint_step(name)) << name;
    const ScratchFolder run;
    EXPECT_TRUE(list_checkpoints(run / "absent").empty());
    for (const char* name : {"checkpoint-9", "checkpoint-10", "checkpoint-best", ".tmp-checkpoint-11-x"})
        fs::create_directory(run / name);
    EXPECT_THAT(list_checkpoints(run.path()), ElementsAre(9, 10));
}

TEST(Store, VerifiesWhatWasSaved) {
    const ScratchFolder run;
    save_small_checkpoint(run.path(), 3);
    const Checkpoint checkpoint = verify_checkpoint(run / "checkpoint-3");
    EXPECT_EQ(checkpoint.manifest.step, 3);
    EXPECT_EQ(checkpoint.manifest.files.size(), 4u);
    EXPECT_TRUE(holds_small_checkpoint(run / "checkpoint-3", 3));
    EXPECT_THAT(names_in(run.path()), ElementsAre("checkpoint-3"));
}

// Every byte of every file, the manifest too; then sizes and zeros.
TEST(Store, EveryChangeOfAByteIsFound) {
    const ScratchFolder run;
    save_small_checkpoint(run.path(), 3);
    const fs::path folder = run / "checkpoint-3";
    std::size_t changes = 0;
    for (const std::string& name : files_under(folder)) {
        const std::string good = get_text(folder / name);
        const auto refused = [&](const std::string& bad) {
            put_text(folder / name, bad);
            ++changes;
            return reason(folder).starts_with((folder / name).string() + ": ");
        };
        for (std::size_t i = 0; i < good.size(); ++i) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
            ASSERT_TRUE(refused(bad)) << name << ", byte " << i;
        }
        if (!good.empty()) {
            ASSERT_TRUE(refused(good.substr(0, good.size() - 1))) << name;
            ASSERT_TRUE(refused("")) << name;
            ASSERT_TRUE(refused(std::string(good.size(), '\0'))) << name;
            ASSERT_TRUE(refused(good.substr(0, good.size() / 2) + std::string(good.size() - good.size() / 2, '\0')));
        }
        ASSERT_TRUE(refused(good + std::string(1, '\0'))) << name;
        put_text(folder / name, good);
    }
    EXPECT_EQ(reason(folder), "");
    EXPECT_GT(changes, 1900u);
}

TEST(Store, SaysWhatIsWrong) {
    const ScratchFolder run;
    for (const int step : {3, 4}) save_small_checkpoint(run.path(), step);
    const fs::path folder = run / "checkpoint-3";
    const std::string config = (folder / "config.json").string();
    const std::string good = get_text(config);
    put_text(config, "{\"step\": 4}\n");
    EXPECT_EQ(reason(folder),
              config + ": SHA-256 is " + sha256_of("{\"step\": 4}\n") + ", the manifest says " + sha256_of(good));
    put_text(config, good + "\n");
    EXPECT_EQ(reason(folder), config + ": has 13 bytes, the manifest says 12");
    fs::remove(config);
    EXPECT_EQ(reason(folder), config + ": is missing");
    fs::create_symlink("../checkpoint-4/config.json", config);
    EXPECT_EQ(reason(folder), config + ": is a symbolic link");
    fs::remove(config);
    fs::create_directory(config);
    EXPECT_EQ(reason(folder), config + ": is not a regular file");
    fs::remove(config);
    put_text(config, good);

    fs::rename(folder / "more", run / "elsewhere");
    fs::create_directory_symlink(run / "elsewhere", folder / "more");
    EXPECT_EQ(reason(folder), (folder / "more").string() + ": is missing or not a folder");
    fs::remove(folder / "more");
    fs::rename(run / "elsewhere", folder / "more");

    put_text(folder / "notes", "x");
    EXPECT_EQ(reason(folder), "");
    for (const char* extra : {"model-00002-of-00002.safetensors", "model.safetensors.index.json"}) {
        put_text(folder / extra, "x");
        EXPECT_EQ(reason(folder), (folder / extra).string() + ": is not listed in trainer_manifest.json");
        fs::remove(folder / extra);
    }
    EXPECT_EQ(reason(folder), "");
}

TEST(Store, FilesOfAnotherStepAreFound) {
    const ScratchFolder run;
    for (const int step : {3, 4}) save_small_checkpoint(run.path(), step);
    fs::copy_file(run / "checkpoint-4/model.safetensors", run / "checkpoint-3/model.safetensors",
                  fs::copy_options::overwrite_existing);
    EXPECT_THAT(reason(run / "checkpoint-3"), HasSubstr("checkpoint-3/model.safetensors: SHA-256 is "));
    fs::copy_file(run / "checkpoint-4/trainer_manifest.json", run / "checkpoint-3/trainer_manifest.json",
                  fs::copy_options::overwrite_existing);
    EXPECT_EQ(reason(run / "checkpoint-3"), (run / "checkpoint-3").string() + ": its manifest is of step 4");
    fs::rename(run / "checkpoint-4", run / "checkpoint-5");
    EXPECT_EQ(reason(run / "checkpoint-5"), (run / "checkpoint-5").string() + ": its manifest is of step 4");

    save_small_checkpoint(run.path(), 6);
    const fs::path folder = run / "checkpoint-6";
    fs::remove(folder / "trainer_manifest.json");
    EXPECT_EQ(reason(folder), folder.string() + ": has no trainer_manifest.json");
}

TEST(Store, FindsTheNewestThatVerifies) {
    const ScratchFolder run;
    EXPECT_FALSE(find_newest_checkpoint(run.path()).found);
    for (const int step : {8, 9, 10, 11}) save_small_checkpoint(run.path(), step);
    put_text(run / "checkpoint-11/config.json", "{\"step\": 12}\n");
    fs::remove(run / "checkpoint-10/trainer_manifest.json");
    const NewestCheckpoint newest = find_newest_checkpoint(run.path());
    ASSERT_TRUE(newest.found);
    EXPECT_EQ(newest.found->folder, run / "checkpoint-9");
    ASSERT_EQ(newest.skipped.size(), 2u);
    EXPECT_EQ(newest.skipped[0].name, "checkpoint-11");
    EXPECT_THAT(newest.skipped[0].reason, HasSubstr("checkpoint-11/config.json: SHA-256 is "));
    EXPECT_EQ(newest.skipped[1].name, "checkpoint-10");
}

TEST(Store, NamesThatCannotBeTakenAreRefused) {
    const ScratchFolder run;
    const auto refusal = [&](std::int64_t step) {
        const Error error = error_of([&] { refuse_blocked_names(run.path(), step); });
        EXPECT_TRUE(error.code() == Exit::cannot_create || error.code() == Exit::done);
        return std::string(error.what());
    };
    for (const int step : {3, 9}) save_small_checkpoint(run.path(), step);
    fs::create_directory(run / "elsewhere");
    fs::create_directory_symlink("elsewhere", run / "checkpoint-5");
    put_text(run / "checkpoint-7", "x");
    EXPECT_EQ(refusal(3), (run / "checkpoint-5").string() +
                              ": is a symbolic link, so checkpoint 5 could not be put there; remove it, or move the "
                              "folder itself here");
    EXPECT_EQ(refusal(5), (run / "checkpoint-7").string() +
                              ": is not a folder, so checkpoint 7 could not be put there; remove it, or move the "
                              "folder itself here");
    EXPECT_EQ(refusal(7), "no error");
    fs::remove(run / "checkpoint-7");
    fs::create_symlink("gone", run / "checkpoint-8");
    EXPECT_NE(refusal(7), "no error");
}

TEST(Store, RotationKeepsTheNewestAndTheBest) {
    const ScratchFolder run;
    const RunLock lock(run.path(), small_run_id);
    for (const int step : {1, 2, 3, 4, 5, 6}) save_small_checkpoint(run.path(), step);
    fs::remove(run / "checkpoint-3/config.json");   // does not count and is not touched
    put_text(run / "checkpoint-7", "no folder");
    rotate_checkpoints(lock, 6, 2, {2});
    EXPECT_THAT(names_in(run.path()),
                ElementsAre(".lock", "checkpoint-2", "checkpoint-3", "checkpoint-5", "checkpoint-6", "checkpoint-7"));
    rotate_checkpoints(lock, 6, 1, {});
    EXPECT_THAT(list_checkpoints(run.path()), ElementsAre(3, 6, 7));
    EXPECT_EQ(reason(run / "checkpoint-6"), "");
}

// A run that went on from before them: what it has committed counts, however old and damaged the later ones are.
TEST(Store, RotationDropsWhatARunHasLeftBehind) {
    const ScratchFolder run;
    const RunLock lock(run.path(), small_run_id);
    for (const int step : {2, 3, 5, 8}) save_small_checkpoint(run.path(), step);
    put_text(run / "checkpoint-8/config.json", get_text(run / "checkpoint-8/config.json").replace(0, 1, "?"));
    save_small_checkpoint(run.path(), 4);
    rotate_checkpoints(lock, 4, 2, {});
    EXPECT_THAT(list_checkpoints(run.path()), ElementsAre(3, 4));
    EXPECT_EQ(reason(run / "checkpoint-4"), "");
}

TEST(Store, RotationLeavesTheNewest) {
    const ScratchFolder run;
    const RunLock lock(run.path(), small_run_id);
    for (const int step : {4, 5}) save_small_checkpoint(run.path(), step);
    rotate_checkpoints(lock, 5, 1, {});
    EXPECT_EQ(reason(run / "checkpoint-5"), "");
}

TEST(Store, RotationPassesLeftoversOfItsOwn) {
    const ScratchFolder run;
    const RunLock lock(run.path(), small_run_id);
    for (const int step : {1, 2}) save_small_checkpoint(run.path(), step);
    put_text(run / ".trash-checkpoint-1/half", "x");
    rotate_checkpoints(lock, 2, 1, {});
    EXPECT_THAT(names_in(run.path()), ElementsAre(".lock", "checkpoint-2"));
}

TEST(Store, LeftoversAreSwept) {
    const ScratchFolder run;
    const RunLock lock(run.path(), small_run_id);
    save_small_checkpoint(run.path(), 1);
    put_text(run / ".tmp-checkpoint-2-x/more/file", "x");
    put_text(run / ".trash-checkpoint-0/file", "x");
    put_text(run / ".tmp-recipe.yaml.a1b2c3", "x");
    put_text(run / ".hidden", "the user's");
    sweep_leftovers(lock);
    EXPECT_THAT(names_in(run.path()), ElementsAre(".hidden", ".lock", "checkpoint-1"));
}

// While checkpoints come and go, a reader always finds one.
TEST(Store, ReadersRaceWithRotation) {
    const ScratchFolder run;
    const RunLock lock(run.path(), small_run_id);
    save_small_checkpoint(run.path(), 1);
    std::atomic<bool> done = false;
    std::atomic<int> reads = 0;
    std::thread reader([&] {
        while (!done || reads == 0) {
            const NewestCheckpoint newest = find_newest_checkpoint(run.path());
            EXPECT_TRUE(newest.found);
            ++reads;
        }
    });
    for (std::int64_t step = 2; step < 40; ++step) {
        save_small_checkpoint(run.path(), step);
        rotate_checkpoints(lock, step, 1, {});
    }
    done = true;
    reader.join();
    EXPECT_GT(reads, 0);
}

}   // namespace
}   // namespace trainer::test
