#include "hub/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "autograd/cpu/parallel_each.h"
#include "configs/error.h"
#include "hub/open_file.h"

namespace trainer {

struct Sha256::Context {
    EVP_MD_CTX* digest = EVP_MD_CTX_new();
    ~Context() { EVP_MD_CTX_free(digest); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
    require(context_->digest && EVP_DigestInit_ex(context_->digest, EVP_sha256(), nullptr) == 1, Exit::system,
            "OpenSSL has no SHA-256 here");
}

Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
    check(EVP_DigestUpdate(context_->digest, bytes.data(), bytes.size()) == 1, "sha256: update failed");
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }

std::string Sha256::finish() {
    std::array<unsigned char, 32> digest{};
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_->digest, digest.data(), &size) == 1 && size == digest.size(),
          "sha256: finish failed");
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : digest) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

bool is_sha256(std::string_view text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string sha256_of(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.update(bytes);
    return hash.finish();
}

std::string sha256_of(std::string_view text) { return sha256_of(std::as_bytes(std::span(text.data(), text.size()))); }

namespace {

std::string digest_of(const OpenFile& file, const std::vector<ByteRange>& ranges) {
    constexpr std::uint64_t piece = 1 << 20;
    std::vector<std::byte> buffer(piece);
    Sha256 hash;
    for (const ByteRange& range : ranges)
        for (std::uint64_t at = range.begin; at < range.end;) {
            const auto part = std::span(buffer).first(std::min(piece, range.end - at));
            file.read_at(at, part);
            hash.update(part);
            at += part.size();
        }
    return hash.finish();
}

}   // namespace

std::string sha256_of_file(const std::filesystem::path& path) {
    const OpenFile file(path, O_RDONLY | O_NONBLOCK);   // does not wait for the writer of a pipe
    return digest_of(file, {{0, file.size()}});
}

std::vector<std::string> sha256_of_files(const std::vector<std::filesystem::path>& paths) {
    std::vector<std::string> digests(paths.size());
    parallel_each(static_cast<std::int64_t>(paths.size()), [&](std::int64_t i) {
        digests[static_cast<std::size_t>(i)] = sha256_of_file(paths[static_cast<std::size_t>(i)]);
    });
    return digests;
}

std::string sha256_of_ranges(const std::filesystem::path& path, const std::vector<ByteRange>& ranges) {
    const OpenFile file(path, O_RDONLY | O_NONBLOCK);
    return digest_of(file, ranges);
}

}   // namespace trainer
