#include "hub/sha256.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "configs/error.h"
#include "tests/hub/files.h"

namespace trainer::test {
namespace {

// FIPS 180-4 examples and the empty message.
TEST(Sha256, KnownDigests) {
    EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    Sha256 million;
    for (int i = 0; i < 1000; ++i) million.update(std::string(1000, 'a'));
    EXPECT_EQ(million.finish(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

Error error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error;
    }
    return Error(Exit::done, "no error");
}

TEST(Sha256, OfFilesAndRanges) {
    const TemporaryFolder folder;
    std::string text(3'000'017, ' ');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761u >> 13);
    put(folder / "file", text);
    EXPECT_EQ(sha256_of_file(folder / "file"), sha256_of(text));
    EXPECT_EQ(sha256_of_ranges(folder / "file", {{5, 1'500'000}, {0, 3}, {7, 7}, {3'000'016, 3'000'017}}),
              sha256_of(text.substr(5, 1'499'995) + text.substr(0, 3) + text.substr(3'000'016)));
    EXPECT_EQ(sha256_of_ranges(folder / "file", {}), sha256_of(""));
}

// Larger than what is read at a time, with a short last piece.
TEST(Sha256, SeveralFilesSideBySide) {
    const TemporaryFolder folder;
    std::vector<std::filesystem::path> paths;
    std::vector<std::string> expected;
    for (const std::size_t size : {5'000'011u, 0u, 4'194'304u, 17u}) {
        std::string text(size, ' ');
        for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i + size) * 2654435761u >> 13);
        paths.push_back(folder / std::to_string(size));
        put(paths.back(), text);
        expected.push_back(sha256_of(text));
    }
    EXPECT_EQ(sha256_of_files(paths), expected);
    paths.push_back(folder / "absent");
    EXPECT_EQ(error_of([&] { sha256_of_files(paths); }).code(), Exit::no_input);
}

TEST(Sha256, MistakesNameTheFile) {
    const TemporaryFolder folder;
    put(folder / "file", "12345");
    const std::string name = (folder / "file").string();
    Error error = error_of([&] { sha256_of_ranges(folder / "file", {{3, 9}}); });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_EQ(error.what(), name + ": ends at byte 5, where 4 more were expected");
    error = error_of([&] { sha256_of_file(folder / "other"); });
    EXPECT_EQ(error.code(), Exit::no_input);
    EXPECT_EQ(error.what(), (folder / "other").string() + ": no such file");
    error = error_of([&] { sha256_of_file(folder.path()); });
    EXPECT_EQ(error.code(), Exit::io);
    EXPECT_EQ(error.what(), folder.path().string() + ": is not a regular file");
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    EXPECT_EQ(error_of([&] { sha256_of_file(folder / "pipe"); }).code(), Exit::io);
}

}   // namespace
}   // namespace trainer::test
