#include "comm/watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "comm/background_thread.h"
#include "comm/watch_meeting.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds heartbeat_interval{500};
constexpr milliseconds longest_silence{2500};
constexpr milliseconds longest_request{1000};
constexpr milliseconds longest_linger{300};
constexpr milliseconds longest_write{200};
constexpr int lost_code = static_cast<int>(Exit::peer_lost);

Deadline in(milliseconds time) { return steady_clock::now() + time; }

}   // namespace

Watch::Watch(Communicator& ranks, const std::string& host, OnLost on_lost)
    : rank_(ranks.rank()), links_(connect_watches(ranks, host)), on_lost_(std::move(on_lost)) {
    for (int rank = 0; rank < ranks.size(); ++rank) names_.push_back(ranks.name_of(rank));
    wake_ = Socket(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    thread_ = start_background_thread("watch over the other ranks", [this] { run(); });
}

Watch::~Watch() {
    stopping_ = true;
    ::eventfd_write(wake_.descriptor(), 1);
    thread_.join();
}

void Watch::say_goodbye() { ask({Note::Kind::goodbye, 0, calls_, ""}); }

void Watch::await_goodbyes() {
    std::unique_lock lock(mutex_);
    news_.wait(lock, [this] { return all_left_; });
}

void Watch::abandon(int exit_code, const std::string& reason) noexcept {
    try {
        ask({Note::Kind::abandon, exit_code, 0, reason});
    } catch (const std::exception&) {   // out of memory: the end of this process will tell them
    }
}

void Watch::ask(Note note) {
    std::unique_lock lock(mutex_);
    request_ = std::move(note);
    ::eventfd_write(wake_.descriptor(), 1);
    news_.wait_for(lock, longest_request, [this] { return !request_; });
}

void Watch::run() {
    Deadline next_heartbeat = steady_clock::now();
    for (WatchLink& link : links_) link.heard = next_heartbeat;
    while (!stopping_) {
        if (steady_clock::now() >= next_heartbeat) {
            send_heartbeats();
            next_heartbeat = in(heartbeat_interval);
        }
        wait_for_news(next_heartbeat);
        for (WatchLink& link : links_)
            for (const Note& note : link.read()) hear(link, note);
        serve_request();
        look_for_losses();
        look_for_early_leavers();
        look_for_goodbyes();
    }
    serve_request();
    linger();
}

void Watch::send_heartbeats() {
    for (WatchLink& link : links_) link.write({Note::Kind::heartbeat, 0, calls_, ""}, in(milliseconds(0)));
}

void Watch::wait_for_news(Deadline until) {
    std::vector<pollfd> list = {{wake_.descriptor(), POLLIN, 0}};
    for (const WatchLink& link : links_)
        if (link.is_open()) {
            list.push_back({link.socket().descriptor(), POLLIN, 0});
            if (!over_ && !link.left) until = std::min(until, link.heard + longest_silence);
        }
    ::poll(list.data(), list.size(), milliseconds_until(until));
    eventfd_t count = 0;
    ::eventfd_read(wake_.descriptor(), &count);
    // A process that did not run (stopped, or the machine slept) cannot say who was silent meanwhile.
    if (steady_clock::now() > until + milliseconds(1000))
        for (WatchLink& link : links_) link.heard = steady_clock::now();
}

void Watch::hear(WatchLink& link, const Note& note) {
    switch (note.kind) {
        case Note::Kind::heartbeat:
            link.calls = note.calls;
            break;
        case Note::Kind::goodbye:
            link.calls = note.calls;
            link.left = note.calls;
            break;
        case Note::Kind::abandon:
            link.left = note.calls;   // its end is no news
            judge(note.code, format("{} ended the run: {}", names_[static_cast<std::size_t>(link.rank())], note.text),
                  true);
            break;
        case Note::Kind::verdict:
            if (abandoned_) request_served();   // rank 0 has told the others what this rank said
            lose(note.code, note.text);
            break;
        case Note::Kind::farewell:
            everyone_left();
            break;
    }
}

void Watch::serve_request() {
    std::optional<Note> request;
    {
        const std::lock_guard lock(mutex_);
        request = request_;
    }
    if (!request || abandoned_) return;
    if (request->kind == Note::Kind::goodbye) {
        left_ = request->calls;
        for (WatchLink& link : links_) link.write(*request, in(longest_write));
        request_served();
        return;
    }
    abandoned_ = true;
    if (over_) {
        request_served();
    } else if (rank_ == 0) {
        judge(request->code, format("{} ended the run: {}", names_[0], request->text), false);
        request_served();
    } else {
        over_ = true;
        links_[0].write(*request, in(longest_write));
        if (!links_[0].is_open()) request_served();
    }
}

void Watch::request_served() {
    const std::lock_guard lock(mutex_);
    request_.reset();
    news_.notify_all();
}

void Watch::look_for_losses() {
    for (const WatchLink& link : links_) {
        if (link.left) continue;
        const std::string& name = names_[static_cast<std::size_t>(link.rank())];
        if (!link.is_open()) {
            if (abandoned_) request_served();
            judge(lost_code, name + " was lost: its process ended without a word", true);
        } else if (steady_clock::now() >= link.heard + longest_silence) {
            judge(lost_code,
                  format("{} was lost: nothing was heard from it for {} s", name,
                         static_cast<double>(longest_silence.count()) / 1000),
                  true);
        }
    }
}

void Watch::look_for_goodbyes() {
    const bool farewell = rank_ == 0 ? left_ && std::all_of(links_.begin(), links_.end(),
                                                            [](const WatchLink& link) { return link.left.has_value(); })
                                     : !links_[0].is_open();
    if (farewell || over_) everyone_left();
}

void Watch::everyone_left() {
    const std::lock_guard lock(mutex_);
    if (all_left_) return;
    if (rank_ == 0)
        for (WatchLink& link : links_) link.write({Note::Kind::farewell, 0, 0, ""}, in(longest_write));
    all_left_ = true;
    news_.notify_all();
}

void Watch::look_for_early_leavers() {
    if (over_) return;
    std::uint64_t most = calls_;
    for (const WatchLink& link : links_) most = std::max(most, link.calls);
    const auto judge_leaver = [&](int rank) {
        judge(lost_code, names_[static_cast<std::size_t>(rank)] + " was lost: it ended while others still needed it",
              true);
    };
    if (rank_ == 0 && left_ && most > *left_) judge_leaver(0);
    for (WatchLink& leaver : links_) {
        if (!leaver.left || most <= *leaver.left) continue;
        // Rank 0 may still be there, and then tells all at once when it hears how far this rank is.
        if (!patience_) {
            patience_ = in(heartbeat_interval);
            leaver.write({Note::Kind::heartbeat, 0, calls_, ""}, in(milliseconds(0)));
        }
        if (rank_ == 0 || !leaver.is_open() || steady_clock::now() >= *patience_) judge_leaver(leaver.rank());
    }
}

// Tells every rank that is still there, and this one.
void Watch::judge(int code, const std::string& text, bool tell_oneself) {
    if (over_) return;
    if (rank_ == 0) {
        for (WatchLink& link : links_) link.write({Note::Kind::verdict, code, 0, text}, in(longest_write));
        linger();
    }
    if (tell_oneself)
        lose(code, text);
    else
        over_ = true;
}

void Watch::lose(int code, const std::string& text) {
    if (over_) return;
    over_ = true;
    on_lost_(code, text);
}

// Leaves the others time to read what was said: data that is under way can be lost when a process ends.
void Watch::linger() {
    const Deadline deadline = in(longest_linger);
    for (const WatchLink& link : links_)
        if (link.is_open()) ::shutdown(link.socket().descriptor(), SHUT_WR);
    while (steady_clock::now() < deadline) {
        std::vector<pollfd> list;
        for (const WatchLink& link : links_)
            if (link.is_open()) list.push_back({link.socket().descriptor(), POLLIN, 0});
        if (list.empty()) return;
        ::poll(list.data(), list.size(), milliseconds_until(deadline));
        for (WatchLink& link : links_) link.read();
    }
}

}   // namespace trainer
