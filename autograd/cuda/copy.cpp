#include "autograd/cuda/copy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

namespace trainer::cuda {

namespace {

// Rows in memory.
struct Rows {
    std::byte* begin;
    std::size_t pitch;
};

void copy_on_host(Rows to, Rows from, std::size_t row_bytes, std::size_t rows) {
    for (std::size_t row = 0; row < rows; ++row)
        std::memcpy(to.begin + row * to.pitch, from.begin + row * from.pitch, row_bytes);
}

// Pinned memory that copies go through, in pieces. A segment is used again when the copies that it was part of are
// done, which they mostly are by then.
class Ring {
public:
    Ring() : memory_(allocate_pinned(segments * segment_bytes)) {}

    // Calls copy(to, from, row_bytes, rows) with parts of the rows that fit into a segment.
    template <typename Copy>
    void in_pieces(Rows to, Rows from, std::size_t row_bytes, std::size_t rows, const Copy& copy) {
        if (rows == 1 || (to.pitch == row_bytes && from.pitch == row_bytes)) {
            const std::size_t bytes = row_bytes * rows;
            for (std::size_t begin = 0; begin < bytes; begin += segment_bytes)
                copy(Rows{to.begin + begin, 0}, Rows{from.begin + begin, 0}, std::min(segment_bytes, bytes - begin), 1);
        } else if (row_bytes > segment_bytes) {
            for (std::size_t row = 0; row < rows; ++row)
                in_pieces({to.begin + row * to.pitch, 0}, {from.begin + row * from.pitch, 0}, row_bytes, 1, copy);
        } else {
            const std::size_t at_once = segment_bytes / row_bytes;
            for (std::size_t row = 0; row < rows; row += at_once)
                copy(Rows{to.begin + row * to.pitch, to.pitch}, Rows{from.begin + row * from.pitch, from.pitch},
                     row_bytes, std::min(at_once, rows - row));
        }
    }

    void to_device(Rows to, Rows from, std::size_t row_bytes, std::size_t rows) {
        in_pieces(to, from, row_bytes, rows, [this](Rows piece_to, Rows piece_from, std::size_t bytes, std::size_t n) {
            const Rows staged{room(bytes * n), bytes};
            copy_on_host(staged, piece_from, bytes, n);
            begin_copy(Direction::to_device, piece_to.begin, piece_to.pitch, staged.begin, staged.pitch, bytes, n);
        });
    }

    // A piece is on its way while the one before is taken out.
    void to_host(Rows to, Rows from, std::size_t row_bytes, std::size_t rows) {
        struct Piece {
            Rows to, staged;
            std::size_t bytes, rows;
            const Event* done;
        };
        Piece last{};
        const auto take_out = [](const Piece& piece) {
            if (!piece.done) return;
            piece.done->wait();
            copy_on_host(piece.to, piece.staged, piece.bytes, piece.rows);
        };
        in_pieces(to, from, row_bytes, rows, [&](Rows piece_to, Rows piece_from, std::size_t bytes, std::size_t n) {
            next_segment();
            const Rows staged{room(bytes * n), bytes};
            begin_copy(Direction::to_host, staged.begin, staged.pitch, piece_from.begin, piece_from.pitch, bytes, n);
            done_[segment_].record();
            take_out(std::exchange(last, Piece{piece_to, staged, bytes, n, &done_[segment_]}));
        });
        take_out(last);
    }

    bool there() const { return memory_ != nullptr; }

private:
    static constexpr std::size_t segment_bytes = std::size_t{4} << 20;
    static constexpr std::size_t segments = 4;

    std::byte* room(std::size_t bytes) {
        constexpr std::size_t alignment = 64;
        if (used_ + bytes > segment_bytes) next_segment();
        std::byte* const begin = memory_ + segment_ * segment_bytes + used_;
        used_ += (bytes + alignment - 1) / alignment * alignment;
        return begin;
    }

    void next_segment() {
        done_[segment_].record();
        segment_ = (segment_ + 1) % segments;
        done_[segment_].wait();
        used_ = 0;
    }

    std::byte* memory_;   // of `segments` segments
    std::array<Event, segments> done_;
    std::size_t segment_ = 0;
    std::size_t used_ = 0;   // of the segment
};

}   // namespace

void copy_rows(Direction direction, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
               std::size_t row_bytes, std::size_t rows) {
    static std::mutex mutex;
    static Ring* ring = nullptr;
    if (row_bytes == 0 || rows == 0) return;
    const std::lock_guard lock(mutex);
    if (!ring) ring = new Ring;
    if (!ring->there() || direction == Direction::on_device) {
        begin_copy(direction, to, to_pitch, from, from_pitch, row_bytes, rows);
        if (direction != Direction::on_device) wait();
        return;
    }
    const Rows target{static_cast<std::byte*>(to), to_pitch};
    const Rows source{static_cast<std::byte*>(const_cast<void*>(from)), from_pitch};
    if (direction == Direction::to_device)
        ring->to_device(target, source, row_bytes, rows);
    else
        ring->to_host(target, source, row_bytes, rows);
}

}   // namespace trainer::cuda
