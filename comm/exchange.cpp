#include "comm/exchange.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace trainer {

namespace {

constexpr std::size_t most_at_once = std::size_t{4} << 20;

bool would_wait() { return errno == EAGAIN || errno == EINTR; }

}   // namespace

Transfer Sending::advance() {
    const std::size_t total = sizeof head_ + data_.size();
    const std::size_t head_left = sent_ < sizeof head_ ? sizeof head_ - sent_ : 0;
    const std::size_t offset = sent_ - (sizeof head_ - head_left);
    const std::size_t length = std::min(data_.size() - offset, most_at_once);
    std::array<iovec, 2> parts{{{reinterpret_cast<std::byte*>(&head_) + (sizeof head_ - head_left), head_left},
                                {const_cast<std::byte*>(data_.data()) + offset, length}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t count = ::sendmsg(descriptor_, &message, MSG_NOSIGNAL);
    if (count < 0) return would_wait() ? Transfer::moving : Transfer::lost;
    sent_ += static_cast<std::size_t>(count);
    return sent_ == total ? Transfer::done : Transfer::moving;
}

Transfer Receiving::advance() {
    while (received_ < sizeof head_) {
        auto* bytes = reinterpret_cast<std::byte*>(&head_);
        const ssize_t count = ::recv(descriptor_, bytes + received_, sizeof head_ - received_, 0);
        if (count == 0) return Transfer::lost;
        if (count < 0) return would_wait() ? Transfer::moving : Transfer::lost;
        received_ += static_cast<std::size_t>(count);
    }
    contradicts_ = head_.kind != expected_.kind || head_.call != expected_.call || head_.bytes != data_.size();
    const std::size_t offset = received_ - sizeof head_;
    if (contradicts_ || offset == data_.size()) return Transfer::done;
    const ssize_t count = ::recv(descriptor_, data_.data() + offset, std::min(data_.size() - offset, most_at_once), 0);
    if (count == 0) return Transfer::lost;
    if (count < 0) return would_wait() ? Transfer::moving : Transfer::lost;
    received_ += static_cast<std::size_t>(count);
    return received_ - sizeof head_ == data_.size() ? Transfer::done : Transfer::moving;
}

}   // namespace trainer
