#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/watch_link.h"

namespace trainer {

// Notices that a rank is gone, whatever the data travels over: every process has a thread with a connection to rank 0,
// on which both ends say every half second that they live. A connection that ends without a goodbye, or is silent for
// 2.5 s, is a lost rank; a rank that said goodbye while others went on to calls that need it left too early, which is
// the same. Rank 0 tells all others and every rank calls its OnLost once. Between two ranks other than 0 nothing is
// watched.
class Watch {
public:
    // Collective over `ranks`, which need not outlive this. `host`: how the others reach rank 0, tried before the
    // addresses of its interfaces; may be empty.
    // Errors: peer_lost with the ranks that could not connect within a minute.
    Watch(Communicator& ranks, const std::string& host, OnLost on_lost);
    ~Watch();   // without say_goodbye before, the others take it for a loss
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    void enter_call() { ++calls_; }   // of the communicator: the same calls at every rank
    void say_goodbye();               // no call will follow; it is on its way to the others when this returns
    // After say_goodbye: until all ranks have said it. Returns too when no rank is left to be waited for.
    void await_goodbyes();
    // The others have been told when this returns, or cannot be told.
    void abandon(int exit_code, const std::string& reason) noexcept;

private:
    void ask(Note note);
    // Everything below runs in the thread.
    void run();
    void send_heartbeats();
    void wait_for_news(Deadline until);
    void hear(WatchLink& link, const Note& note);
    void serve_request();
    void request_served();
    void look_for_losses();
    void look_for_goodbyes();
    void everyone_left();
    void look_for_early_leavers();
    void judge(int code, const std::string& text, bool tell_oneself);
    void lose(int code, const std::string& text);
    void linger();

    int rank_;
    std::vector<std::string> names_;
    std::vector<WatchLink> links_;   // rank 0: to every other; the others: to rank 0
    OnLost on_lost_;
    std::atomic<std::uint64_t> calls_{0};

    std::mutex mutex_;
    std::condition_variable news_;   // for the owner
    std::optional<Note> request_;    // of the owner to the thread
    bool all_left_ = false;
    std::atomic<bool> stopping_{false};
    Socket wake_;   // an eventfd

    std::optional<std::uint64_t> left_;   // this rank has said goodbye, after so many calls
    std::optional<Deadline> patience_;    // with rank 0, which has left too early
    bool abandoned_ = false;              // by this rank
    bool over_ = false;                   // OnLost was called, or the run was abandoned
    std::thread thread_;
};

}   // namespace trainer
