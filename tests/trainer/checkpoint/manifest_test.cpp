#include "trainer/checkpoint/manifest.h"

#include <gtest/gtest.h>

#include "configs/error.h"
#include "configs/json.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/checkpoint/small_checkpoint.h"

namespace trainer::test {
namespace {

std::string digest(const std::string& text) { return sha256_of(text); }

Manifest sample() {
    Manifest manifest;
    manifest.step = 50;
    manifest.run_id = "0123456789abcdef";
    manifest.world_size = 2;
    manifest.trainer_version = "0.1.0";
    manifest.parent = "checkpoint-25";
    manifest.digests = {{"base weights", digest("base")}, {"recipe", digest("recipe")}};
    manifest.files["adapter_config.json"] = {10, digest("a"), {}};
    manifest.files["more/ü.txt"] = {0, digest(""), {}};
    manifest.files["optimizer.safetensors"] = {
        100, "", {{{{0, 20}, {40, 60}}, digest("b")}, {{{60, 100}, {20, 40}}, digest("c")}}};
    return manifest;
}

TEST(Manifest, ReadsWhatItWrote) {
    const std::string text = manifest_text(sample());
    const Manifest read = parse_manifest(text, "m");
    EXPECT_EQ(manifest_text(read), text);
    EXPECT_EQ(read.step, 50);
    EXPECT_EQ(read.parent, "checkpoint-25");
    EXPECT_EQ(read.files.at("optimizer.safetensors").parts.at(1).ranges.at(1).begin, 20u);
    EXPECT_EQ(parse_manifest(manifest_text(Manifest()), "m").parent, "");
}

// The digest is what `head -n -2 trainer_manifest.json | sha256sum` prints.
TEST(Manifest, DigestIsThatOfTheLinesBefore) {
    const std::string text = manifest_text(sample());
    const std::size_t end = text.rfind('\n', text.size() - 4) + 1;
    EXPECT_EQ(text.substr(end), "  \"digest\": \"" + digest(text.substr(0, end)) + "\"\n}\n");
}

TEST(Manifest, EveryChangedByteIsFound) {
    const std::string good = manifest_text(sample());
    for (std::size_t i = 0; i < good.size(); ++i)
        for (const int change : {0x01, 0x20, 0x80}) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ change);
            const Error error = error_of([&] { parse_manifest(bad, "m"); });
            ASSERT_EQ(error.code(), Exit::bad_checkpoint) << "byte " << i;
            ASSERT_TRUE(std::string(error.what()).starts_with("m: not a valid manifest: ")) << error.what();
        }
    for (std::size_t size = 0; size < good.size(); ++size)
        ASSERT_EQ(error_of([&] { parse_manifest(good.substr(0, size), "m"); }).code(), Exit::bad_checkpoint);
    for (const char* more : {" ", "\n", "{}"})
        EXPECT_EQ(error_of([&] { parse_manifest(good + more, "m"); }).code(), Exit::bad_checkpoint);
}

struct BadManifest {
    const char* message;
    void (*change)(Manifest&);
};

// A manifest that breaks a rule but has the right digest: written by somebody who means harm, or a bug.
const BadManifest bad_manifests[] = {
    {"files: \"../x\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files["../x"] = {1, digest(""), {}};
     }},
    {"files: \"/x\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files["/x"] = {1, digest(""), {}};
     }},
    {"files: \"a/../x\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files["a/../x"] = {1, digest(""), {}};
     }},
    {"files: \"./x\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files["./x"] = {1, digest(""), {}};
     }},
    {"files: \"a//x\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files["a//x"] = {1, digest(""), {}};
     }},
    {"files: \"a/\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files["a/"] = {1, digest(""), {}};
     }},
    {"files: \"\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files[""] = {1, digest(""), {}};
     }},
    {"files: \"trainer_manifest.json\" is not a plain path inside the folder",
     [](Manifest& m) {
         m.files[manifest_name] = {1, digest(""), {}};
     }},
    {"files: x: expected a SHA-256 of 64 lower-case hexadecimal digits, found the string \"ABC\"",
     [](Manifest& m) {
         m.files["x"] = {1, "ABC", {}};
     }},
    {"files: optimizer.safetensors: bytes 0 to 1 lie in no range",
     [](Manifest& m) { m.files["optimizer.safetensors"].parts[0].ranges[0].begin = 1; }},
    {"files: optimizer.safetensors: byte 40 lies in two ranges",
     [](Manifest& m) { m.files["optimizer.safetensors"].parts[1].ranges[1].end = 41; }},
    {"files: optimizer.safetensors: the ranges end at byte 100, the file at 101",
     [](Manifest& m) { m.files["optimizer.safetensors"].size = 101; }},
    {"files: optimizer.safetensors: range [100, 100] is empty",
     [](Manifest& m) {
         m.files["optimizer.safetensors"].parts[0].ranges.push_back({100, 100});
     }},
    {"files: optimizer.safetensors: expected a list of ranges that is not empty, found a list",
     [](Manifest& m) { m.files["optimizer.safetensors"].parts[0].ranges.clear(); }},
    {"world_size: expected an integer from 1, found the integer 0", [](Manifest& m) { m.world_size = 0; }},
    {"step: expected an integer from 0, found the integer -1", [](Manifest& m) { m.step = -1; }},
};

TEST(Manifest, RulesHoldForTheWriterToo) {
    for (const BadManifest& bad : bad_manifests) {
        Manifest manifest = sample();
        bad.change(manifest);
        const Error error = error_of([&] { manifest_text(manifest); });
        EXPECT_EQ(error.code(), Exit::internal);
        EXPECT_EQ(error.what(), std::string("manifest: not a valid manifest: ") + bad.message);
    }
}

// Text with a digest of its own, as an editor of the file could make it.
std::string with_digest(const Node& node) {
    JsonStyle style;
    style.indent = 2;
    std::string text = to_json(node, style) + "\n";
    text.resize(text.rfind("  \"digest\""));
    return text + "  \"digest\": \"" + sha256_of(text) + "\"\n}\n";
}

TEST(Manifest, OtherFormsAreRefused) {
    const Node good = parse_json(manifest_text(sample()), "m");
    ASSERT_NO_THROW(parse_manifest(with_digest(good), "m"));
    const auto message = [](const std::string& text) {
        const Error error = error_of([&] { parse_manifest(text, "m"); });
        EXPECT_EQ(error.code(), Exit::bad_checkpoint);
        return std::string(error.what());
    };
    Node node = good;
    node.set("version", 2);
    EXPECT_EQ(message(with_digest(node)), "m: not a valid manifest: its version is 2, this trainer reads 1");
    node = good;
    node.erase("digest");
    node.set("colour", "red");
    node.set("digest", "");
    EXPECT_EQ(message(with_digest(node)), "m: not a valid manifest: the manifest: unknown key \"colour\"");
    node = good;
    node.erase("run_id");
    EXPECT_EQ(message(with_digest(node)), "m: not a valid manifest: the manifest: key \"run_id\" is missing");
    const std::string text = manifest_text(sample());
    EXPECT_EQ(message(text.substr(0, 2) + "  \"step\": 50,\n" + text.substr(2)),
              "m: not a valid manifest: m:4:3: key \"step\" stands twice, first on line 2");
    EXPECT_EQ(message(to_json(good)),
              "m: not a valid manifest: it is not byte for byte what its digest was taken of; "
              "it has been changed or damaged");
    EXPECT_EQ(message("[1]").substr(0, 40), "m: not a valid manifest: the manifest: e");
}

}   // namespace
}   // namespace trainer::test
