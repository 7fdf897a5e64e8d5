#include "configs/json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "configs/error.h"

namespace trainer {
namespace {

std::string message_of(std::string_view text, int first_line = 1) {
    try {
        parse_json(text, "x.json", first_line);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_data) << text;
        return error.what();
    }
    return "no error";
}

TEST(Json, EveryKindOfValue) {
    const Node node = parse_json(R"( {"a": [1, -2, 3.5, 1e3, true, false, null, "x"], "b": {}, "c": []} )", "x.json");
    const Node::List& list = node.at("a").as_list();
    EXPECT_EQ(list[0].as_integer(), 1);
    EXPECT_EQ(list[1].as_integer(), -2);
    EXPECT_EQ(list[2].as_number(), 3.5);
    EXPECT_EQ(list[3].kind(), Node::Kind::number);   // a number with an exponent is no integer
    EXPECT_EQ(list[3].as_number(), 1000);
    EXPECT_TRUE(list[4].as_bool());
    EXPECT_FALSE(list[5].as_bool());
    EXPECT_TRUE(list[6].is_null());
    EXPECT_EQ(list[7].as_string(), "x");
    EXPECT_TRUE(node.at("b").is_map());
    EXPECT_TRUE(node.at("c").is_list());
}

TEST(Json, NumbersAtTheEdges) {
    const auto parse = [](const char* text) { return parse_json(text, "x.json"); };
    EXPECT_EQ(parse("9223372036854775807").as_integer(), INT64_MAX);
    EXPECT_EQ(parse("-9223372036854775808").as_integer(), INT64_MIN);
    EXPECT_EQ(parse("9223372036854775808").kind(), Node::Kind::number);
    EXPECT_EQ(parse("18446744073709551615").as_number(), 18446744073709551615.0);
    EXPECT_EQ(parse("0.1").as_number(), 0.1);
    EXPECT_EQ(parse("1e-400").as_number(), 0.0);
    EXPECT_EQ(parse("5e-324").as_number(), 5e-324);
    EXPECT_EQ(parse("-0").kind(), Node::Kind::integer);
    EXPECT_TRUE(std::signbit(parse("-0.0").as_number()));
}

TEST(Json, StringsAndEscapes) {
    EXPECT_EQ(parse_json(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00")", "x").as_string(),
              "\"\\/\b\f\n\r\tA\u00e9\u20ac\U0001F600");
    EXPECT_EQ(parse_json(R"("\u0000")", "x").as_string(), std::string(1, '\0'));
    EXPECT_EQ(parse_json("\"h\u00e9\U0001F600\"", "x").as_string(), "h\u00e9\U0001F600");
}

TEST(Json, MarksCountLinesAndCharacters) {
    const Node node = parse_json("{\n  \"\u00e9\u00e9\": {\"k\": 5}\n}", "x.json", 7);
    EXPECT_EQ(node.mark().text(), "x.json:7:1");
    const Node::Entry& entry = node.as_map()[0];
    EXPECT_EQ(entry.mark.text(), "x.json:8:3");
    EXPECT_EQ(entry.value.mark().text(), "x.json:8:9");
    EXPECT_EQ(entry.value.as_map()[0].mark.text(), "x.json:8:10");
    EXPECT_EQ(entry.value.at("k").mark().text(), "x.json:8:15");
}

TEST(Json, Refusals) {
    const std::pair<std::string, std::string> cases[] = {
        {"", "x.json:1:1: expected a value, found the end of the text"},
        {" \n ", "x.json:2:2: expected a value, found the end of the text"},
        {"{", "x.json:1:2: expected a key in double quotes, found the end of the text"},
        {"{a: 1}", "x.json:1:2: expected a key in double quotes, found a"},
        {"{'a': 1}", "x.json:1:2: expected a key in double quotes, found '''"},
        {"{\"a\" 1}", "x.json:1:6: expected ':', found 1"},
        {"{\"a\": 1,}", "x.json:1:9: expected a key in double quotes, found '}'"},
        {"{\"a\": 1 \"b\": 2}", "x.json:1:9: expected ',' or '}', found '\"'"},
        {"[1, 2", "x.json:1:6: expected ',' or ']', found the end of the text"},
        {"[1,]", "x.json:1:4: expected a value, found ']'"},
        {"[1 2]", "x.json:1:4: expected ',' or ']', found 2"},
        {"[1]x", "x.json:1:4: expected the end of the document, found x"},
        {"{}\n{}", "x.json:2:1: expected the end of the document, found '{'"},
        {"NaN", "x.json:1:1: expected a value, found NaN"},
        {"-Infinity", "x.json:1:1: expected a value, found -Infinity"},
        {"True", "x.json:1:1: expected a value, found True"},
        {"nul", "x.json:1:1: expected a value, found nul"},
        {"01", "x.json:1:1: expected a number without leading zeros, found 01"},
        {"-", "x.json:1:1: expected a value, found -"},
        {"+1", "x.json:1:1: expected a value, found +1"},
        {".5", "x.json:1:1: expected a value, found .5"},
        {"1.", "x.json:1:1: expected digits after the decimal point, found 1."},
        {"1e", "x.json:1:1: expected digits in the exponent, found 1e"},
        {"1e999", "x.json:1:1: expected a number that fits in 64 bits, found 1e999"},
        {"\"abc", "x.json:1:5: expected '\"', found the end of the text"},
        {"\"a\nb\"", "x.json:1:3: expected '\"', found the end of the line; inside a string it must be escaped"},
        {"\"\x01\"", "x.json:1:2: expected '\"', found the control character 1; inside a string it must be escaped"},
        {"\"\\x41\"", "x.json:1:2: expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u, found another escape"},
        {"\"\\u12g4\"", "x.json:1:2: expected four hexadecimal digits after \\u"},
        {"\"\\u12", "x.json:1:2: expected four hexadecimal digits after \\u"},
        {"\"\\", "x.json:1:2: expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u, found another escape"},
        {"\"\\ud800\"", "x.json:1:2: expected a pair of surrogate escapes, found half of one"},
        {"\"\\ud800\\u0041\"", "x.json:1:2: expected a pair of surrogate escapes, found half of one"},
        {"\"\\udc00\"", "x.json:1:2: expected a pair of surrogate escapes, found half of one"},
        {"\"\xff\"", "x.json:1:2: the text is not valid UTF-8 here"},
        {"\"\xc0\x80\"", "x.json:1:2: the text is not valid UTF-8 here"},
        {"\"\xed\xa0\x80\"", "x.json:1:2: the text is not valid UTF-8 here"},
        {"\"\xf4\x90\x80\x80\"", "x.json:1:2: the text is not valid UTF-8 here"},
        {"\"12345678901234\xe2\x82\"", "x.json:1:16: the text is not valid UTF-8 here"},
        {"\xEF\xBB\xBF{}", "x.json:1:1: found a byte order mark; save the text as UTF-8 without one"},
        {"{\"a\": 1, \"b\": 2,\n \"a\": 3}", "x.json:2:2: key \"a\" stands twice, first on line 1"},
        {"[{\"x\": {\"a\": 1, \"\\u0061\": 3}}]", "x.json:1:17: key \"a\" stands twice, first on line 1"},
        {"// c\n1", "x.json:1:1: expected a value, found '/'"},
    };
    for (const auto& [text, message] : cases) EXPECT_EQ(message_of(text), message) << text;
    EXPECT_EQ(message_of("[1,\n x]", 41), "x.json:42:2: expected a value, found x");
}

TEST(Json, NestingIsLimited) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    EXPECT_EQ(message_of(nested(256)), "no error");
    EXPECT_EQ(message_of(nested(257)), "x.json:1:257: lists and maps are nested more than 256 deep");
    EXPECT_EQ(message_of(std::string(1000000, '[')), "x.json:1:257: lists and maps are nested more than 256 deep");
}

TEST(Json, DuplicateKeysInLargeMaps) {
    std::string text = "{";
    for (int i = 0; i < 50000; ++i) text += "\"key" + std::to_string(i) + "\": 1,\n";
    EXPECT_EQ(message_of(text + "\"last\": 1}"), "no error");
    EXPECT_EQ(message_of(text + "\"key777\": 1}"), "x.json:50001:1: key \"key777\" stands twice, first on line 778");
}

// Made with Python's json.dumps.
TEST(Json, WritesWhatPythonWrites) {
    const Node node = parse_json(
        R"({"b": [1, 2.0, 1e-05, 1e16, 0.1, -0.0, 123456789012345680000.0, 5e-324, 1e22], "a": {"\u00e9\ud83d\ude00": "\u007f\u0001\"\\\n\t/\u2028", "e": {}, "l": []}, "n": [null, true, false, [[]]]})",
        "x");
    EXPECT_EQ(to_json(node),
              "{\"b\": [1, 2.0, 1e-05, 1e+16, 0.1, -0.0, 1.2345678901234568e+20, 5e-324, 1e+22], "
              "\"a\": {\"\u00e9\U0001F600\": \"\x7f\\u0001\\\"\\\\\\n\\t/\u2028\", \"e\": {}, \"l\": []}, "
              "\"n\": [null, true, false, [[]]]}");
    EXPECT_EQ(to_json(node, {.ensure_ascii = true, .sort_keys = true, .compact = true}),
              R"({"a":{"e":{},"l":[],"\u00e9\ud83d\ude00":"\u007f\u0001\"\\\n\t/\u2028"},)"
              R"("b":[1,2.0,1e-05,1e+16,0.1,-0.0,1.2345678901234568e+20,5e-324,1e+22],"n":[null,true,false,[[]]]})");
    const Node small = parse_json(R"({"x": [1, {"y": []}], "z": {}})", "x");
    EXPECT_EQ(to_json(small, {.indent = 2}),
              "{\n  \"x\": [\n    1,\n    {\n      \"y\": []\n    }\n  ],\n  \"z\": {}\n}");
    EXPECT_EQ(to_json(small, {.indent = 0}), "{\n\"x\": [\n1,\n{\n\"y\": []\n}\n],\n\"z\": {}\n}");
}

TEST(Json, NonFiniteNumbers) {
    const Node node(Node::List{Node(std::nan("")), Node(HUGE_VAL), Node(-HUGE_VAL)});
    EXPECT_EQ(to_json(node), "[NaN, Infinity, -Infinity]");
    EXPECT_EQ(to_json(node, {.null_for_nonfinite = true}), "[null, null, null]");
}

TEST(Json, PythonFloats) {
    const std::pair<double, const char*> cases[] = {{1, "1.0"},
                                                    {-1.5, "-1.5"},
                                                    {1e15, "1000000000000000.0"},
                                                    {1e16, "1e+16"},
                                                    {123456.789, "123456.789"},
                                                    {1e-4, "0.0001"},
                                                    {1e-5, "1e-05"},
                                                    {0.00012345, "0.00012345"},
                                                    {1e100, "1e+100"},
                                                    {2e-310, "2e-310"},
                                                    {1.0 / 3, "0.3333333333333333"},
                                                    {9007199254740993.0, "9007199254740992.0"}};
    for (const auto& [value, text] : cases) EXPECT_EQ(python_float(value), text);
}

Node random_node(std::mt19937_64& random, int depth) {
    switch (random() % (depth > 4 ? 5 : 7)) {
        case 0:
            return Node();
        case 1:
            return Node(random() % 2 == 0);
        case 2:
            return Node(static_cast<std::int64_t>(random()));
        case 3: {
            double value;
            do {
                const std::uint64_t bits = random();
                static_assert(sizeof bits == sizeof value);
                std::memcpy(&value, &bits, sizeof value);
            } while (!std::isfinite(value));
            return Node(value);
        }
        case 4: {
            const char* pieces[] = {"a", "\"", "\\", "\n", "\u00e9", "\U0001F600", "\x7f", " ", "\t", "\x01"};
            std::string text;
            for (std::uint64_t i = random() % 8; i > 0; --i) text += pieces[random() % 10];
            return Node(text);
        }
        case 5: {
            Node list = Node::list();
            for (std::uint64_t i = random() % 5; i > 0; --i) list.push_back(random_node(random, depth + 1));
            return list;
        }
        default: {
            Node map = Node::map();
            for (std::uint64_t i = random() % 5; i > 0; --i)
                map.set("k" + std::to_string(random() % 9) + (i % 2 ? "\u00fc" : ""), random_node(random, depth + 1));
            return map;
        }
    }
}

TEST(Json, RandomDocumentsComeBackEqual) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 3000; ++round) {
        Node node = Node::list();
        for (int i = 0; i < 8; ++i) node.push_back(random_node(random, 0));
        JsonStyle style;
        style.indent = round % 3 - 1;
        style.ensure_ascii = round % 2 == 0;
        style.sort_keys = round % 5 == 0;
        style.compact = round % 7 == 0;
        const std::string text = to_json(node, style);
        ASSERT_EQ(parse_json(text, "x"), node) << text;
    }
}

TEST(Json, RandomDamageNeverCrashes) {
    std::mt19937_64 random(8);
    int refused = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string text = to_json(Node(Node::List{random_node(random, 0), random_node(random, 0)}));
        for (std::uint64_t i = 1 + random() % 3; i > 0 && !text.empty(); --i) {
            const std::size_t at = random() % text.size();
            if (random() % 2)
                text[at] = static_cast<char>(random());
            else
                text.erase(at, 1 + random() % 3);
        }
        try {
            parse_json(text, "x");
        } catch (const Error& error) {
            ++refused;
            ASSERT_EQ(std::string(error.what()).substr(0, 2), "x:") << text;
        }
    }
    EXPECT_GT(refused, 10000);
}

TEST(Json, Files) {
    const auto folder = std::filesystem::temp_directory_path();
    const auto path = folder / ("json_test_" + std::to_string(::getpid()) + ".json");
    std::ofstream(path) << "{\"a\": [1]}";
    EXPECT_EQ(read_json(path).at("a").as_list()[0].mark().text(), path.string() + ":1:8");
    std::filesystem::remove(path);
    for (const std::filesystem::path& missing : {path, folder}) {
        try {
            read_json(missing);
            FAIL();
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::no_input);
        }
    }
}

}   // namespace
}   // namespace trainer
