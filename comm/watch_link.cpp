#include "comm/watch_link.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace trainer {

namespace {

constexpr std::uint32_t most_text = 1 << 16;

struct NoteHead {
    std::uint32_t kind = 0;
    std::int32_t code = 0;
    std::uint64_t calls = 0;
    std::uint32_t length = 0;   // of the text that follows
    std::uint32_t reserved = 0;
};

}   // namespace

WatchLink::WatchLink(int rank, Socket socket)
    : heard(std::chrono::steady_clock::now()), rank_(rank), socket_(std::move(socket)) {}

void WatchLink::write(const Note& note, Deadline deadline) {
    if (!is_open()) return;
    const std::string text = note.text.substr(0, most_text);
    const NoteHead head{static_cast<std::uint32_t>(note.kind), note.code, note.calls,
                        static_cast<std::uint32_t>(text.size()), 0};
    std::vector<std::byte> bytes(sizeof head + text.size());
    std::memcpy(bytes.data(), &head, sizeof head);
    if (!text.empty()) std::memcpy(bytes.data() + sizeof head, text.data(), text.size());
    send_all(socket_, bytes, deadline);   // an end of the connection is seen by read()
}

std::vector<Note> WatchLink::read() {
    std::array<std::byte, 4096> buffer;
    while (is_open()) {
        const ssize_t count = ::recv(socket_.descriptor(), buffer.data(), buffer.size(), 0);
        if (count > 0) {
            pending_.insert(pending_.end(), buffer.begin(), buffer.begin() + count);
            heard = std::chrono::steady_clock::now();
        } else if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        } else {
            close();
        }
    }
    std::vector<Note> notes;
    std::size_t begin = 0;
    NoteHead head;
    while (pending_.size() - begin >= sizeof head) {
        std::memcpy(&head, pending_.data() + begin, sizeof head);
        if (head.length > most_text) {   // not ours
            close();
            break;
        }
        if (pending_.size() - begin < sizeof head + head.length) break;
        const auto* text = reinterpret_cast<const char*>(pending_.data() + begin + sizeof head);
        notes.push_back({static_cast<Note::Kind>(head.kind), head.code, head.calls, std::string(text, head.length)});
        begin += sizeof head + head.length;
    }
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(begin));
    return notes;
}

}   // namespace trainer
