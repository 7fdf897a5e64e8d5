#include "comm/watched.h"

#include <chrono>
#include <exception>
#include <thread>

#include "comm/watch.h"
#include "configs/error.h"

namespace trainer {

namespace {

class Watched : public Communicator {
public:
    Watched(std::unique_ptr<Communicator> ranks, const std::string& host, Leave leave, OnLost on_lost)
        : leave_(leave), ranks_(std::move(ranks)), watch_(*ranks_, host, std::move(on_lost)) {}

    ~Watched() override {
        if (std::uncaught_exceptions() > exceptions_) abandon(static_cast<int>(Exit::peer_lost), "it failed");
        if (!abandoned_) {
            watch_.say_goodbye();
            if (leave_ == Leave::together) watch_.await_goodbyes();
        }
        ranks_.reset();   // still watched
    }

    int rank() const override { return ranks_->rank(); }
    int size() const override { return ranks_->size(); }

    void all_to_all(std::span<const std::span<const std::byte>> send,
                    std::span<const std::span<std::byte>> receive) override {
        call([&] { ranks_->all_to_all(send, receive); });
    }
    void all_gather(std::span<const std::byte> send, std::span<const std::span<std::byte>> receive) override {
        call([&] { ranks_->all_gather(send, receive); });
    }
    void broadcast(std::span<std::byte> data, int root) override {
        call([&] { ranks_->broadcast(data, root); });
    }
    void barrier() override {
        call([&] { ranks_->barrier(); });
    }
    void all_reduce(std::span<float> values) override {
        call([&] { ranks_->all_reduce(values); });
    }
    std::string name_of(int rank) const override { return ranks_->name_of(rank); }

    void abandon(int exit_code, const std::string& reason) noexcept override {
        abandoned_ = true;
        ranks_->abandon(exit_code, reason);
        watch_.abandon(exit_code, reason);
    }

private:
    template <typename Call>
    void call(Call&& work) {
        watch_.enter_call();
        try {
            work();
        } catch (const Error& error) {
            if (error.code() == Exit::peer_lost) {
                std::this_thread::sleep_for(std::chrono::seconds(4));   // longer than the watch takes to tell
                abandon(static_cast<int>(Exit::peer_lost), error.what());
            }
            throw;
        }
    }

    Leave leave_;
    int exceptions_ = std::uncaught_exceptions();
    bool abandoned_ = false;
    std::unique_ptr<Communicator> ranks_;
    Watch watch_;
};

}   // namespace

std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> ranks, const std::string& host, Leave leave,
                                      OnLost on_lost) {
    return std::make_unique<Watched>(std::move(ranks), host, leave, std::move(on_lost));
}

}   // namespace trainer
