// Power cuts at every instant of saving and rotating checkpoints, with every kind of remains.
#include "tests/faults/power_cut.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <iostream>

#include "configs/error.h"
#include "hub/safetensors_layout.h"
#include "tests/faults/saving.h"
#include "tests/support/tiny_model.h"
#include "trainer/checkpoint/folder_files.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

struct Tally {
    int states = 0;
    int lost = 0;
    int wrong = 0;
};

// Judges many disks: at each instant nothing kept, all kept, and `samples` random choices.
Tally judge(const std::vector<DiskRecord>& records, const std::string& root, int samples,
            const std::function<Loss(const fs::path&, std::int64_t)>& loss_of) {
    const ScratchFolder scratch;
    const PowerCut cut(records, root);
    std::mt19937 random(1);
    Tally tally;
    for (std::size_t instant = 0; instant <= cut.size(); ++instant)
        for (int sample = -2; sample < samples; ++sample) {
            const Unflushed kept = sample == -2 ? Unflushed::none : sample == -1 ? Unflushed::all : Unflushed::some;
            cut.build(instant, kept, random, scratch / "disk");
            const Loss loss = loss_of(scratch / "disk", cut.mark_before(instant));
            ++tally.states;
            tally.lost += loss.lost;
            tally.wrong += loss.wrong;
        }
    return tally;
}

void print(const char* what, const Tally& tally) {
    std::cout << what << ": " << tally.states << " power cuts, " << tally.lost << " lost something acknowledged, "
              << tally.wrong << " accepted something wrong\n";
}

class PowerCuts : public testing::Test {
protected:
    void SetUp() override { use_fast_temporary_folder(); }
};

TEST_F(PowerCuts, LoseNothingAcknowledged) {
    const ScratchFolder run;
    const std::vector<DiskRecord> records = record_saving(run.path());
    const char* wanted = std::getenv("POWER_CUT_SAMPLES");
    const Tally tally = judge(records, run.path(), wanted ? std::atoi(wanted) : 8, loss_in);
    print("the commit protocol", tally);
    EXPECT_GE(tally.states, 1000);
    EXPECT_EQ(tally.lost, 0);
    EXPECT_EQ(tally.wrong, 0);
}

// The next start after a power cut, whatever it left, sweeps, goes on and ends as if nothing had happened.
TEST_F(PowerCuts, AreRecoveredFrom) {
    const ScratchFolder run;
    const ScratchFolder scratch;
    const PowerCut cut(record_saving(run.path()), run.path());
    std::mt19937 random(2);
    for (std::size_t instant = 0; instant <= cut.size(); ++instant) {
        cut.build(instant, Unflushed::some, random, scratch / "disk");
        ASSERT_EQ(save_checkpoints(scratch / "disk", [](std::int64_t) {}), 0) << "instant " << instant;
        const Loss loss = loss_in(scratch / "disk", last_step);
        ASSERT_FALSE(loss.lost || loss.wrong) << "instant " << instant;
        ASSERT_THAT(names_in(scratch / "disk"), testing::ElementsAre("checkpoint-1", "checkpoint-3"));
    }
}

std::vector<DiskRecord> without(std::vector<DiskRecord> records,
                                const std::function<bool(const DiskRecord&)>& leave_out) {
    std::erase_if(records, leave_out);
    return records;
}

// The same calls without flushing files, or folders: checkpoints are lost, so the flushes are needed; none of the
// damaged ones is accepted, which is the manifest's part.
TEST_F(PowerCuts, WithoutFlushingMuchIsLostAndNothingWrongAccepted) {
    const ScratchFolder run;
    const std::vector<DiskRecord> records = record_saving(run.path());
    const auto is_folder = [](const DiskRecord& record) {
        const fs::path name = fs::path(record.path).filename();
        return !name.has_extension() && name != "empty" && name != ".lock";
    };
    const Tally files =
        judge(without(records, [&](const auto& r) { return r.call == DiskCall::sync && !is_folder(r); }), run.path(), 4,
              loss_in);
    print("files not flushed", files);
    EXPECT_GT(files.lost, 0);
    EXPECT_EQ(files.wrong, 0);
    const Tally folders =
        judge(without(records, [&](const auto& r) { return r.call == DiskCall::sync && is_folder(r); }), run.path(), 4,
              loss_in);
    print("folders not flushed", folders);
    EXPECT_GT(folders.lost, 0);
    EXPECT_EQ(folders.wrong, 0);
}

// ---- what most programs do: a temporary file, then rename ----

std::string plain_bytes(std::int64_t step) {
    const SafetensorsLayout layout = lay_out_safetensors("plain", {{"w", FileDType::u8, {1000}}});
    return layout.head + std::string(1000, static_cast<char>('a' + step));
}

void save_plainly(const fs::path& folder, std::int64_t step) {
    const std::string bytes = plain_bytes(step);
    const fs::path temporary = folder / "temporary";
    const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    for (std::size_t at = 0; at < bytes.size(); at += 256)
        if (::write(file, bytes.data() + at, std::min<std::size_t>(256, bytes.size() - at)) <= 0) std::abort();
    ::close(file);
    if (::rename(temporary.c_str(), (folder / ("step-" + std::to_string(step) + ".safetensors")).c_str()) != 0)
        std::abort();
}

// The newest by name that opens as a safetensors file is believed.
Loss plain_loss(const fs::path& folder, std::int64_t acknowledged) {
    for (std::int64_t step = last_step; step > 0; --step) {
        const fs::path path = folder / ("step-" + std::to_string(step) + ".safetensors");
        try {
            const SafetensorsFile file(path);
            return {step < acknowledged, get_text(path) != plain_bytes(step)};
        } catch (const Error&) {
        }
    }
    return {acknowledged > 0, false};
}

TEST_F(PowerCuts, BreakPlainTemporaryFileAndRename) {
    const ScratchFolder run;
    arm_disk({run.path().string(), DiskFault::none, 0, false, true});
    for (std::int64_t step = 1; step <= last_step; ++step) {
        save_plainly(run.path(), step);
        mark_disk(step);
    }
    disarm_disk();
    const Tally tally = judge(take_disk_records(), run.path(), 40, plain_loss);
    print("temporary file and rename", tally);
    EXPECT_GT(tally.lost, 0);
    EXPECT_GT(tally.wrong, 0);
}

}   // namespace
}   // namespace trainer::test
