#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace trainer {

// Counter-based random numbers: a value depends on its key and counter only, never on how many were drawn before, by
// which thread or on which rank.

// Philox4x32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
constexpr std::array<std::uint32_t, 4> philox(std::uint64_t key, std::array<std::uint32_t, 4> counter) {
    auto key0 = static_cast<std::uint32_t>(key);
    auto key1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(product1),
                   static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1,
                   static_cast<std::uint32_t>(product0)};
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

// 64-bit mixing of a word (the finaliser of SplitMix64): a bijection with full avalanche.
constexpr std::uint64_t mix(std::uint64_t word) {
    word += 0x9E3779B97F4A7C15u;
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
}

// A key made of several parts, order matters.
template <typename... Parts>
constexpr std::uint64_t random_key(std::uint64_t first, Parts... parts) {
    std::uint64_t key = mix(first);
    ((key = mix(key ^ static_cast<std::uint64_t>(parts))), ...);
    return key;
}

// The name of a place in the model ("model.layers.0.self_attn.q_proj", "lora_dropout") as a number.
constexpr std::uint64_t site_key(std::string_view module, std::string_view operation) {
    std::uint64_t hash = 0xCBF29CE484222325u;   // FNV-1a
    for (std::string_view part : {module, std::string_view("\0", 1), operation})
        for (char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return mix(hash);
}

// Four numbers from the standard normal distribution (Box and Muller, in double).
constexpr std::array<float, 4> normal(const std::array<std::uint32_t, 4>& words) {
    std::array<float, 4> out{};
    for (std::size_t j = 0; j < 4; j += 2) {
        const double length = std::sqrt(-2 * std::log((words[j] + 0.5) * 0x1p-32));
        const double angle = 2 * std::numbers::pi * (words[j + 1] * 0x1p-32);
        out[j] = static_cast<float>(length * std::cos(angle));
        out[j + 1] = static_cast<float>(length * std::sin(angle));
    }
    return out;
}

// Uniform in [0, 1) with 24 bits.
constexpr float uniform(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}   // namespace trainer
