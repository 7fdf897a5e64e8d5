#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <initializer_list>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/json.h"
#include "trainer/checkpoint/sealed_json.h"

namespace trainer {

namespace {

constexpr std::int64_t manifest_version = 1;
constexpr std::size_t largest_manifest = 256 << 20;

// ---- writing ----

Node to_node(const ManifestFile& file) {
    Node node;
    node.set("size", static_cast<std::int64_t>(file.size));
    if (file.parts.empty()) {
        node.set("sha256", file.sha256);
        return node;
    }
    Node::List parts;
    for (const ManifestPart& part : file.parts) {
        Node::List ranges;
        for (const ByteRange& range : part.ranges)
            ranges.push_back(Node::List{static_cast<std::int64_t>(range.begin), static_cast<std::int64_t>(range.end)});
        Node entry;
        entry.set("ranges", std::move(ranges));
        entry.set("sha256", part.sha256);
        parts.push_back(std::move(entry));
    }
    node.set("parts", std::move(parts));
    return node;
}

// Everything but the digest.
Node to_node(const Manifest& manifest) {
    Node digests = Node::map();
    for (const auto& [name, digest] : manifest.digests) digests.set(name, digest);
    Node files = Node::map();
    for (const auto& [path, file] : manifest.files) files.set(path, to_node(file));
    Node node;
    node.set("version", manifest_version);
    node.set("step", manifest.step);
    node.set("run_id", manifest.run_id);
    node.set("world_size", manifest.world_size);
    node.set("trainer_version", manifest.trainer_version);
    node.set("parent", manifest.parent.empty() ? Node() : Node(manifest.parent));
    node.set("digests", std::move(digests));
    node.set("files", std::move(files));
    return node;
}

std::string text_of(const Manifest& manifest) { return sealed_json(to_node(manifest)); }

// ---- reading; every failure is Error(bad_data), which `parse_manifest` turns into its own ----

template <typename... Arguments>
void expect(bool condition, std::string_view pattern, const Arguments&... arguments) {
    require(condition, Exit::bad_data, pattern, arguments...);
}

void expect_keys(const Node& node, std::string_view where, std::initializer_list<std::string_view> keys) {
    expect(node.is_map(), "{}: expected a map, found {}", where, node.describe());
    for (const std::string_view key : keys) expect(node.contains(key), "{}: key \"{}\" is missing", where, key);
    for (const auto& entry : node.as_map())
        expect(std::find(keys.begin(), keys.end(), entry.key) != keys.end(), "{}: unknown key \"{}\"", where,
               entry.key);
}

std::int64_t natural(const Node& node, std::string_view where, std::int64_t low = 0) {
    expect(node.kind() == Node::Kind::integer && node.as_integer() >= low, "{}: expected an integer from {}, found {}",
           where, low, node.describe());
    return node.as_integer();
}

std::string digest_in(const Node& node, std::string_view where) {
    expect(node.is_string() && is_sha256(node.as_string()),
           "{}: expected a SHA-256 of 64 lower-case hexadecimal digits, found {}", where, node.describe());
    return node.as_string();
}

std::string string_in(const Node& node, std::string_view where) {
    expect(node.is_string(), "{}: expected a string, found {}", where, node.describe());
    return node.as_string();
}

// A path that stays in the folder and has one spelling.
void check_path(const std::string& path) {
    const std::filesystem::path parts(path);
    bool plain = !path.empty() && path.front() != '/' && path.back() != '/' && path.find("//") == std::string::npos &&
                 path != manifest_name;
    for (const auto& part : parts) plain = plain && part != "." && part != "..";
    for (const char c : path) plain = plain && static_cast<unsigned char>(c) >= 0x20 && c != '\\';
    expect(plain, "files: \"{}\" is not a plain path inside the folder", path);
}

std::vector<ManifestPart> parts_in(const Node& node, const std::string& where) {
    expect(node.is_list() && node.size() > 0, "{}: expected a list of parts that is not empty, found {}", where,
           node.describe());
    std::vector<ManifestPart> parts;
    for (const Node& entry : node.as_list()) {
        expect_keys(entry, where, {"ranges", "sha256"});
        const Node& ranges = entry.at("ranges");
        expect(ranges.is_list() && ranges.size() > 0, "{}: expected a list of ranges that is not empty, found {}",
               where, ranges.describe());
        ManifestPart part;
        for (const Node& range : ranges.as_list()) {
            expect(range.is_list() && range.size() == 2, "{}: expected [begin, end], found {}", where,
                   range.describe());
            part.ranges.push_back({static_cast<std::uint64_t>(natural(range.as_list()[0], where)),
                                   static_cast<std::uint64_t>(natural(range.as_list()[1], where))});
        }
        part.sha256 = digest_in(entry.at("sha256"), where);
        parts.push_back(std::move(part));
    }
    return parts;
}

// The ranges hold every byte of the file once.
void check_tiling(const std::string& where, const ManifestFile& file) {
    std::vector<ByteRange> all;
    for (const ManifestPart& part : file.parts) all.insert(all.end(), part.ranges.begin(), part.ranges.end());
    std::sort(all.begin(), all.end(), [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
    std::uint64_t position = 0;
    for (const ByteRange& range : all) {
        expect(range.begin < range.end, "{}: range [{}, {}] is empty", where, range.begin, range.end);
        expect(range.begin >= position, "{}: byte {} lies in two ranges", where, range.begin);
        expect(range.begin == position, "{}: bytes {} to {} lie in no range", where, position, range.begin);
        position = range.end;
    }
    expect(position == file.size, "{}: the ranges end at byte {}, the file at {}", where, position, file.size);
}

ManifestFile file_in(const Node& node, const std::string& where) {
    ManifestFile file;
    const bool whole = !node.contains("parts");
    expect_keys(node, where, {"size", whole ? "sha256" : "parts"});
    file.size = static_cast<std::uint64_t>(natural(node.at("size"), where + ": size"));
    if (whole) {
        file.sha256 = digest_in(node.at("sha256"), where);
        return file;
    }
    file.parts = parts_in(node.at("parts"), where);
    check_tiling(where, file);
    return file;
}

Manifest manifest_in(const Node& node) {
    expect_keys(node, "the manifest",
                {"version", "step", "run_id", "world_size", "trainer_version", "parent", "digests", "files", "digest"});
    const std::int64_t version = natural(node.at("version"), "version");
    expect(version == manifest_version, "its version is {}, this trainer reads {}", version, manifest_version);
    Manifest manifest;
    manifest.step = natural(node.at("step"), "step");
    manifest.run_id = string_in(node.at("run_id"), "run_id");
    manifest.world_size = natural(node.at("world_size"), "world_size", 1);
    manifest.trainer_version = string_in(node.at("trainer_version"), "trainer_version");
    if (const Node& parent = node.at("parent"); !parent.is_null()) manifest.parent = string_in(parent, "parent");
    expect(node.at("digests").is_map(), "digests: expected a map, found {}", node.at("digests").describe());
    for (const auto& entry : node.at("digests").as_map())
        manifest.digests[entry.key] = string_in(entry.value, "digests: " + entry.key);
    expect(node.at("files").is_map(), "files: expected a map, found {}", node.at("files").describe());
    for (const auto& entry : node.at("files").as_map()) {
        check_path(entry.key);
        manifest.files[entry.key] = file_in(entry.value, "files: " + entry.key);
    }
    return manifest;
}

}   // namespace

Manifest parse_manifest(std::string_view text, const std::string& name) {
    try {
        Manifest manifest = manifest_in(parse_json(text, name));
        require(text == text_of(manifest), Exit::bad_data,
                "it is not byte for byte what its digest was taken of; it has been changed or damaged");
        return manifest;
    } catch (const Error& error) {
        fail(Exit::bad_checkpoint, "{}: not a valid manifest: {}", name, error.what());
    }
}

std::string manifest_text(const Manifest& manifest) {
    std::string text = text_of(manifest);
    try {
        parse_manifest(text, "manifest");
    } catch (const Error& error) {
        fail(Exit::internal, "{}", error.what());
    }
    return text;
}

Manifest read_manifest(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / manifest_name;
    std::error_code error;
    require(!std::filesystem::is_symlink(path, error), Exit::bad_checkpoint, "{}: is a symbolic link", path.string());
    require(std::filesystem::exists(path, error), Exit::bad_checkpoint, "{}: has no {}", folder.string(),
            manifest_name);
    std::string text;
    try {
        text = read_text_file(path, largest_manifest);
    } catch (const Error& failure) {
        fail(Exit::bad_checkpoint, "{}", failure.what());
    }
    return parse_manifest(text, path.string());
}

}   // namespace trainer
