#include "comm/nccl.h"

#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "autograd/cuda/library.h"
#include "autograd/cuda/runtime.h"
#include "comm/background_thread.h"
#include "configs/error.h"

namespace trainer {

namespace {

// The functions of NCCL that are used.
struct Nccl {
    cuda::Library library{"libnccl.so.2", "nvidia-nccl-cu13"};
    decltype(ncclGetVersion)* version = nullptr;
    decltype(ncclGetUniqueId)* unique_id = nullptr;
    decltype(ncclCommInitRank)* init_rank = nullptr;
    decltype(ncclCommDestroy)* destroy = nullptr;
    decltype(ncclCommAbort)* abort = nullptr;
    decltype(ncclCommGetAsyncError)* async_error = nullptr;
    decltype(ncclGetErrorString)* error_text = nullptr;
    decltype(ncclGetLastError)* last_error = nullptr;
    decltype(ncclGroupStart)* group_start = nullptr;
    decltype(ncclGroupEnd)* group_end = nullptr;
    decltype(ncclSend)* send = nullptr;
    decltype(ncclRecv)* receive = nullptr;
    decltype(ncclAllReduce)* all_reduce = nullptr;

    Nccl() {
        library.find(version, "ncclGetVersion");
        library.find(unique_id, "ncclGetUniqueId");
        library.find(init_rank, "ncclCommInitRank");
        library.find(destroy, "ncclCommDestroy");
        library.find(abort, "ncclCommAbort");
        library.find(async_error, "ncclCommGetAsyncError");
        library.find(error_text, "ncclGetErrorString");
        library.find(last_error, "ncclGetLastError");
        library.find(group_start, "ncclGroupStart");
        library.find(group_end, "ncclGroupEnd");
        library.find(send, "ncclSend");
        library.find(receive, "ncclRecv");
        library.find(all_reduce, "ncclAllReduce");
    }

    std::string message(ncclResult_t status, ncclComm_t communicator, const std::string& when) const {
        const char* more = last_error(communicator);
        return format("NCCL failed when {}: {}{}", when, error_text(status),
                      more && *more ? format(" ({})", more) : "");
    }
};

const Nccl& library() {
    static const Nccl* const instance = new Nccl;
    return *instance;
}

// Another rank's process or the network between them is gone, or something of this machine's failed.
Exit code_of(ncclResult_t status) { return status == ncclRemoteError ? Exit::peer_lost : Exit::system; }

// A failure that NCCL meets by itself, such as a network that breaks, leaves its kernels waiting for ever: somebody has
// to ask for it.
class FailureWatch {
public:
    // `failure`: what has gone wrong, if something has.
    FailureWatch(std::function<ncclResult_t()> failure, std::function<void(ncclResult_t)> on_failure)
        : failure_(std::move(failure)), on_failure_(std::move(on_failure)) {
        thread_ = start_background_thread("watch over NCCL", [this] { run(); });
    }
    ~FailureWatch() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
    FailureWatch(const FailureWatch&) = delete;
    FailureWatch& operator=(const FailureWatch&) = delete;

private:
    void run() {
        constexpr std::chrono::milliseconds interval(250);
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, interval, [this] { return stopping_; }))
            if (const ncclResult_t found = failure_(); found != ncclSuccess && found != ncclInProgress)
                return on_failure_(found);
    }

    std::function<ncclResult_t()> failure_;
    std::function<void(ncclResult_t)> on_failure_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;
    std::thread thread_;
};

class NcclPath : public DataPath {
public:
    NcclPath(Communicator& ranks, Place place, OnLost on_failure)
        : DataPath(ranks, place), on_failure_(std::move(on_failure)) {
        ncclUniqueId id{};
        if (ranks.rank() == 0) expect(library().unique_id(&id), "the ranks were to meet");
        ranks.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
        expect(library().init_rank(&communicator_, ranks.size(), id, ranks.rank()), "the ranks met");
        watch_ = std::make_unique<FailureWatch>([this] { return failure(); },
                                                [this](ncclResult_t status) { end_run(status); });
    }

    // The ranks end together, since the others may still read what this one has sent; but nobody waits for a failed
    // one.
    ~NcclPath() override {
        watch_.reset();
        if (std::uncaught_exceptions() > exceptions_)
            library().abort(communicator_);
        else
            library().destroy(communicator_);
    }

    void all_to_all(std::span<const Tensor> send, std::span<const Tensor> receive) override {
        group("tensors were exchanged", [&](std::size_t rank) {
            queue_send(send[rank], rank);
            queue_receive(receive[rank], rank);
        });
    }

    void all_gather(const Tensor& send, std::span<const Tensor> receive) override {
        group("tensors were gathered", [&](std::size_t rank) {
            queue_send(send, rank);
            queue_receive(receive[rank], rank);
        });
        Tensor own = receive[static_cast<std::size_t>(ranks().rank())];
        if (own.raw() != send.raw()) copy(send, own);
    }

    void all_reduce(const Tensor& values) override {
        expect(library().all_reduce(values.data<float>(), values.data<float>(),
                                    static_cast<std::size_t>(values.elements()), ncclFloat, ncclSum, communicator_,
                                    stream()),
               "tensors were summed");
    }

    std::string text() const override { return "NCCL " + nccl_version(); }

private:
    static cudaStream_t stream() { return static_cast<cudaStream_t>(cuda::stream()); }

    void expect(ncclResult_t status, const char* when) const {
        if (status != ncclSuccess) fail(code_of(status), "{}", library().message(status, communicator_, when));
    }

    // One group of `work` for every other rank.
    void group(const char* when, const std::function<void(std::size_t rank)>& work) {
        expect(library().group_start(), when);
        queued_ = ncclSuccess;
        for (int step = 1; step < ranks().size(); ++step)
            work(static_cast<std::size_t>((ranks().rank() + step) % ranks().size()));
        const ncclResult_t ended = library().group_end();   // also of a group that failed
        expect(queued_, when);
        expect(ended, when);
    }
    void queue_send(const Tensor& tensor, std::size_t rank) {
        if (tensor.elements() == 0) return;
        queue(library().send(tensor.raw(), tensor.bytes(), ncclUint8, static_cast<int>(rank), communicator_, stream()));
    }
    void queue_receive(const Tensor& tensor, std::size_t rank) {
        if (tensor.elements() == 0) return;
        queue(library().receive(tensor.raw(), tensor.bytes(), ncclUint8, static_cast<int>(rank), communicator_,
                                stream()));
    }
    void queue(ncclResult_t status) {
        if (queued_ == ncclSuccess) queued_ = status;
    }

    // The one question that NCCL answers in another thread, also while a call of it waits.
    ncclResult_t failure() const {
        ncclResult_t found = ncclSuccess;
        const ncclResult_t status = library().async_error(communicator_, &found);
        return status == ncclSuccess ? found : status;
    }
    void end_run(ncclResult_t status) {
        on_failure_(static_cast<int>(code_of(status)),
                    library().message(status, communicator_, "tensors were on their way"));
    }

    OnLost on_failure_;
    int exceptions_ = std::uncaught_exceptions();
    ncclComm_t communicator_ = nullptr;
    ncclResult_t queued_ = ncclSuccess;   // the first failure in the group under way
    std::unique_ptr<FailureWatch> watch_;
};

// Every rank tells every other who it is.
void try_out(DataPath& path) {
    const int size = path.ranks().size();
    const auto own_number = static_cast<float>(path.ranks().rank());
    const Tensor mine = scalar(own_number, path.place());
    std::vector<Tensor> theirs;
    for (int rank = 0; rank < size; ++rank) theirs.push_back(scalar(-1, path.place()));
    path.all_gather(mine, theirs);
    path.all_reduce(mine);
    bool right = value_of(mine) == size * (size - 1) / 2;
    for (int rank = 0; rank < size; ++rank) right = right && value_of(theirs[static_cast<std::size_t>(rank)]) == rank;
    require(right, Exit::system,
            "NCCL {} gives {} other numbers than were sent: its driver or the connections between the GPUs are broken",
            nccl_version(), path.ranks().name_of(path.ranks().rank()));
}

}   // namespace

std::string nccl_version() {
    int number = 0;
    require(library().version(&number) == ncclSuccess, Exit::system, "NCCL does not tell its version");
    return format("{}.{}.{}", number / 10000, number / 100 % 100, number % 100);
}

std::unique_ptr<DataPath> make_nccl_path(Communicator& ranks, Place place, OnLost on_failure) {
    auto path = std::make_unique<NcclPath>(ranks, place, std::move(on_failure));
    try_out(*path);
    return path;
}

}   // namespace trainer
