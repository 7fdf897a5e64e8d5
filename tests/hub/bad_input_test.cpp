// Broken and lying files: each gives one clear error.
#include <gtest/gtest.h>

#include <limits>

#include "configs/error.h"
#include "hub/gguf.h"
#include "hub/safetensors.h"
#include "tests/hub/files.h"

namespace trainer {
namespace {

using namespace test;

struct Case {
    const char* name;
    std::string bytes;
    std::string message;   // what() after the path of the file
};

// The message of the error, with the path of the file cut off.
template <typename File>
std::string message_for(const std::string& bytes) {
    const TemporaryFolder folder;
    const auto path = folder / "file";
    put(path, bytes);
    try {
        File file(path);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_data);
        const std::string text = error.what();
        EXPECT_TRUE(text.starts_with(path.string())) << text;
        return text.substr(path.string().size());
    }
    return "no error";
}

std::string entry(const std::string& name, const std::string& rest) { return "\"" + name + "\":{" + rest + "}"; }
const std::string four_floats(16, '\0');

std::vector<Case> safetensors_cases() {
    const std::string good = R"("dtype":"F32","shape":[4],"data_offsets":[0,16])";
    return {
        {"empty file", "", ": the file is empty"},
        {"seven bytes", "1234567", ": 7 bytes are too few for a safetensors file"},
        {"header over the limit", raw(std::uint64_t{100'000'001}) + "{}",
         ": the header claims 100000001 bytes, more than the limit of 100000000"},
        {"header of all ones", raw(std::numeric_limits<std::uint64_t>::max()) + "{}",
         ": the header claims 18446744073709551615 bytes, more than the limit of 100000000"},
        {"header beyond the file", raw(std::uint64_t{100}) + "{}",
         ": the file is truncated: its header claims 100 bytes, only 2 follow"},
        {"list as header", safetensors("[]"), ": the header is not a map but a list"},
        {"duplicate tensor", safetensors("{" + entry("w", good) + "," + entry("w", good) + "}", four_floats),
         R"( (header):1:56: key "w" stands twice, first on line 1)"},
        {"duplicate key in a tensor", safetensors("{" + entry("w", good + R"(,"shape":[4])") + "}", four_floats),
         R"( (header):1:55: key "shape" stands twice, first on line 1)"},
        {"two metadata", safetensors(R"({"__metadata__":{},"__metadata__":{}})"),
         R"( (header):1:20: key "__metadata__" stands twice, first on line 1)"},
        {"metadata not text", safetensors(R"({"__metadata__":{"a":1}})"),
         ": __metadata__: a: expected a string, found the integer 1"},
        {"metadata a list", safetensors(R"({"__metadata__":[]})"), ": __metadata__: expected a map, found a list"},
        {"empty name", safetensors("{" + entry("", good) + "}", four_floats), ": a tensor has an empty name"},
        {"name with NUL", safetensors("{" + entry("a\\u0000b", good) + "}", four_floats),
         ": a tensor name holds a NUL character"},
        {"tensor as list", safetensors(R"({"w":[]})"), ": tensor w: expected a map, found a list"},
        {"no dtype", safetensors(R"({"w":{"shape":[],"data_offsets":[0,4]}})", "1234"),
         ": tensor w: key \"dtype\" is missing"},
        {"unknown dtype", safetensors(R"({"w":{"dtype":"F33","shape":[],"data_offsets":[0,4]}})", "1234"),
         ": tensor w: unknown dtype \"F33\""},
        {"negative shape", safetensors(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234"),
         ": tensor w: shape: expected a non-negative integer, found the integer -1"},
        {"fraction in the shape", safetensors(R"({"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1234"),
         ": tensor w: shape: expected a non-negative integer, found the number 1"},
        {"three offsets", safetensors(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", "1234"),
         ": tensor w: data_offsets: expected a list of two integers, found a list"},
        {"end before begin", safetensors(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "1234"),
         ": tensor w: ends at byte 0 before it begins at 4"},
        {"hole at the start", safetensors(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "12345678"),
         ": tensor w: leaves a hole after the data before it: begins at byte 4, expected 0"},
        {"overlap",
         safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                     R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                     "123456789012"),
         ": tensor b: overlaps the data before it: begins at byte 4, expected 8"},
        {"shape overflow",
         safetensors(R"({"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", "1234"),
         ": tensor w: shape [4294967296, 4294967296] of F32 has no valid size in bytes"},
        {"odd number of half bytes", safetensors(R"({"w":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", "12"),
         ": tensor w: shape [3] of F4 has no valid size in bytes"},
        {"shape and offsets disagree", safetensors(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234"),
         ": tensor w: shape [2] of F32 needs 8 bytes, the header gives it 4"},
        {"data too short", safetensors("{" + entry("w", good) + "}", "1234"),
         ": the file is truncated: its tensors need 16 bytes of data, it has 4"},
        {"data too long", safetensors("{" + entry("w", good) + "}", four_floats + "x"),
         ": 1 bytes follow the last tensor"},
    };
}

TEST(BadSafetensors, EachHasItsMessage) {
    for (const Case& bad : safetensors_cases())
        EXPECT_EQ(message_for<SafetensorsFile>(bad.bytes), bad.message) << bad.name;
}

TEST(BadSafetensors, HeaderThatIsNoJson) {
    for (const std::string& header :
         {std::string("{"), std::string("{\"\xFF\":1}"), std::string("{} x"), std::string()})
        EXPECT_NE(message_for<SafetensorsFile>(safetensors(header)), "no error") << header;
}

std::string with_key(const std::string& key) {
    GgufBuilder file;
    file.key(key);
    return file.bytes();
}

std::string with_tensor(const std::string& info, std::uint64_t count = 1) {
    return "GGUF" + raw(std::uint32_t{3}) + raw(count) + raw(std::uint64_t{0}) + info;
}

std::string tensor_info(const std::string& name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                        std::uint64_t offset) {
    std::string bytes = gguf_text(name) + raw(static_cast<std::uint32_t>(sizes.size()));
    for (const std::uint64_t size : sizes) bytes += raw(size);
    return bytes + raw(type) + raw(offset);
}

std::vector<Case> gguf_cases() {
    const std::string magic = "GGUF";
    const auto header = [&](std::uint32_t version, std::uint64_t tensors, std::uint64_t keys) {
        return magic + raw(version) + raw(tensors) + raw(keys);
    };
    const std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
    return {
        {"another format", "ABCD12345678", ": is not a GGUF file: it does not begin with \"GGUF\""},
        {"only the magic", magic, ": the file ends inside the header"},
        {"version 1", header(1, 0, 0), ": GGUF version 1, expected 2 or 3"},
        {"version 4", header(4, 0, 0), ": GGUF version 4, expected 2 or 3"},
        {"big-endian", header(0x03000000, 0, 0), ": is a big-endian GGUF file; convert it to little-endian"},
        {"header cut", magic + raw(std::uint32_t{3}) + "1234", ": the file ends inside the header"},
        {"key count lies", header(3, 0, huge),
         ": the header claims 18446744073709551615 metadata keys, only 0 bytes follow"},
        {"tensor count lies", header(3, huge, 0),
         ": the header claims 18446744073709551615 tensors, only 0 bytes follow"},
        {"text length lies", header(3, 0, 1) + raw(huge) + "abcdefgh",
         ": metadata key 1 claims 18446744073709551615 bytes of text, only 8 follow"},
        {"empty key", with_key(gguf_u32("", 1)), ": metadata key 1 is empty"},
        {"key twice",
         [] {
             GgufBuilder file;
             file.key(gguf_u32("a", 1));
             file.key(gguf_u32("a", 2));
             return file.bytes();
         }(),
         ": metadata key a is there twice"},
        {"key not UTF-8", with_key(gguf_u32("\xFF\xFE", 1)), ": metadata key 1 is not valid UTF-8"},
        {"value not UTF-8", with_key(gguf_string("a", "\xC0\xAF")), ": a is not valid UTF-8"},
        {"unknown value type", with_key(gguf_key("a", 13, "1234")), ": a has the unknown type 13"},
        {"value cut", header(3, 0, 1) + gguf_key("a", 10, "1"), ": the file ends inside a"},
        {"boolean of 2", with_key(gguf_key("a", 7, "\x02")), ": a is a boolean of value 2"},
        {"u64 too large", with_key(gguf_key("a", 10, raw(huge))), ": a is 18446744073709551615, which is too large"},
        {"array of arrays", with_key(gguf_key("a", 9, raw(std::uint32_t{9}) + raw(std::uint64_t{1}))),
         ": a is an array of arrays"},
        {"array of unknown", with_key(gguf_key("a", 9, raw(std::uint32_t{99}) + raw(std::uint64_t{1}))),
         ": a is an array of the unknown type 99"},
        {"array length lies", header(3, 0, 1) + gguf_key("a", 9, raw(std::uint32_t{4}) + raw(huge) + "1234"),
         ": a claims 18446744073709551615 elements, only 4 bytes follow"},
        {"alignment 0", with_key(gguf_u32("general.alignment", 0)),
         ": general.alignment: expected a power of two, found the integer 0"},
        {"alignment 48", with_key(gguf_u32("general.alignment", 48)),
         ": general.alignment: expected a power of two, found the integer 48"},
        {"long tensor name", with_tensor(tensor_info(std::string(64, 'x'), {1}, 0, 0)),
         ": the name of tensor 1 has 64 bytes, expected 1 to 63"},
        {"five dimensions", with_tensor(tensor_info("w", {1, 1, 1, 1, 1}, 0, 0)),
         ": tensor w has 5 dimensions, expected at most 4"},
        {"dimension 0", with_tensor(tensor_info("w", {0}, 0, 0)), ": tensor w has a dimension of size 0"},
        {"dimension of all ones", with_tensor(tensor_info("w", {huge}, 0, 0)),
         ": tensor w has a dimension of size 18446744073709551615"},
        {"too many elements", with_tensor(tensor_info("w", {1ULL << 40, 1ULL << 40}, 0, 0)),
         ": tensor w has more elements than 64 bits can count"},
        {"too many bytes", with_tensor(tensor_info("w", {1ULL << 62}, 0, 0)),
         ": tensor w has more bytes than 64 bits can count"},
        {"unknown tensor type", with_tensor(tensor_info("w", {32}, 4, 0)), ": tensor w has the unknown type 4"},
        {"row not whole blocks", with_tensor(tensor_info("w", {33}, 2, 0)),
         ": tensor w has rows of 33 elements, Q4_0 needs a multiple of 32"},
        {"wrong offset", with_tensor(tensor_info("w", {8}, 0, 32)), ": tensor w lies at offset 32, expected 0"},
        {"data missing", with_tensor(tensor_info("w", {8}, 0, 0)),
         ": the file is truncated: tensor w needs 32 bytes at offset 0, the data has 0"},
        {"tensor twice", with_tensor(tensor_info("w", {8}, 0, 0) + tensor_info("w", {8}, 0, 32), 2),
         ": tensor w is there twice"},
    };
}

TEST(BadGguf, EachHasItsMessage) {
    for (const Case& bad : gguf_cases()) EXPECT_EQ(message_for<GgufFile>(bad.bytes), bad.message) << bad.name;
}

TEST(BadGguf, EveryTruncationIsAnError) {
    const std::string whole = tiny_llama().bytes();
    for (std::size_t size = 0; size + 32 < whole.size(); size += size < 200 ? 1 : 41)
        EXPECT_NE(message_for<GgufFile>(whole.substr(0, size)), "no error") << size;
}

TEST(BadFiles, MissingFolderAndEmpty) {
    const TemporaryFolder folder;
    const auto code_of = [](const std::filesystem::path& path) {
        try {
            const MappedFile file(path);
        } catch (const Error& error) {
            return error.code();
        }
        return Exit::done;
    };
    put(folder / "empty", "");
    EXPECT_EQ(code_of(folder / "missing"), Exit::no_input);
    EXPECT_EQ(code_of(folder.path()), Exit::no_input);
    EXPECT_EQ(code_of(folder / "empty"), Exit::bad_data);
}

}   // namespace
}   // namespace trainer
