#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "trainer/checkpoint/staged_folder.h"
#include "trainer/checkpoint/state_file.h"

namespace trainer {

// Writes checkpoints behind the training loop: what has to be written has been copied when `start` is called, is
// written, hashed and flushed by a thread of every rank, and committed by rank 0 at a later `poll`, when all ranks are
// done. At most one is under way.
class CheckpointWriter {
public:
    CheckpointWriter(Communicator& ranks, std::filesystem::path run_folder, std::string run_id);
    ~CheckpointWriter();
    CheckpointWriter(const CheckpointWriter&) = delete;
    CheckpointWriter& operator=(const CheckpointWriter&) = delete;

    struct Content {
        std::string name;                         // of the folder
        Manifest manifest;                        // without files
        SafetensorsLayout layout;                 // of the state file
        std::shared_ptr<const StateCopy> state;   // this rank's part of it; let go when it is written
        // Rank 0: writes all other files into the folder, from copies of its own. Called by the thread.
        std::function<void(const std::filesystem::path&)> write_files;
        std::uint64_t other_bytes = 0;   // of those files, about
    };
    // Collective; nothing may be under way. Makes the folder and sees to the disk space. AgreedError.
    void start(Content content);

    bool under_way() const { return under_way_; }
    // Collective. When all ranks have written (`wait`: waits for that) commits and returns the folder's manifest (at
    // rank 0; elsewhere one without files); nothing while some rank still writes. AgreedError when any rank failed; the
    // attempt is over then and nothing of it is left.
    std::optional<Manifest> poll(bool wait);

    double seconds() const { return seconds_; }   // the longest from start to commit, for time limits

private:
    void write();
    Manifest commit();

    Communicator& ranks_;
    std::filesystem::path run_folder_;
    std::string run_id_;
    bool under_way_ = false;
    Content content_;
    std::filesystem::path folder_;
    std::unique_ptr<StagedFolder> staged_;   // rank 0
    std::thread thread_;
    std::atomic<bool> done_ = false;
    std::exception_ptr error_;
    std::vector<WrittenRanges> written_;
    double begin_seconds_ = 0;
    double seconds_ = 0;
};

}   // namespace trainer
