#include "hub/safetensors_ranges.h"

#include <fcntl.h>
#include <unistd.h>

#include "configs/error.h"

namespace trainer {

namespace {

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

SafetensorsRangeWriter::SafetensorsRangeWriter(const std::filesystem::path& path, const SafetensorsLayout& layout)
    : layout_(&layout), file_(path, O_WRONLY) {
    require(file_.size() == layout.file_size(), Exit::io, "{}: has {} bytes, expected {}", path.string(), file_.size(),
            layout.file_size());
}

void SafetensorsRangeWriter::put(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    file_.write_at(offset, bytes);
    hash_.update(bytes);
    if (ranges_.empty() || ranges_.back().end != offset) ranges_.push_back({offset, offset});
    ranges_.back().end += bytes.size();
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

WrittenRanges SafetensorsRangeWriter::finish() {
    file_.sync();
    file_.close();
    return {std::move(ranges_), hash_.finish()};
}

SafetensorsRangeReader::SafetensorsRangeReader(const std::filesystem::path& path)
    : file_(path), bytes_(path, O_RDONLY) {}

void SafetensorsRangeReader::read(std::string_view tensor, std::int64_t element_begin,
                                  std::span<std::byte> bytes) const {
    const FileTensor& known = file_.at(tensor);
    const auto place = place_of(known, element_begin, bytes.size());
    require(place.has_value(), Exit::bad_data, "{}: tensor {} of shape {} has no {} bytes at element {}",
            file_.path().string(), tensor, shape_text(known.shape), bytes.size(), element_begin);
    bytes_.read_at(file_.data_begin() + place->begin, bytes);
}

}   // namespace trainer
