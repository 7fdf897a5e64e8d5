#include "trainer/checkpoint/staged_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hub/output_file.h"
#include "hub/safetensors_ranges.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/checkpoint/small_checkpoint.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/store.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::MatchesRegex;

TEST(StagedFolder, WithoutCommitNothingStays) {
    const ScratchFolder run;
    {
        const StagedFolder staged(run.path(), "checkpoint-1", "abc");
        EXPECT_EQ(staged.path(), run / ".tmp-checkpoint-1-abc");
        write_file(staged.path() / "file", "x");
    }
    EXPECT_THAT(names_in(run.path()), IsEmpty());
}

TEST(StagedFolder, AnEarlierAttemptIsRemoved) {
    const ScratchFolder run;
    put_text(run / ".tmp-checkpoint-1-abc/stale.safetensors", "x");
    StagedFolder staged(run.path(), "checkpoint-1", "abc");
    write_file(staged.path() / "file", "x");
    EXPECT_THAT(files_under(staged.path()), ElementsAre("file"));
    EXPECT_EQ(staged.commit({}).files.size(), 1u);
}

TEST(StagedFolder, ReplacesAFolderOfTheSameName) {
    const ScratchFolder run;
    save_small_checkpoint(run.path(), 4);
    put_text(run / "checkpoint-4/config.json", "damaged");
    save_small_checkpoint(run.path(), 4, "another");
    EXPECT_NO_THROW(verify_checkpoint(run / "checkpoint-4"));
    EXPECT_THAT(names_in(run.path()), ElementsAre("checkpoint-4"));
}

TEST(StagedFolder, ListedFilesMustFit) {
    const ScratchFolder run;
    StagedFolder staged(run.path(), "checkpoint-1", "abc");
    write_file(staged.path() / "file", "x");
    Manifest manifest;
    manifest.files["file"] = {2, sha256_of("xy"), {}};
    Error error = error_of([&] { staged.commit(manifest); });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_EQ(error.what(), (staged.path() / "file").string() + ": has 1 bytes, expected 2");
    manifest.files = {{"other", {2, sha256_of("xy"), {}}}};
    EXPECT_EQ(error_of([&] { staged.commit(manifest); }).what(),
              (staged.path() / "other").string() + ": has disappeared");
    fs::create_symlink("/etc/passwd", staged.path() / "link");
    EXPECT_EQ(error_of([&] { staged.commit({}); }).what(),
              (staged.path() / "link").string() + ": is not a regular file");
}

TEST(StagedFolder, FilesCanBeListedBefore) {
    const ScratchFolder run;
    StagedFolder staged(run.path(), "checkpoint-1", "abc");
    for (const char* name : {"a", "b", "shared"}) write_file(staged.path() / name, name);
    Manifest manifest;
    manifest.files["a"] = {1, "as it is", {}};
    list_files(staged.path(), "shared", manifest);
    EXPECT_EQ(manifest.files.size(), 2u);
    EXPECT_EQ(manifest.files["a"].sha256, "as it is");
    EXPECT_EQ(manifest.files["b"].sha256, sha256_of("b"));
}

TEST(StagedFolder, MovesFilesIntoTheParent) {
    const ScratchFolder run;
    put_text(run / "config.json", "old");
    StagedFolder staged(run.path(), "final", "abc");
    for (const char* name : {"finished", "config.json", "model.safetensors", "z"})
        write_file(staged.path() / name, name);
    staged.move_into_parent({"model.safetensors", "finished"});
    EXPECT_EQ(get_text(run / "config.json"), "config.json");
    EXPECT_EQ(get_text(run / "finished"), "finished");
    EXPECT_THAT(names_in(staged.path()), IsEmpty());
}

// A kill in the middle may have left the folder with a part of its files.
TEST(StagedFolder, MovesWhatLiesInFoldersIntoThoseOfTheParent) {
    const ScratchFolder run;
    put_text(run / "tone/config.json", "old");
    StagedFolder staged(run.path(), "final", "abc");
    put_text(staged.path() / "tone/config.json", "new");
    put_text(staged.path() / "other/deep/weights", "w");
    write_file(staged.path() / "finished", "finished");
    staged.move_into_parent({"finished"});
    EXPECT_EQ(get_text(run / "tone/config.json"), "new");
    EXPECT_EQ(get_text(run / "other/deep/weights"), "w");
    EXPECT_EQ(get_text(run / "finished"), "finished");
}

TEST(StagedFolder, AFailedMoveTakesItsFoldersBack) {
    const ScratchFolder run;
    put_text(run / "model.safetensors/in the way", "x");
    {
        StagedFolder staged(run.path(), "final", "abc");
        put_text(staged.path() / "tone/config.json", "new");
        put_text(staged.path() / "model.safetensors", "m");
        EXPECT_EQ(error_of([&] { staged.move_into_parent({"model.safetensors"}); }).code(), Exit::io);
    }
    EXPECT_THAT(names_in(run.path()), ElementsAre("model.safetensors"));
}

TEST(StagedFolder, AFailedMoveIsTakenBack) {
    const ScratchFolder run;
    put_text(run / "model.safetensors/in the way", "x");
    {
        StagedFolder staged(run.path(), "final", "abc");
        for (const char* name : {"config.json", "finished", "model.safetensors"})
            write_file(staged.path() / name, name);
        const Error error = error_of([&] { staged.move_into_parent({"model.safetensors", "finished"}); });
        EXPECT_EQ(error.code(), Exit::io);
        EXPECT_EQ(error.what(), (run / "model.safetensors").string() + ": cannot be put in place: Is a directory");
    }
    EXPECT_THAT(names_in(run.path()), ElementsAre("model.safetensors"));
}

TEST(StagedFolder, NeedsAWritableParent) {
    const ScratchFolder run;
    const Error error = error_of([&] { StagedFolder(run / "absent", "checkpoint-1", "abc"); });
    EXPECT_EQ(error.code(), Exit::cannot_create);
    EXPECT_EQ(error.what(),
              (run / "absent/.tmp-checkpoint-1-abc").string() + ": cannot be created: No such file or directory");
    if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
    fs::permissions(run.path(), fs::perms(0755));
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setuid(65534) != 0) ::_exit(1);
        const Error denied = error_of([&] { StagedFolder(run.path(), "checkpoint-1", "abc"); });
        ::_exit(std::string(denied.what()).ends_with(": cannot be created: Permission denied")
                    ? static_cast<int>(denied.code())
                    : 2);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 73);
}

// A disk of a megabyte.
class SmallDisk : public testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "mounting a small disk needs root";
        fs::create_directory(disk);
        if (::mount("none", disk.c_str(), "tmpfs", 0, "size=1m,nr_inodes=24") != 0)
            GTEST_SKIP() << "this machine does not let us mount";
    }
    void TearDown() override { ::umount(disk.c_str()); }
    ScratchFolder folder;
    const fs::path disk = folder / "disk";
};

TEST_F(SmallDisk, IsAskedForRoomFirst) {
    const StagedFolder staged(disk, "checkpoint-1", "abc");
    EXPECT_NO_THROW(staged.reserve(900'000));
    const Error error = error_of([&] { staged.reserve(3u << 30); });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_THAT(error.what(),
                MatchesRegex(staged.path().string() + ": needs 3.00 GiB, [0-9.]+ [KM]iB free on " + disk.string()));
}

TEST_F(SmallDisk, FullInTheMiddleLeavesTheCheckpointBefore) {
    save_small_checkpoint(disk, 1);
    const Error error = error_of([&] {
        StagedFolder staged(disk, "checkpoint-2", "abc");
        write_file(staged.path() / "first", std::string(600'000, 'x'));
        write_file(staged.path() / "second", std::string(600'000, 'x'));
        staged.commit({});
    });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_TRUE(std::string(error.what()).ends_with("second: cannot be written: No space left on device"));
    const Error shared = error_of([&] {
        const StagedFolder staged(disk, "checkpoint-2", "abc");
        create_shared_safetensors(staged.path() / "w", lay_out_safetensors("w", {{"w", FileDType::u8, {2 << 20}}}));
    });
    EXPECT_EQ(shared.code(), Exit::io);
    EXPECT_THAT(shared.what(), MatchesRegex(".*/w: no room for [0-9]+ bytes: No space left on device"));
    EXPECT_THAT(names_in(disk), ElementsAre("checkpoint-1"));
    EXPECT_NO_THROW(verify_checkpoint(disk / "checkpoint-1"));
}

TEST_F(SmallDisk, WithoutRoomForFileNames) {
    const Error error = error_of([&] {
        StagedFolder staged(disk, "checkpoint-2", "abc");
        for (int i = 0; i < 40; ++i) write_file(staged.path() / std::to_string(i), "x");
    });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_THAT(names_in(disk), IsEmpty());
    const StagedFolder staged(disk, "checkpoint-2", "abc");
    for (int i = 0; i < 40 && error_of([&] { require_free_space(disk, 1); }).code() == Exit::done; ++i)
        put_text(staged.path() / std::to_string(i), "x");
    EXPECT_EQ(error_of([&] { staged.reserve(1); }).what(),
              staged.path().string() + ": the file system " + disk.string() + " has no room for another file");
}

TEST_F(SmallDisk, FinalFilesAppearTogetherOrNotAtAll) {
    const Error error = error_of([&] {
        StagedFolder staged(disk, "final", "abc");
        write_file(staged.path() / "model.safetensors", std::string(900'000, 'x'));
        write_file(staged.path() / "config.json", std::string(300'000, 'x'));
        staged.move_into_parent({"model.safetensors"});
    });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_THAT(names_in(disk), IsEmpty());
}

}   // namespace
}   // namespace trainer::test
