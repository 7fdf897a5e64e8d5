#include "configs/yaml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "configs/error.h"
#include "configs/json.h"

namespace trainer {
namespace {

std::string message_of(std::string_view text) {
    try {
        return "no error: " + to_json(parse_yaml(text, "r.yaml"));
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_recipe) << text;
        return error.what();
    }
}

TEST(Yaml, ScalarsOfTheCoreSchema) {
    const std::pair<std::string, std::string> cases[] = {
        {"1e-5", "1e-05"},
        {"1e5", "100000.0"},
        {".5", "0.5"},
        {"1.", "1.0"},
        {"-.5e1", "-5.0"},
        {"012", "12"},
        {"+3", "3"},
        {"-0", "0"},
        {"0x1F", "31"},
        {"0o17", "15"},
        {"-0x1F", "\"-0x1F\""},
        {"0b1", "\"0b1\""},
        {"1_000", "\"1_000\""},
        {"1:30", "\"1:30\""},
        {"2024-01-01", "\"2024-01-01\""},
        {"e5", "\"e5\""},
        {".", "\".\""},
        {"+", "\"+\""},
        {"1e", "\"1e\""},
        {"yes", "\"yes\""},
        {"no", "\"no\""},
        {"on", "\"on\""},
        {"off", "\"off\""},
        {"y", "\"y\""},
        {"true", "true"},
        {"True", "true"},
        {"FALSE", "false"},
        {"tRue", "\"tRue\""},
        {"~", "null"},
        {"null", "null"},
        {"", "null"},
        {"nil", "\"nil\""},
        {"None", "\"None\""},
        {"'1'", "\"1\""},
        {"\"true\"", "\"true\""},
        {"''", "\"\""},
        {"'it''s'", "\"it's\""},
        {"\"\\u00e9\\n\"", "\"\u00e9\\n\""},
        {".inf", "Infinity"},
        {"-.INF", "-Infinity"},
        {".nan", "NaN"},
        {"inf", "\"inf\""},
        {"nan", "\"nan\""},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9.223372036854776e+18"},
        {"a b", "\"a b\""},
        {"x#c", "\"x#c\""},
        {"x # c", "\"x\""},
        {"a:b", "\"a:b\""},
        {"[1, a]", "[1, \"a\"]"},
        {"{b: 1, c: [2]}", "{\"b\": 1, \"c\": [2]}"},
        {"[1,]", "[1]"},
        {"|\n  x\n   y\n", "\"x\\n y\\n\""},
        {">\n  x\n  y\n", "\"x y\\n\""},
    };
    for (const auto& [text, json] : cases)
        EXPECT_EQ(message_of("a: " + text + "\n"), "no error: {\"a\": " + json + "}") << text;
}

TEST(Yaml, WholeDocuments) {
    EXPECT_EQ(message_of(""), "no error: null");
    EXPECT_EQ(message_of("# only a comment\n"), "no error: null");
    EXPECT_EQ(message_of("---\na: 1\n...\n"), "no error: {\"a\": 1}");
    EXPECT_EQ(message_of("%YAML 1.2\n---\na: 1\n"), "no error: {\"a\": 1}");
    EXPECT_EQ(message_of("\xEF\xBB\xBF"
                         "a: 1\r\nb: 2\r\n"),
              "no error: {\"a\": 1, \"b\": 2}");
    EXPECT_EQ(message_of("- \n- x\n"), "no error: [null, \"x\"]");
    EXPECT_EQ(message_of("1: a\ntrue: b\n"), "no error: {\"1\": \"a\", \"true\": \"b\"}");
}

TEST(Yaml, MarksOfKeysAndValues) {
    const Node node = parse_yaml("\u00e9: [1, {\u00fc: 2}]\nb:\n  c:\n  - x\n", "r.yaml");
    EXPECT_EQ(node.at("\u00e9").mark().text(), "r.yaml:1:4");
    const Node& inner = node.at("\u00e9").as_list()[1];
    EXPECT_EQ(inner.as_map()[0].mark.text(), "r.yaml:1:9");
    EXPECT_EQ(inner.at("\u00fc").mark().text(), "r.yaml:1:12");
    EXPECT_EQ(node.at("b").mark().text(), "r.yaml:2:1");   // a block starts where its key stands
    EXPECT_EQ(node.at("b").at("c").mark().text(), "r.yaml:3:3");
    EXPECT_EQ(node.at("b").at("c").as_list()[0].mark().text(), "r.yaml:4:5");
}

TEST(Yaml, Refusals) {
    const std::pair<std::string, std::string> cases[] = {
        {"a: 1\n\tb: 2\n", "r.yaml:2:1: tabs are not allowed as indentation; use spaces"},
        {"\ta: 1\n", "r.yaml:1:3: tabs are not allowed as indentation; use spaces"},
        {"a:\n\t- 1\n", "r.yaml:2:2: tabs are not allowed as indentation; use spaces"},
        {"a: b: c\n", "r.yaml:1:5: a value may not stand here; is a ':' too many, or are quotes missing?"},
        {"a: 1\n  b: 2\n", "r.yaml:2:4: a value may not stand here; is a ':' too many, or are quotes missing?"},
        {"a: [1, 2\n", "r.yaml:2:1: expected ']' or another item of the list"},
        {"a: {b: 1\n", "r.yaml:2:1: expected '}' or another key of the map"},
        {"a: \"x\n", "r.yaml:1:4: this quote is never closed"},
        {"a: 'x''\n", "r.yaml:1:4: this quote is never closed"},
        {"a: 'x", "r.yaml:1:6: a quote is never closed"},
        {"a: \"\\q\"\n", "r.yaml:1:7: malformed YAML: unknown escape character: q"},
        {"- a\nb: 1\n", "r.yaml:2:1: expected the end of the document, found more of it; is the indentation right?"},
        {"{a: 1} x\n", "r.yaml:1:8: expected the end of the document, found more of it; is the indentation right?"},
        {"a: 1\n- b\n", "r.yaml:2:1: this belongs to nothing above it; check indentation, quotes and ':'"},
        {"a: \"b\" c\n", "r.yaml:1:8: this belongs to nothing above it; check indentation, quotes and ':'"},
        {"a: 1\n---\nb: 2\n", "r.yaml:2:1: expected one document, found the start of a second"},
        {"a: 1\na: 2\n", "r.yaml:2:1: key \"a\" stands twice, first at 1:1"},
        {"x:\n  y:\n    a: 1\n    b: 2\n    'a': 3\n", "r.yaml:5:5: key \"a\" stands twice, first at 3:5"},
        {"a: [{b: 1, b: 2}]\n", "r.yaml:1:12: key \"b\" stands twice, first at 1:6"},
        {"a: &x 1\n", "r.yaml:1:4: anchors and aliases are not supported, found &x; write the value out"},
        {"a: *x\n", "r.yaml:1:4: anchors and aliases are not supported; write the value out"},
        {"&k a: 1\n", "r.yaml:1:1: anchors and aliases are not supported, found &k; write the value out"},
        {"a: !!str 1\n", "r.yaml:1:4: tags are not supported, found tag:yaml.org,2002:str; write the plain value"},
        {"a: !foo [1]\n", "r.yaml:1:4: tags are not supported, found !foo; write the plain value"},
        {"a: !\n", "r.yaml:1:4: tags are not supported, found !; write the plain value"},
        {"<<: {a: 1}\n", "r.yaml:1:1: merge keys (<<) are not supported; write the keys out"},
        {"? [a]\n: 1\n", "r.yaml:1:3: expected a key, found a list"},
        {"? {a: 1}\n: 1\n", "r.yaml:1:3: expected a key, found a map"},
        {"~: 1\n", "r.yaml:1:1: expected a key, found nothing (null)"},
        {"a: [1,,2]\n", "r.yaml:1:7: expected a value, found ','"},
        {"a: @x\n", "r.yaml:1:4: a value may not start with this character; put it in quotes"},
        {"a: %x\n", "r.yaml:1:4: a value may not start with this character; put it in quotes"},
        {"a: - b\n", "r.yaml:1:4: a list item may not start here; put it on a line of its own"},
        {"a: }\n", "r.yaml:1:4: found a closing bracket that was never opened"},
        {"\u00e9: x\x01\n", "r.yaml:1:5: control character 1 is not allowed"},
        {"a: \xff\n", "r.yaml:1:4: the text is not valid UTF-8 here"},
        {std::string("a: \0x\n", 6), "r.yaml:1:4: control character 0 is not allowed"},
        {"a: " + std::string(70, '['), "r.yaml:1:5: this bracket is never closed"},
        {"a: " + std::string(70, '[') + std::string(70, ']'),
         "r.yaml:1:67: lists and maps are nested more than 64 deep"},
        {[] {
             std::string deep;
             for (int i = 0; i < 3000; ++i) deep += "- ";
             return deep;
         }(),
         "r.yaml:1:129: lists and maps are nested more than 64 deep"},
        {std::string(100000, '['), "r.yaml:1:1: this bracket is never closed"},
        {std::string((1 << 20) + 1, '#'), "r.yaml: the document is larger than 1048576 bytes"},
    };
    for (const auto& [text, message] : cases) EXPECT_EQ(message_of(text), message) << text.substr(0, 100);
}

TEST(Yaml, AliasBombsStopAtTheFirstAnchor) {
    std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n";
    for (char c = 'b'; c <= 'k'; ++c) {
        const std::string last = "*" + std::string(1, static_cast<char>(c - 1));
        bomb += std::string(1, c) + ": &" + c + " [" + last;
        for (int i = 0; i < 8; ++i) bomb += ", " + last;
        bomb += "]\n";
    }
    EXPECT_EQ(message_of(bomb), "r.yaml:1:4: anchors and aliases are not supported, found &a; write the value out");
}

TEST(Yaml, MissingFile) {
    try {
        read_yaml("/nowhere/r.yaml");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::no_input);
        EXPECT_STREQ(error.what(), "/nowhere/r.yaml: there is no such file");
    }
}

TEST(Yaml, WritesBlocks) {
    const Node node = parse_json(
        R"({"a": {"b": [1, 0.9, "x"], "c": []}, "d": [{"e": null, "f": "1"}, [[true]]], "g": "two words", "h": {}})",
        "x");
    EXPECT_EQ(to_yaml(node),
              "a:\n  b: [1, 0.9, x]\n  c: []\nd:\n  -\n    e: null\n    f: \"1\"\n  -\n    - [true]\n"
              "g: \"two words\"\nh: {}\n");
}

Node random_node(std::mt19937_64& random, int depth) {
    const char* texts[] = {
        "a",  "true",  "1",      "1e5", "-", "- a",  "a: b", "#",    "x #",  "\u00e9", "\U0001F600", "'",   "\"", "\\",
        "\n", " lead", "trail ", "",    "~", "null", "[",    "{",    "*a",   "&a",     "!t",         "%",   "@",  "`",
        "|",  ">",     "?",      ":",   ",", "\t",   "<<",   "0x1F", ".inf", "=",      "\x7f",       "---", "..."};
    switch (random() % (depth > 4 ? 5 : 8)) {
        case 0:
            return Node();
        case 1:
            return Node(random() % 2 == 0);
        case 2:
            return Node(static_cast<std::int64_t>(random()));
        case 3:
            return Node(std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 600) - 300));
        case 4:
            return Node(std::string(texts[random() % std::size(texts)]) +
                        (random() % 3 ? "" : texts[random() % std::size(texts)]));
        case 5: {
            Node list = Node::list();
            for (std::uint64_t i = random() % 5; i > 0; --i) list.push_back(random_node(random, depth + 1));
            return list;
        }
        default: {
            Node map = Node::map();
            for (std::uint64_t i = random() % 5; i > 0; --i)
                map.set(texts[random() % std::size(texts)], random_node(random, depth + 1));
            return map;
        }
    }
}

TEST(Yaml, RandomDocumentsComeBackEqual) {
    std::mt19937_64 random(5);
    for (int round = 0; round < 2000; ++round) {
        Node node = Node::map();
        for (int i = 0; i < 4; ++i) node.set("k" + std::to_string(i), random_node(random, 0));
        const std::string text = to_yaml(node);
        ASSERT_EQ(parse_yaml(text, "r.yaml"), node) << text;
    }
}

TEST(Yaml, RandomDamageNeverCrashes) {
    std::mt19937_64 random(6);
    const std::string alphabet = "ab1: -[]{},#&*!|>'\"%@`?\n\n  \t\\~<.";
    int refused = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string text = "model:\n  base: x\nlist:\n  - {a: 1}\n  - [2, 'b']\n";
        for (std::uint64_t i = 1 + random() % 6; i > 0; --i)
            text.insert(random() % text.size(), 1, alphabet[random() % alphabet.size()]);
        try {
            parse_yaml(text, "r.yaml");
        } catch (const Error& error) {
            ++refused;
            ASSERT_EQ(std::string(error.what()).substr(0, 7), "r.yaml:") << text;
        }
    }
    EXPECT_GT(refused, 5000);
}

}   // namespace
}   // namespace trainer
