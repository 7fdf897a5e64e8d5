#include "tests/faults/saving.h"

#include <omp.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/trainer/checkpoint/small_checkpoint.h"
#include "trainer/checkpoint/run_lock.h"
#include "trainer/checkpoint/store.h"

namespace trainer::test {

int save_checkpoints(const std::filesystem::path& run_folder, const std::function<void(std::int64_t)>& acknowledge) {
    try {
        const RunLock lock(run_folder, small_run_id);
        sweep_leftovers(lock);
        const NewestCheckpoint newest = find_newest_checkpoint(run_folder);
        for (std::int64_t step = newest.found ? newest.found->manifest.step + 1 : 1; step <= last_step; ++step) {
            save_small_checkpoint(run_folder, step);
            acknowledge(step);
            rotate_checkpoints(lock, step, 1, {1});
        }
        save_small_checkpoint(run_folder, last_step);
        acknowledge(last_step);
        rotate_checkpoints(lock, last_step, 1, {1});   // the time before may have died before it did
        return 0;
    } catch (const Error& error) {
        return static_cast<int>(error.code());
    } catch (...) {
        return static_cast<int>(Exit::internal);
    }
}

Loss loss_in(const std::filesystem::path& run_folder, std::int64_t acknowledged) {
    std::int64_t newest = 0;
    bool first = false;
    Loss loss;
    for (const std::int64_t step : list_checkpoints(run_folder)) {
        const std::filesystem::path folder = run_folder / checkpoint_name(step);
        if (error_of([&] { verify_checkpoint(folder); }).code() != Exit::done) continue;
        newest = step;
        first = first || step == 1;
        loss.wrong = loss.wrong || !holds_small_checkpoint(folder, step);
    }
    loss.lost = newest < acknowledged || (acknowledged > 0 && !first);
    return loss;
}

std::vector<DiskRecord> record_saving(const std::filesystem::path& run_folder) {
    arm_disk({run_folder.string(), DiskFault::none, 0, false, true});
    const int code = save_checkpoints(run_folder, mark_disk);
    disarm_disk();
    require(code == 0, Exit::internal, "saving without faults ended with {}", code);
    return take_disk_records();
}

void use_fast_temporary_folder() {
    if (::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 1);
    omp_set_num_threads(1);   // children of fork have no other threads
}

}   // namespace trainer::test
