// How the ranks of the sockets find each other, and what keeps them from it.
#include "comm/rendezvous.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "comm/greeting.h"
#include "configs/error.h"

namespace trainer::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Launched member(int rank, int size, int port) {
    Launched launched;
    launched.rank = rank;
    launched.size = size;
    launched.address = "127.0.0.1";
    launched.port = port;
    return launched;
}

int free_port() { return port_of(listen_at(true, 0)); }

// The message with which the meeting of this rank ends; empty when all met.
std::string met(const Launched& launched, milliseconds limit = milliseconds(5000), Exit expected = Exit::peer_lost) {
    try {
        meet_ranks(launched, limit);
        return "";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), expected) << error.what();
        return error.what();
    }
}

template <typename Work>
auto aside(Work work) {
    return std::async(std::launch::async, work);
}

TEST(Rendezvous, ConnectsEveryPair) {
    const int port = free_port();
    std::vector<std::future<std::vector<Peer>>> ranks;
    for (int rank = 0; rank < 4; ++rank)
        ranks.push_back(aside([=] { return meet_ranks(member(rank, 4, port), milliseconds(10000)); }));
    std::vector<std::vector<Peer>> peers;
    for (auto& rank : ranks) peers.push_back(rank.get());
    for (std::size_t a = 0; a < 4; ++a)
        for (std::size_t b = 0; b < 4; ++b) {
            EXPECT_EQ(peers[a][b].socket.is_open(), a != b);
            if (a == b) continue;
            const auto mark = static_cast<std::byte>(a * 4 + b);
            EXPECT_TRUE(send_all(peers[a][b].socket, std::span(&mark, 1), steady_clock::now() + milliseconds(1000)));
        }
    for (std::size_t a = 0; a < 4; ++a)
        for (std::size_t b = 0; b < 4; ++b) {
            if (a == b) continue;
            std::byte mark{};
            EXPECT_TRUE(receive_all(peers[b][a].socket, std::span(&mark, 1), steady_clock::now() + milliseconds(1000)));
            EXPECT_EQ(mark, static_cast<std::byte>(a * 4 + b));
        }
}

// Strangers talk, stay silent, leave in the middle, or belong to another launch.
TEST(Rendezvous, SendsStrangersAway) {
    const int port = free_port();
    Launched root = member(0, 2, port);
    root.key = "ours";
    auto first = aside([&] { return met(root); });
    const Deadline soon = steady_clock::now() + milliseconds(4000);
    const Socket silent = connect_to({"127.0.0.1", port}, soon, Refused::retry);
    const Socket talker = connect_to({"127.0.0.1", port}, soon, Refused::retry);
    const std::string words = "GET / HTTP/1.1\r\n\r\n";
    EXPECT_TRUE(send_all(talker, std::as_bytes(std::span(words)), soon));
    std::byte answer{};
    EXPECT_FALSE(receive_all(talker, std::span(&answer, 1), soon));
    EXPECT_LT(steady_clock::now(), soon) << "it was not sent away at its first words";
    Greeting greeting;
    greeting.rank = 1;
    greeting.size = 2;
    {
        const Socket half = connect_to({"127.0.0.1", port}, soon, Refused::retry);
        EXPECT_TRUE(send_all(half, bytes_of(greeting).first(40), soon));
    }
    copy_text(greeting.key, "theirs");
    const Socket other = connect_to({"127.0.0.1", port}, soon, Refused::retry);
    EXPECT_TRUE(send_all(other, bytes_of(greeting), soon));
    EXPECT_FALSE(receive_all(other, std::span(&answer, 1), soon));
    Launched second = member(1, 2, port);
    second.key = "ours";
    EXPECT_EQ(met(second), "");
    EXPECT_EQ(first.get(), "");
}

TEST(Rendezvous, NamesTheRanksThatDidNotCome) {
    const int port = free_port();
    auto root = aside([=] { return met(member(0, 4, port), milliseconds(600)); });
    const std::string told = met(member(2, 4, port));
    const std::string message = root.get();
    EXPECT_TRUE(message.starts_with("ranks 1, 3 of 4 did not come to rank 0 (")) << message;
    EXPECT_TRUE(message.ends_with(" within 0.6 s; are they running, and does every host reach 127.0.0.1?")) << message;
    EXPECT_EQ(told, message);
}

TEST(Rendezvous, NamesAMissingRankZero) {
    const int port = free_port();
    EXPECT_EQ(met(member(1, 2, port), milliseconds(300)),
              format("rank 1 finds no rank 0 within 0.3 s: 127.0.0.1:{} cannot be reached: Connection refused; check "
                     "MASTER_ADDR, MASTER_PORT and firewalls",
                     port));
}

TEST(Rendezvous, NamesAPortThatIsTakenAndAHostWithoutAddress) {
    const Socket taken = listen_at(true, 0);
    EXPECT_EQ(met(member(0, 2, port_of(taken)), milliseconds(300), Exit::unavailable),
              format("rank 0 cannot listen at port {}: Address already in use; choose another with MASTER_PORT",
                     port_of(taken)));
    Launched lost = member(1, 2, 29500);
    lost.address = "no-such-host.invalid";
    const std::string message = met(lost, milliseconds(300), Exit::unavailable);
    EXPECT_NE(message.find("the host \"no-such-host.invalid\" has no address: "), std::string::npos) << message;
}

TEST(Rendezvous, RefusesTwoOfOneNumber) {
    const int port = free_port();
    auto root = aside([=] { return met(member(0, 3, port), milliseconds(5000), Exit::usage); });
    auto first = aside([=] { return met(member(1, 3, port), milliseconds(5000), Exit::usage); });
    const std::string told = met(member(1, 3, port), milliseconds(5000), Exit::usage);
    EXPECT_TRUE(told.starts_with("rank 1 (")) << told;
    EXPECT_TRUE(told.ends_with(") has a number that another process has too; check RANK")) << told;
    EXPECT_EQ(root.get(), told);
    EXPECT_EQ(first.get(), told);
}

TEST(Rendezvous, RefusesAnotherNumberOfRanks) {
    const int port = free_port();
    auto root = aside([=] { return met(member(0, 3, port), milliseconds(5000), Exit::usage); });
    const std::string told = met(member(1, 2, port), milliseconds(5000), Exit::usage);
    EXPECT_TRUE(told.ends_with(") was started as one of 2 ranks but rank 0 as one of 3; check WORLD_SIZE")) << told;
    EXPECT_EQ(root.get(), told);
}

}   // namespace
}   // namespace trainer::test
