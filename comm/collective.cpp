#include "comm/collective.h"

#include <cstring>
#include <numeric>
#include <span>

namespace trainer {

namespace {

// Buffers of the given sizes, rank after rank in one block.
class Gathered {
public:
    explicit Gathered(const std::vector<std::uint64_t>& sizes) {
        std::uint64_t total = 0;
        for (const std::uint64_t size : sizes) total += size;
        bytes_.resize(total);
        std::uint64_t offset = 0;
        for (const std::uint64_t size : sizes) {
            parts_.emplace_back(bytes_.data() + offset, size);
            offset += size;
        }
    }
    std::span<const std::span<std::byte>> parts() const { return parts_; }

private:
    std::vector<std::byte> bytes_;
    std::vector<std::span<std::byte>> parts_;
};

std::vector<std::uint64_t> gather_sizes(Communicator& ranks, std::uint64_t mine) {
    const auto size = static_cast<std::size_t>(ranks.size());
    const Gathered all(std::vector<std::uint64_t>(size, sizeof mine));
    ranks.all_gather(std::as_bytes(std::span(&mine, 1)), all.parts());
    std::vector<std::uint64_t> sizes(size);
    std::memcpy(sizes.data(), all.parts()[0].data(), size * sizeof mine);
    return sizes;
}

}   // namespace

std::vector<std::string> gather_texts(Communicator& ranks, const std::string& text) {
    const Gathered all(gather_sizes(ranks, text.size()));
    ranks.all_gather(std::as_bytes(std::span(text)), all.parts());
    std::vector<std::string> texts;
    for (const std::span<std::byte> part : all.parts())
        texts.emplace_back(reinterpret_cast<const char*>(part.data()), part.size());
    return texts;
}

std::vector<double> gather_values(Communicator& ranks, const std::vector<double>& values) {
    return gather_values(ranks, values, gather_sizes(ranks, values.size()));
}

std::vector<double> gather_values(Communicator& ranks, const std::vector<double>& values,
                                  const std::vector<std::uint64_t>& counts) {
    std::vector<double> all(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
    std::vector<std::span<std::byte>> parts;
    std::uint64_t begin = 0;
    for (const std::uint64_t count : counts) {
        parts.push_back(std::as_writable_bytes(std::span(all).subspan(begin, count)));
        begin += count;
    }
    ranks.all_gather(std::as_bytes(std::span(values)), parts);
    return all;
}

bool any(Communicator& ranks, bool value) { return sum(ranks, value ? 1 : 0) > 0; }

std::int64_t sum(Communicator& ranks, std::int64_t value) {
    const auto size = static_cast<std::size_t>(ranks.size());
    const Gathered all(std::vector<std::uint64_t>(size, sizeof value));
    ranks.all_gather(std::as_bytes(std::span(&value, 1)), all.parts());
    std::int64_t total = 0;
    for (const std::span<std::byte> part : all.parts()) {
        std::int64_t one = 0;
        std::memcpy(&one, part.data(), sizeof one);
        total += one;
    }
    return total;
}

}   // namespace trainer
