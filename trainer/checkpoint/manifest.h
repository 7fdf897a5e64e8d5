#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hub/sha256.h"

namespace trainer {

inline constexpr const char* manifest_name = "trainer_manifest.json";

// Parts of one file that one process wrote: their place, and the SHA-256 of their bytes in this order.
struct ManifestPart {
    std::vector<ByteRange> ranges;
    std::string sha256;
};

// What a file must be. Either `sha256` is that of the whole file, or `parts` tile it: every byte once.
struct ManifestFile {
    std::uint64_t size = 0;
    std::string sha256;
    std::vector<ManifestPart> parts;
};

// What makes a folder a checkpoint (docs/formats.md).
struct Manifest {
    std::int64_t step = 0;
    std::string run_id;
    std::int64_t world_size = 1;   // ranks that wrote it; no reader needs the number
    std::string trainer_version;
    std::string parent;                           // name of the checkpoint before, "" for the first
    std::map<std::string, std::string> digests;   // by what they are of: "recipe", "data", "base weights", …
    std::map<std::string, ManifestFile> files;    // by path inside the folder, with / between
};

// The one text of a manifest. Its last key, digest, is the SHA-256 of all bytes before that key's line. Error(internal)
// when the manifest breaks a rule that `parse_manifest` checks.
std::string manifest_text(const Manifest& manifest);

// Error(bad_checkpoint) "{name}: not a valid manifest: …" unless the text is byte for byte what `manifest_text` writes
// for a manifest of version 1: so every change of a byte is found.
Manifest parse_manifest(std::string_view text, const std::string& name);

// Of a checkpoint's folder. Error(bad_checkpoint) also when the file is missing, no regular file or cannot be read.
Manifest read_manifest(const std::filesystem::path& folder);

}   // namespace trainer
