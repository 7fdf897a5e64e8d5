// One rank of a test: what it does stands in its arguments, how it ended in the file rank-<n> of the folder
// RANK_RESULTS: the exit code, the time (seconds of the monotonic clock) and the message. Started by
// tests/comm/ranks.h.
//
//   rank_program [--nproc N] SCENARIO [arguments]
#include <signal.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <random>
#include <thread>

#include "comm/collective.h"
#include "comm/launch.h"
#include "comm/open.h"
#include "configs/error.h"
#include "tests/support/faulty_ranks.h"

namespace trainer::test {
namespace {

using Arguments = std::vector<std::string>;

std::string result_path(int rank) {
    const char* folder = std::getenv("RANK_RESULTS");
    return std::string(folder ? folder : ".") + "/rank-" + std::to_string(rank);
}

// Only the first report of a rank counts.
void report(int rank, int code, const std::string& message) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const std::string path = result_path(rank);
    const std::string temporary = path + "." + std::to_string(::getpid());
    if (std::FILE* file = std::fopen(temporary.c_str(), "w")) {
        std::fprintf(file, "%d %.6f %s", code,
                     static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9, message.c_str());
        std::fclose(file);
        if (::link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) std::perror(path.c_str());
        ::unlink(temporary.c_str());
    }
}

// In the file after those of all ranks.
void report_ready(const Communicator& ranks) { report(ranks.size() + ranks.rank(), ::getpid(), "is ready"); }

using Bytes = std::vector<std::byte>;

// What rank `from` sends to rank `to` in a round: every rank can compute it.
Bytes content(std::uint64_t round, int from, int to, std::size_t size) {
    std::minstd_rand random(static_cast<unsigned>(round * 10007 + static_cast<std::uint64_t>(from) * 101 +
                                                  static_cast<std::uint64_t>(to) + 1));
    Bytes bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8);
    return bytes;
}

std::size_t size_of_message(std::mt19937_64& random) {
    switch (random() % 4) {
        case 0:
            return 0;
        case 1:
            return random() % 64;
        case 2:
            return random() % 100'000;
        default:
            return random() % 3'000'000;   // more than a socket holds
    }
}

void expect(bool right, const char* what, std::uint64_t round) {
    if (!right) fail(Exit::bad_data, "{}: wrong data in round {}", what, round);
}

void check_all_to_all(Communicator& ranks, std::mt19937_64& random, std::uint64_t round) {
    const int size = ranks.size();
    std::map<std::pair<int, int>, std::size_t> sizes;   // the same at every rank
    for (int from = 0; from < size; ++from)
        for (int to = 0; to < size; ++to) sizes[{from, to}] = size_of_message(random) / static_cast<std::size_t>(size);
    std::vector<Bytes> out, in;
    for (int rank = 0; rank < size; ++rank) {
        out.push_back(content(round, ranks.rank(), rank, sizes[{ranks.rank(), rank}]));
        in.emplace_back(sizes[{rank, ranks.rank()}]);
    }
    const std::vector<std::span<const std::byte>> send(out.begin(), out.end());
    const std::vector<std::span<std::byte>> receive(in.begin(), in.end());
    ranks.all_to_all(send, receive);
    for (int rank = 0; rank < size; ++rank)
        expect(in[static_cast<std::size_t>(rank)] == content(round, rank, ranks.rank(), sizes[{rank, ranks.rank()}]),
               "all_to_all", round);
}

void check_all_gather(Communicator& ranks, std::mt19937_64& random, std::uint64_t round) {
    std::vector<Bytes> in;
    for (int rank = 0; rank < ranks.size(); ++rank) in.emplace_back(size_of_message(random));
    const Bytes out = content(round, ranks.rank(), 0, in[static_cast<std::size_t>(ranks.rank())].size());
    const std::vector<std::span<std::byte>> receive(in.begin(), in.end());
    ranks.all_gather(out, receive);
    for (int rank = 0; rank < ranks.size(); ++rank) {
        const Bytes& got = in[static_cast<std::size_t>(rank)];
        expect(got == content(round, rank, 0, got.size()), "all_gather", round);
    }
}

void check_broadcast(Communicator& ranks, std::mt19937_64& random, std::uint64_t round) {
    const int root = static_cast<int>(random() % static_cast<unsigned>(ranks.size()));
    const Bytes expected = content(round, root, 0, size_of_message(random));
    Bytes data = ranks.rank() == root ? expected : Bytes(expected.size());
    ranks.broadcast(data, root);
    expect(data == expected, "broadcast", round);
}

// Sums of small whole numbers are exact in any order.
void check_all_reduce(Communicator& ranks, std::mt19937_64& random, std::uint64_t round) {
    std::vector<float> values(size_of_message(random) / 4);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>((i + round) % 1000 + static_cast<std::size_t>(ranks.rank()));
    ranks.all_reduce(values);
    const int size = ranks.size();
    bool right = true;
    for (std::size_t i = 0; i < values.size(); ++i)
        right = right && values[i] == static_cast<float>(static_cast<std::size_t>(size) * ((i + round) % 1000) +
                                                         static_cast<std::size_t>(size * (size - 1) / 2));
    expect(right, "all_reduce", round);
}

void check_agreements(Communicator& ranks, std::uint64_t round) {
    const auto rank = static_cast<std::size_t>(ranks.rank());
    const std::vector<std::string> texts = gather_texts(ranks, std::string(rank * 3, 'x'));
    bool right = texts.size() == static_cast<std::size_t>(ranks.size());
    for (std::size_t i = 0; i < texts.size(); ++i) right = right && texts[i] == std::string(i * 3, 'x');
    right = right && sum(ranks, ranks.rank() + 1) == ranks.size() * (ranks.size() + 1) / 2;
    right = right && any(ranks, ranks.rank() == ranks.size() - 1) && !any(ranks, false);
    expect(right, "agreements", round);
    ranks.barrier();
}

void collectives(Communicator& ranks, const Arguments& arguments) {
    std::mt19937_64 random(std::stoull(arguments.at(0)));
    for (std::uint64_t round = 0; round < std::stoull(arguments.at(1)); ++round) {
        check_all_to_all(ranks, random, round);
        check_all_gather(ranks, random, round);
        check_broadcast(ranks, random, round);
        check_all_reduce(ranks, random, round);
        check_agreements(ranks, round);
    }
}

// The same call again and again, until something ends it.
void repeat(Communicator& ranks, const std::string& call, std::uint64_t times) {
    const auto size = static_cast<std::size_t>(ranks.size());
    std::vector<std::byte> out(400'000), in(400'000 * size);
    std::vector<std::span<const std::byte>> send(size, out);
    std::vector<std::span<std::byte>> receive;
    for (std::size_t rank = 0; rank < size; ++rank)
        receive.push_back(std::span(in).subspan(rank * out.size(), out.size()));
    std::vector<float> values(100'000);
    for (std::uint64_t i = 0; i < times; ++i) {
        if (call == "all_to_all") ranks.all_to_all(send, receive);
        if (call == "all_gather") ranks.all_gather(out, receive);
        if (call == "broadcast") ranks.broadcast(out, static_cast<int>(i % size));
        if (call == "barrier") ranks.barrier();
        if (call == "all_reduce") ranks.all_reduce(values);
    }
}

// KIND RANK CALL COLLECTIVE MICROSECONDS: one fault while a call is repeated.
void fault(Communicator& ranks, const Arguments& arguments) {
    static const std::map<std::string, Fault::Kind> kinds = {
        {"delay", Fault::Kind::delay}, {"error", Fault::Kind::error}, {"hang", Fault::Kind::hang},
        {"flip", Fault::Kind::flip},   {"kill", Fault::Kind::kill},   {"exit", Fault::Kind::exit}};
    const Fault one{kinds.at(arguments.at(0)), std::stoi(arguments.at(1)), std::stoull(arguments.at(2)),
                    std::stoll(arguments.at(4))};
    repeat(ranks, arguments.at(3), 3);
    report_ready(ranks);
    FaultyRanks faulty(ranks, {one}, [&] { report(ranks.rank(), 0, "died"); });
    repeat(faulty, arguments.at(3), 1'000'000'000);
}

// RANK CODE REASON
void abandon(Communicator& ranks, const Arguments& arguments) {
    repeat(ranks, "all_gather", 3);
    if (ranks.rank() == std::stoi(arguments.at(0))) {
        const int code = std::stoi(arguments.at(1));
        ranks.abandon(code, arguments.at(2));
        report(ranks.rank(), code, "abandoned");
        ::_exit(code);
    }
    repeat(ranks, "all_gather", 1'000'000'000);
}

// RANK: it leaves in good order, but the others are not done.
void leave(Communicator& ranks, const Arguments& arguments) {
    repeat(ranks, "barrier", 3);
    if (ranks.rank() == std::stoi(arguments.at(0))) return;
    repeat(ranks, "barrier", 1'000'000'000);
}

// RANK SIGNAL: the rank sends itself a signal that ends or stops it, outside of any call; the others compute.
void signal_outside(Communicator& ranks, const Arguments& arguments) {
    ranks.barrier();
    if (ranks.rank() == std::stoi(arguments.at(0))) {
        report(ranks.rank(), 0, "died");
        ::kill(::getpid(), std::stoi(arguments.at(1)));
    }
    for (;;) ::pause();
}

// SEED: all leave in good order after waits of their own.
void depart(Communicator& ranks, const Arguments& arguments) {
    std::mt19937_64 random(std::stoull(arguments.at(0)) * 64 + static_cast<unsigned>(ranks.rank()));
    repeat(ranks, "barrier", 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 3 * 150));
}

// RANK: it is killed before the ranks know of each other.
void vanish(int rank, const Arguments& arguments) {
    if (rank != std::stoi(arguments.at(0))) return;
    report(rank, 0, "died");
    ::kill(::getpid(), SIGKILL);
}

void differ(Communicator& ranks, const Arguments&) {
    repeat(ranks, ranks.rank() == 1 ? "barrier" : "all_gather", 1);
    repeat(ranks, "barrier", 2);
}

volatile std::sig_atomic_t received = 0;
void on_signal(int number) { received = number; }

// Waits for a signal and reports it.
void wait_for_signal(Communicator& ranks, const Arguments&) {
    for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1}) std::signal(number, on_signal);
    ranks.barrier();
    report_ready(ranks);
    while (received == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    report(ranks.rank(), received, "signal");
    ranks.barrier();
    throw Error(Exit::preempted, "signal");
}

// BYTES: one message from rank 0 to rank 1, by hand for more than 2 GiB.
void large(Communicator& ranks, const Arguments& arguments) {
    const auto size = static_cast<std::size_t>(ranks.size());
    std::vector<std::uint64_t> words(std::stoull(arguments.at(0)) / 8);
    std::vector<std::span<const std::byte>> send(size);
    std::vector<std::span<std::byte>> receive(size);
    if (ranks.rank() == 0) {
        for (std::size_t i = 0; i < words.size(); ++i) words[i] = i * 0x9e3779b97f4a7c15;
        send.at(1) = std::as_bytes(std::span(words));
    }
    if (ranks.rank() == 1) receive.at(0) = std::as_writable_bytes(std::span(words));
    ranks.all_to_all(send, receive);
    bool right = true;
    for (std::size_t i = 0; i < words.size(); ++i) right = right && words[i] == i * 0x9e3779b97f4a7c15;
    expect(right || ranks.rank() > 1, "large", 0);
}

// BYTES TIMES: how long all_reduce takes, for comparisons by hand.
void bench(Communicator& ranks, const Arguments& arguments) {
    std::vector<float> values(std::stoull(arguments.at(0)) / sizeof(float));
    ranks.all_reduce(values);
    for (int i = 0; i < std::stoi(arguments.at(1)); ++i) {
        ranks.barrier();
        const auto begin = std::chrono::steady_clock::now();
        ranks.all_reduce(values);
        const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
        if (ranks.rank() == 0) std::printf("%.3f ms\n", time.count());
    }
}

const std::map<std::string, void (*)(Communicator&, const Arguments&)> scenarios = {
    {"collectives", collectives},
    {"fault", fault},
    {"abandon", abandon},
    {"leave", leave},
    {"signal", signal_outside},
    {"depart", depart},
    {"differ", differ},
    {"wait", wait_for_signal},
    {"bench", bench},
    {"large", large},
    {"vanish", [](Communicator&, const Arguments&) {}}};

int run(const std::string& scenario, const Arguments& arguments) {
    int rank = 0;
    std::unique_ptr<Communicator> ranks;
    try {
        const auto launched = launched_from_environment();
        rank = launched ? launched->rank : 0;
        if (scenario == "vanish") vanish(rank, arguments);
        ranks = open_communicator([rank](int code, const std::string& message) {
            report(rank, code, message);
            ::_exit(code);
        });
        scenarios.at(scenario)(*ranks, arguments);
        ranks.reset();
        report(rank, 0, "done");
        return 0;
    } catch (const Error& error) {
        const int code = static_cast<int>(error.code());
        if (ranks && error.code() != Exit::preempted) ranks->abandon(code, error.what());
        ranks.reset();
        report(rank, code, error.what());
        return code;
    }
}

}   // namespace
}   // namespace trainer::test

int main(int count, char** words) {
    using namespace trainer;
    std::vector<std::string> arguments(words + 1, words + count);
    try {
        if (arguments.at(0) == "--nproc") {
            const LaunchOutcome outcome = launch_ranks(std::stoi(arguments.at(1)));
            if (!outcome.killed.empty()) std::fprintf(stderr, "error: %s\n", outcome.killed.c_str());
            return outcome.exit_code;
        }
    } catch (const Error& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return static_cast<int>(error.code());
    }
    return test::run(arguments.at(0), {arguments.begin() + 1, arguments.end()});
}
