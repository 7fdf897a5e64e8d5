#include "tests/support/thread_ranks.h"

#include <barrier>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "configs/error.h"

namespace trainer::test {

namespace {

using Sent = std::vector<std::span<const std::byte>>;

// What the ranks show each other between two barriers.
struct Board {
    explicit Board(int size) : meet(size), sent(static_cast<std::size_t>(size)) {}
    std::barrier<> meet;
    std::vector<Sent> sent;
};

class ThreadRank : public Communicator {
public:
    ThreadRank(Board& board, int rank) : board_(board), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return static_cast<int>(board_.sent.size()); }

    void all_to_all(std::span<const std::span<const std::byte>> send,
                    std::span<const std::span<std::byte>> receive) override {
        show(Sent(send.begin(), send.end()));
        for (std::size_t r = 0; r < receive.size(); ++r)
            copy(board_.sent[r][static_cast<std::size_t>(rank_)], receive[r]);
        board_.meet.arrive_and_wait();
    }
    void all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) override {
        show({send});
        for (std::size_t r = 0; r < receive.size(); ++r) copy(board_.sent[r][0], receive[r]);
        board_.meet.arrive_and_wait();
    }
    void broadcast(std::span<std::byte> data, int root) override {
        show({data});
        if (rank_ != root) copy(board_.sent[static_cast<std::size_t>(root)][0], data);
        board_.meet.arrive_and_wait();
    }
    void barrier() override { board_.meet.arrive_and_wait(); }
    void all_reduce(std::span<float> values) override {
        const std::vector<float> mine(values.begin(), values.end());
        show({std::as_bytes(std::span(mine))});
        std::fill(values.begin(), values.end(), 0.0f);
        for (const Sent& sent : board_.sent) {
            check(sent[0].size() == values.size_bytes(), "thread ranks: sizes differ");
            for (std::size_t i = 0; i < values.size(); ++i) {
                float value = 0;
                std::memcpy(&value, sent[0].data() + i * sizeof value, sizeof value);
                values[i] += value;
            }
        }
        board_.meet.arrive_and_wait();
    }
    std::string name_of(int rank) const override { return format("rank {}", rank); }
    void abandon(int, const std::string&) noexcept override {}

private:
    void show(Sent sent) {
        board_.sent[static_cast<std::size_t>(rank_)] = std::move(sent);
        board_.meet.arrive_and_wait();
    }
    static void copy(std::span<const std::byte> from, std::span<std::byte> to) {
        check(from.size() == to.size(), "thread ranks: {} bytes sent, {} expected", from.size(), to.size());
        if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
    }

    Board& board_;
    int rank_;
};

}   // namespace

void run_ranks(int size, const std::function<void(Communicator&)>& work) {
    Board board(size);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
        threads.emplace_back([&board, &work, rank] {
            ThreadRank communicator(board, rank);
            work(communicator);
        });
    for (std::thread& thread : threads) thread.join();
}

}   // namespace trainer::test
