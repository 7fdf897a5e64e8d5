// The module trainer_mpi.so (comm/mpi_module.h); not a part of the program itself.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "comm/greeting.h"
#include "comm/mpi_module.h"
#include "configs/error.h"

namespace trainer {

namespace {

// MPI counts in int: longer data goes in pieces.
constexpr std::size_t piece_bytes = std::size_t{1} << 30;
constexpr std::size_t piece_floats = std::size_t{1} << 28;

void expect(int status, const char* what) {
    if (status == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(status, text, &length);
    fail(Exit::peer_lost, "{} failed: {}; a rank is gone, or the network is", what, text);
}

class Mpi : public Communicator {
public:
    Mpi() {
        int provided = MPI_THREAD_SINGLE;
        expect(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
        require(provided >= MPI_THREAD_FUNNELED, Exit::system,
                "this MPI does not allow a program with threads (it offers level {}, needed is {})", provided,
                MPI_THREAD_FUNNELED);
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        expect(MPI_Comm_dup(MPI_COMM_WORLD, &ranks_), "MPI_Comm_dup");
        MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN);
        MPI_Comm_rank(ranks_, &rank_);
        MPI_Comm_size(ranks_, &size_);
        exchange_names();
    }
    ~Mpi() override {
        if (abandoned_) return;
        MPI_Comm_free(&ranks_);
        MPI_Finalize();
    }
    Mpi(const Mpi&) = delete;
    Mpi& operator=(const Mpi&) = delete;

    int rank() const override { return rank_; }
    int size() const override { return size_; }

    void all_to_all(std::span<const std::span<const std::byte>> send,
                    std::span<const std::span<std::byte>> receive) override {
        check(send.size() == names_.size() && receive.size() == names_.size(), "{} and {} buffers for {} ranks",
              send.size(), receive.size(), size_);
        std::vector<MPI_Request> requests;
        for (int step = 1; step < size_; ++step) {
            const int from = (rank_ + size_ - step) % size_;
            const std::span<std::byte> data = receive[static_cast<std::size_t>(from)];
            for (std::size_t begin = 0; begin < data.size(); begin += piece_bytes)
                expect(MPI_Irecv(data.data() + begin, length(data.size() - begin), MPI_BYTE, from, 0, ranks_,
                                 &requests.emplace_back()),
                       "MPI_Irecv");
        }
        for (int step = 1; step < size_; ++step) {
            const int to = (rank_ + step) % size_;
            const std::span<const std::byte> data = send[static_cast<std::size_t>(to)];
            for (std::size_t begin = 0; begin < data.size(); begin += piece_bytes)
                expect(MPI_Isend(data.data() + begin, length(data.size() - begin), MPI_BYTE, to, 0, ranks_,
                                 &requests.emplace_back()),
                       "MPI_Isend");
        }
        copy_own(send[static_cast<std::size_t>(rank_)], receive[static_cast<std::size_t>(rank_)]);
        expect(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    }

    void all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) override {
        all_to_all(std::vector<std::span<const std::byte>>(names_.size(), send), receive);
    }

    void broadcast(std::span<std::byte> data, int root) override {
        for (std::size_t begin = 0; begin < data.size(); begin += piece_bytes)
            expect(MPI_Bcast(data.data() + begin, length(data.size() - begin), MPI_BYTE, root, ranks_), "MPI_Bcast");
    }

    void barrier() override { expect(MPI_Barrier(ranks_), "MPI_Barrier"); }

    void all_reduce(std::span<float> values) override {
        for (std::size_t begin = 0; begin < values.size(); begin += piece_floats) {
            const auto count = static_cast<int>(std::min(values.size() - begin, piece_floats));
            expect(MPI_Allreduce(MPI_IN_PLACE, values.data() + begin, count, MPI_FLOAT, MPI_SUM, ranks_),
                   "MPI_Allreduce");
        }
    }

    std::string name_of(int rank) const override { return names_[static_cast<std::size_t>(rank)]; }
    void abandon(int, const std::string&) noexcept override { abandoned_ = true; }

private:
    struct Name {
        char host[64] = {};
        int process = 0;
    };

    static int length(std::size_t left) { return static_cast<int>(std::min(left, piece_bytes)); }

    static void copy_own(std::span<const std::byte> from, std::span<std::byte> to) {
        check(from.size() == to.size(), "{} bytes for oneself are sent, {} received", from.size(), to.size());
        if (!from.empty() && from.data() != to.data()) std::memmove(to.data(), from.data(), from.size());
    }

    void exchange_names() {
        Name mine;
        copy_text(mine.host, own_host_name());
        mine.process = ::getpid();
        std::vector<Name> all(static_cast<std::size_t>(size_));
        expect(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all.data(), sizeof mine, MPI_BYTE, ranks_), "MPI_Allgather");
        for (int rank = 0; rank < size_; ++rank) {
            const Name& name = all[static_cast<std::size_t>(rank)];
            names_.push_back(format("rank {} ({}, process {})", rank, name.host, name.process));
        }
    }

    MPI_Comm ranks_ = MPI_COMM_NULL;
    int rank_ = 0;
    int size_ = 1;
    bool abandoned_ = false;
    std::vector<std::string> names_;
};

}   // namespace

extern "C" Communicator* trainer_open_mpi(int interface) { return interface == mpi_interface ? new Mpi : nullptr; }

}   // namespace trainer
