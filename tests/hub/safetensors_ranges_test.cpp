#include "hub/safetensors_ranges.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "configs/error.h"
#include "tests/hub/files.h"

namespace trainer::test {
namespace {

struct Content {
    TensorSpec spec;
    std::string bytes;
};

// Tensors of several types, in an order that is not the file's; one is empty, one a scalar.
std::vector<Content> contents() {
    std::vector<Content> all = {{{"z.weight", FileDType::f32, {5, 7}}, ""}, {{"a.weight", FileDType::bf16, {3, 9}}, ""},
                                {{"step", FileDType::i64, {}}, ""},         {{"empty", FileDType::f32, {0, 4}}, ""},
                                {{"b.bytes", FileDType::u8, {13}}, ""},     {{"m.weight", FileDType::f32, {11}}, ""}};
    unsigned number = 7;
    for (Content& content : all) {
        content.bytes.resize(*byte_count(content.spec.dtype, content.spec.shape));
        for (char& byte : content.bytes) byte = static_cast<char>((number = number * 1664525u + 1013904223u) >> 24);
    }
    return all;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

SafetensorsLayout layout_of(const std::vector<Content>& all) {
    std::vector<TensorSpec> specs;
    for (const Content& content : all) specs.push_back(content.spec);
    return lay_out_safetensors("shared", specs);
}

std::string reference_file(const std::vector<Content>& all, const std::filesystem::path& path) {
    std::vector<TensorToWrite> tensors;
    for (const Content& content : all)
        tensors.push_back({content.spec.name, content.spec.dtype, content.spec.shape, bytes_of(content.bytes), {}});
    write_safetensors(path, tensors);
    return get(path);
}

// Writer `rank` of `ranks` writes its even share of the elements of every tensor.
std::vector<WrittenRanges> write_share(const std::filesystem::path& path, const std::vector<Content>& all, int rank,
                                       int ranks, std::uint64_t part_bytes = SafetensorsRangeWriter::part_bytes) {
    const SafetensorsLayout layout = layout_of(all);
    SafetensorsRangeWriter writer(path, layout, part_bytes);
    if (rank == 0) writer.write_head();
    for (const Content& content : all) {
        const std::int64_t count = element_count(content.spec.shape);
        const auto width = static_cast<std::size_t>(bits_of(content.spec.dtype) / 8);
        const auto begin = static_cast<std::size_t>(count * rank / ranks);
        const auto end = static_cast<std::size_t>(count * (rank + 1) / ranks);
        writer.write(content.spec.name, static_cast<std::int64_t>(begin),
                     bytes_of(content.bytes).subspan(begin * width, (end - begin) * width));
    }
    return writer.finish();
}

std::uint64_t size_of(const WrittenRanges& part) {
    std::uint64_t size = 0;
    for (const ByteRange& range : part.ranges) size += range.end - range.begin;
    return size;
}

TEST(SafetensorsRanges, AnyNumberOfWritersMakeTheSameFile) {
    const TemporaryFolder folder;
    const std::vector<Content> all = contents();
    const std::string expected = reference_file(all, folder / "whole");
    for (const auto& [ranks, part_bytes] : std::vector<std::pair<int, std::uint64_t>>{
             {1, 1 << 20}, {2, 1 << 20}, {3, 1 << 20}, {8, 1 << 20}, {1, 1}, {2, 7}, {3, 64}}) {
        const auto path = folder / format("shared{}_{}", ranks, part_bytes);
        create_shared_safetensors(path, layout_of(all));
        EXPECT_EQ(std::filesystem::file_size(path), expected.size());
        std::vector<ByteRange> covered;
        for (int rank = ranks - 1; rank >= 0; --rank) {
            const std::vector<WrittenRanges> parts = write_share(path, all, rank, ranks, part_bytes);
            for (const WrittenRanges& part : parts) {
                EXPECT_EQ(part.sha256, sha256_of_ranges(path, part.ranges));
                if (&part != &parts.back()) {
                    EXPECT_EQ(size_of(part), part_bytes);
                }
                EXPECT_LE(size_of(part), part_bytes);
                covered.insert(covered.end(), part.ranges.begin(), part.ranges.end());
            }
        }
        EXPECT_EQ(get(path), expected);
        std::sort(covered.begin(), covered.end(), [](auto a, auto b) { return a.begin < b.begin; });
        std::uint64_t position = 0;
        for (const ByteRange& range : covered) {
            EXPECT_EQ(range.begin, position);
            position = range.end;
        }
        EXPECT_EQ(position, expected.size());
    }
}

TEST(SafetensorsRanges, WhoWritesNothingHasNoParts) {
    const TemporaryFolder folder;
    const std::vector<Content> all = contents();
    create_shared_safetensors(folder / "shared", layout_of(all));
    const SafetensorsLayout layout = layout_of(all);
    EXPECT_TRUE(SafetensorsRangeWriter(folder / "shared", layout).finish().empty());
}

TEST(SafetensorsRanges, ProcessesWriteSideBySide) {
    const TemporaryFolder folder;
    const std::vector<Content> all = contents();
    const std::string expected = reference_file(all, folder / "whole");
    create_shared_safetensors(folder / "shared", layout_of(all));
    std::vector<pid_t> children;
    for (int rank = 0; rank < 4; ++rank) {
        const pid_t child = ::fork();
        if (child == 0) {
            write_share(folder / "shared", all, rank, 4);
            ::_exit(0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 1;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }
    EXPECT_EQ(get(folder / "shared"), expected);
}

TEST(SafetensorsRanges, NeighbouringRangesAreJoined) {
    const TemporaryFolder folder;
    const std::vector<Content> all = {{{"x", FileDType::f32, {4}}, std::string(16, 'x')}};
    const SafetensorsLayout layout = layout_of(all);
    create_shared_safetensors(folder / "shared", layout);
    SafetensorsRangeWriter writer(folder / "shared", layout);
    writer.write("x", 0, bytes_of(all[0].bytes).first(4));
    writer.write("x", 1, bytes_of(all[0].bytes).first(4));
    writer.write("x", 3, bytes_of(all[0].bytes).first(4));
    const std::uint64_t data = layout.data_begin();
    const std::vector<ByteRange> expected = {{data, data + 8}, {data + 12, data + 16}};
    EXPECT_EQ(writer.finish().at(0).ranges, expected);
}

TEST(SafetensorsRanges, ReadsAnyPart) {
    const TemporaryFolder folder;
    const std::vector<Content> all = contents();
    reference_file(all, folder / "file");
    const SafetensorsRangeReader reader(folder / "file");
    std::vector<std::string> at_once;
    for (const Content& content : all) at_once.push_back(std::string(content.bytes.size(), '?'));
    std::vector<SafetensorsRangeReader::Part> parts;
    for (std::size_t i = 0; i < all.size(); ++i)
        parts.push_back({all[i].spec.name, 0, std::as_writable_bytes(std::span(at_once[i]))});
    reader.read(parts);
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(at_once[i], all[i].bytes);
    for (const Content& content : all) {
        const std::int64_t count = element_count(content.spec.shape);
        const auto width = static_cast<std::size_t>(bits_of(content.spec.dtype) / 8);
        for (std::int64_t begin = 0; begin <= count; ++begin)
            for (std::int64_t end = begin; end <= count; ++end) {
                std::string part(static_cast<std::size_t>(end - begin) * width, '?');
                reader.read(content.spec.name, begin, std::as_writable_bytes(std::span(part)));
                EXPECT_EQ(part, content.bytes.substr(static_cast<std::size_t>(begin) * width, part.size()));
            }
    }
}

template <typename Work>
void expect_error(Exit code, const std::string& message, const Work& work) {
    try {
        work();
        ADD_FAILURE() << "no error, expected: " << message;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), code);
        EXPECT_EQ(error.what(), message);
    }
}

TEST(SafetensorsRanges, BoundsAreChecked) {
    const TemporaryFolder folder;
    const std::vector<Content> all = contents();
    const SafetensorsLayout layout = layout_of(all);
    const std::string path = (folder / "shared").string();
    create_shared_safetensors(path, layout);
    SafetensorsRangeWriter writer(path, layout);
    const std::string text(64, 'x');
    expect_error(Exit::internal, path + ": tensor m.weight of shape [11]: no place for 16 bytes at element 8",
                 [&] { writer.write("m.weight", 8, bytes_of(text).first(16)); });
    expect_error(Exit::internal, path + ": tensor m.weight of shape [11]: no place for 4 bytes at element -1",
                 [&] { writer.write("m.weight", -1, bytes_of(text).first(4)); });
    expect_error(Exit::internal, path + ": tensor m.weight of shape [11]: no place for 3 bytes at element 0",
                 [&] { writer.write("m.weight", 0, bytes_of(text).first(3)); });
    expect_error(Exit::internal, "safetensors: the layout has no tensor q",
                 [&] { writer.write("q", 0, bytes_of(text)); });

    reference_file(all, folder / "file");
    const SafetensorsRangeReader reader(folder / "file");
    std::string part(8, '?');
    const auto bytes = std::as_writable_bytes(std::span(part));
    const std::string file = (folder / "file").string();
    expect_error(Exit::bad_data, file + ": tensor m.weight of shape [11] has no 8 bytes at element 10",
                 [&] { reader.read("m.weight", 10, bytes); });
    expect_error(Exit::bad_data, file + ": tensor m.weight of shape [11] has no 8 bytes at element 12",
                 [&] { reader.read("m.weight", 12, bytes); });
    expect_error(Exit::bad_data, file + ": tensor q is missing", [&] { reader.read("q", 0, bytes); });
}

TEST(SafetensorsRanges, AnotherLayoutIsRefused) {
    const TemporaryFolder folder;
    std::vector<Content> all = contents();
    const SafetensorsLayout layout = layout_of(all);
    const std::string path = (folder / "shared").string();
    create_shared_safetensors(path, layout);
    expect_error(Exit::cannot_create, path + ": cannot be created: File exists",
                 [&] { create_shared_safetensors(path, layout); });
    all.pop_back();
    const SafetensorsLayout other = layout_of(all);
    expect_error(
        Exit::io,
        path + ": has " + std::to_string(layout.file_size()) + " bytes, expected " + std::to_string(other.file_size()),
        [&] { SafetensorsRangeWriter(path, other); });
}

}   // namespace
}   // namespace trainer::test
