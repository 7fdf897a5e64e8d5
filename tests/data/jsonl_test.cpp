#include "data/jsonl.h"

#include <gtest/gtest.h>

#include "configs/error.h"
#include "configs/json.h"
#include "tests/support/tiny_model.h"

namespace trainer {
namespace {

// "line: json" of each row and "line! message" of each line that is none, the folder left out; reading ends after
// `most` of them.
std::vector<std::string> read(std::string_view text, std::size_t most = 1000) {
    const test::ScratchFolder folder;
    test::put_text(folder / "x.jsonl", text);
    std::vector<std::string> out;
    const auto take = [&](const std::string& what) {
        out.push_back(what);
        return out.size() < most;
    };
    read_jsonl(
        folder / "x.jsonl",
        [&](Node&& value, std::int64_t line) { return take(std::to_string(line) + ": " + to_json(value)); },
        [&](const Error& error, std::int64_t line) {
            return take(std::to_string(line) + "! " + std::string(error.what()).substr(folder.path().string().size()));
        });
    return out;
}

using Lines = std::vector<std::string>;

TEST(Jsonl, LinesInOrderAndBlankOnesLeftOut) {
    EXPECT_EQ(read("{\"a\": 1}\n\n  \t\r\n{\"b\": \"é\"}\r\n {\"c\": []} "),
              (Lines{"1: {\"a\": 1}", "4: {\"b\": \"é\"}", "5: {\"c\": []}"}));
    EXPECT_TRUE(read("").empty());
    EXPECT_TRUE(read("\n\n").empty());
}

TEST(Jsonl, AByteOrderMarkIsSkippedAtTheBeginningOnly) {
    EXPECT_EQ(read("\xEF\xBB\xBF{\"a\": 1}\n"), (Lines{"1: {\"a\": 1}"}));
    const Lines later = read("{}\n\xEF\xBB\xBF{\"a\": 1}\n");
    ASSERT_EQ(later.size(), 2u);
    EXPECT_EQ(later[1].substr(0, 2), "2!");
}

TEST(Jsonl, BadLinesAreTold) {
    const Lines lines =
        read("[1]\n{\"a\": }\n{}\n\"x\"\n{\"a\": 1, \"a\": 2}\n{\"a\": \"\xFF\"}\n{\"a\": 1} x\n{\"b\": 2}");
    ASSERT_EQ(lines.size(), 8u);
    EXPECT_EQ(lines[0], "1! /x.jsonl:1: expected a JSON object, found a list");
    EXPECT_EQ(lines[1].substr(0, 16), "2! /x.jsonl:2:7:");
    EXPECT_EQ(lines[2], "3: {}");
    EXPECT_EQ(lines[3], "4! /x.jsonl:4: expected a JSON object, found the string \"x\"");
    EXPECT_EQ(lines[4].substr(0, 14), "5! /x.jsonl:5:");
    EXPECT_EQ(lines[5].substr(0, 14), "6! /x.jsonl:6:");
    EXPECT_EQ(lines[6].substr(0, 14), "7! /x.jsonl:7:");
    EXPECT_EQ(lines[7], "8: {\"b\": 2}");
}

TEST(Jsonl, TheReceiverEndsTheReading) {
    constexpr const char* text = "{}\n[]\n{\"a\": 1}\n[]\n";
    EXPECT_EQ(read(text).size(), 4u);
    EXPECT_EQ(read(text, 1), (Lines{"1: {}"}));
    EXPECT_EQ(read(text, 2), (Lines{"1: {}", "2! /x.jsonl:2: expected a JSON object, found a list"}));
    EXPECT_EQ(read(text, 3).back(), "3: {\"a\": 1}");
}

TEST(Jsonl, MissingFilesAndFolders) {
    const test::ScratchFolder folder;
    const auto code = [](const std::filesystem::path& path) {
        try {
            read_jsonl(
                path, [](Node&&, std::int64_t) { return true; }, [](const Error&, std::int64_t) { return true; });
        } catch (const Error& error) {
            return error.code();
        }
        return Exit::done;
    };
    EXPECT_EQ(code(folder / "none.jsonl"), Exit::no_input);
    EXPECT_EQ(code(folder.path()), Exit::no_input);
}

// What the receiver of rows throws is its own affair, not a bad line.
TEST(Jsonl, FailuresOfTheReceiverPassThrough) {
    const test::ScratchFolder folder;
    test::put_text(folder / "x.jsonl", "{}\n{}\n");
    int bad = 0;
    EXPECT_THROW(read_jsonl(
                     folder / "x.jsonl", [](Node&&, std::int64_t) -> bool { fail(Exit::bad_data, "mine"); },
                     [&](const Error&, std::int64_t) { return ++bad > 0; }),
                 Error);
    EXPECT_EQ(bad, 0);
}

}   // namespace
}   // namespace trainer
