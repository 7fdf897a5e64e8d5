#include "hub/safetensors_ranges.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "autograd/cpu/parallel_each.h"
#include "configs/error.h"

namespace trainer {

namespace {

constexpr std::size_t piece_bytes = 4 << 20;   // read at a time

// Where elements from `element_begin` on lie within the data, or nothing when the tensor has no such elements.
std::optional<ByteRange> place_of(const FileTensor& tensor, std::int64_t element_begin, std::uint64_t size) {
    const auto bits = static_cast<std::uint64_t>(bits_of(tensor.dtype));
    if (element_begin < 0 || element_begin > element_count(tensor.shape)) return {};
    const std::uint64_t bit = static_cast<std::uint64_t>(element_begin) * bits;
    if (bit % 8 != 0 || size * 8 % bits != 0) return {};
    const std::uint64_t begin = tensor.begin + bit / 8;
    if (size > tensor.end - begin) return {};
    return ByteRange{begin, begin + size};
}

}   // namespace

void create_shared_safetensors(const std::filesystem::path& path, const SafetensorsLayout& layout) {
    OpenFile file(path, O_WRONLY | O_CREAT | O_EXCL);
    try {
        file.allocate(layout.file_size());
        file.close();
    } catch (const Error&) {
        ::unlink(path.c_str());
        throw;
    }
}

SafetensorsRangeWriter::SafetensorsRangeWriter(const std::filesystem::path& path, const SafetensorsLayout& layout,
                                               std::uint64_t bytes_of_part)
    : layout_(&layout), file_(path, O_WRONLY), bytes_of_part_(bytes_of_part) {
    require(file_.size() == layout.file_size(), Exit::io, "{}: has {} bytes, expected {}", path.string(), file_.size(),
            layout.file_size());
}

void SafetensorsRangeWriter::put(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const auto piece = bytes.first(std::min<std::uint64_t>(bytes.size(), bytes_of_part_ - part_size_));
        file_.write_at(offset, piece);
        hash_.update(piece);
        if (ranges_.empty() || ranges_.back().end != offset) ranges_.push_back({offset, offset});
        ranges_.back().end += piece.size();
        part_size_ += piece.size();
        if (part_size_ == bytes_of_part_) end_part();
        offset += piece.size();
        bytes = bytes.subspan(piece.size());
    }
}

void SafetensorsRangeWriter::end_part() {
    parts_.push_back({std::exchange(ranges_, {}), std::exchange(hash_, Sha256()).finish()});
    part_size_ = 0;
}

void SafetensorsRangeWriter::write_head() {
    put(0, std::as_bytes(std::span(layout_->head.data(), layout_->head.size())));
}

void SafetensorsRangeWriter::write(std::string_view tensor, std::int64_t element_begin,
                                   std::span<const std::byte> bytes) {
    const FileTensor& known = layout_->at(tensor);
    const auto place = place_of(known, element_begin, bytes.size());
    check(place.has_value(), "{}: tensor {} of shape {}: no place for {} bytes at element {}", file_.name(), tensor,
          shape_text(known.shape), bytes.size(), element_begin);
    put(layout_->data_begin() + place->begin, bytes);
}

std::vector<WrittenRanges> SafetensorsRangeWriter::finish() {
    file_.sync();
    file_.close();
    if (part_size_ > 0) end_part();
    return std::move(parts_);
}

SafetensorsRangeReader::SafetensorsRangeReader(const std::filesystem::path& path)
    : file_(path), bytes_(path, O_RDONLY) {}

std::uint64_t SafetensorsRangeReader::offset_of(std::string_view tensor, std::int64_t element_begin,
                                                std::uint64_t size) const {
    const FileTensor& known = file_.at(tensor);
    const auto place = place_of(known, element_begin, size);
    require(place.has_value(), Exit::bad_data, "{}: tensor {} of shape {} has no {} bytes at element {}",
            file_.path().string(), tensor, shape_text(known.shape), size, element_begin);
    return file_.data_begin() + place->begin;
}

void SafetensorsRangeReader::read(std::string_view tensor, std::int64_t element_begin,
                                  std::span<std::byte> bytes) const {
    bytes_.read_at(offset_of(tensor, element_begin, bytes.size()), bytes);
}

void SafetensorsRangeReader::read(const std::vector<Part>& parts) const {
    struct Piece {
        std::uint64_t offset;
        std::span<std::byte> bytes;
    };
    std::vector<Piece> pieces;
    for (const Part& part : parts) {
        const std::uint64_t offset = offset_of(part.tensor, part.element_begin, part.bytes.size());
        for (std::size_t at = 0; at < part.bytes.size(); at += piece_bytes)
            pieces.push_back({offset + at, part.bytes.subspan(at, std::min(piece_bytes, part.bytes.size() - at))});
    }
    parallel_each(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i) {
        const Piece& piece = pieces[static_cast<std::size_t>(i)];
        bytes_.read_at(piece.offset, piece.bytes);
    });
}

}   // namespace trainer
