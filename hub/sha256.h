#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trainer {

// SHA-256 (FIPS 180-4) of bytes that arrive piece by piece. Digests are 64 lower-case hexadecimal digits.
class Sha256 {
public:
    Sha256();
    ~Sha256();
    Sha256(Sha256&&) noexcept;
    Sha256& operator=(Sha256&&) noexcept;

    void update(std::span<const std::byte> bytes);
    void update(std::string_view text);
    std::string finish();   // once; nothing may follow

private:
    struct Context;
    std::unique_ptr<Context> context_;
};

// Bytes begin to end (not included) of a file.
struct ByteRange {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

bool is_sha256(std::string_view text);   // 64 lower-case hexadecimal digits

std::string sha256_of(std::span<const std::byte> bytes);
std::string sha256_of(std::string_view text);

// Of a whole file, and of some of its bytes, one range after the other. Error no_input when there is no such file, io
// when it cannot be read or ends before a range does; both name the file.
std::string sha256_of_file(const std::filesystem::path& path);
std::vector<std::string> sha256_of_files(const std::vector<std::filesystem::path>& paths);   // side by side
std::string sha256_of_ranges(const std::filesystem::path& path, const std::vector<ByteRange>& ranges);

}   // namespace trainer
