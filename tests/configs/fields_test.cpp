#include "configs/fields.h"

#include <gtest/gtest.h>

#include "configs/json.h"
#include "configs/yaml.h"

namespace trainer {
namespace {

enum class Colour { red, green };

}   // namespace

template <>
struct EnumTable<Colour> {
    static constexpr std::pair<std::string_view, Colour> names[] = {{"red", Colour::red}, {"green", Colour::green}};
    static constexpr std::string_view later[] = {"blue"};
};

namespace {

struct Inner {
    double rate = 0.5;
    std::array<double, 2> betas{0.9, 0.99};

    template <typename Visitor>
    void fields(Visitor& field) {
        field("rate", rate, "how fast", above(0), at_most(2));
        field("betas", betas, "two means", at_least(0), below(1));
    }
};

struct Needed {
    std::string path;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("path", path, "where it is", required(), not_empty());
    }
};

struct Outer {
    std::int64_t rank = 16;
    int small = 3;
    bool flag = false;
    std::string name = "x";
    Colour colour = Colour::green;
    std::optional<Inner> maybe;
    std::optional<std::int64_t> count;
    Inner inner;
    std::vector<std::string> words;
    Node raw = Node::map();
    Needed needed;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("rank", rank, "how much", between(1, 100000000), later_word("auto"));
        field("small", small, "a small one");
        field("flag", flag, "yes or no");
        field("name", name, "a name", not_empty());
        field("colour", colour, "a colour");
        field("maybe", maybe, "perhaps");
        field("count", count, "how many", at_least(0));
        field("inner", inner, "always there");
        field("words", words, "some words");
        field("raw", raw, "anything", only_map());
        field("needed", needed, "what must be there", required());
        field.later("shadow", "leave it out");
    }
};

std::string complaints_of(const std::string& text) {
    Complaints complaints;
    Outer outer;
    read_fields(parse_yaml(text, "r.yaml"), outer, complaints);
    std::string all;
    for (const Error& error : complaints.in_order()) {
        EXPECT_EQ(error.code(), Exit::bad_recipe);
        all += std::string(error.what()) + "\n";
    }
    return all;
}

const std::string minimal = "needed: {path: p}\n";

TEST(Fields, ReadsEveryType) {
    const Outer outer = read_fields<Outer>(parse_yaml(minimal + R"(
rank: 1e3
small: -7
flag: true
name: abc
colour: red
maybe: {rate: 2}
count: null
inner: {betas: [0, 0.5]}
words: [a, b]
raw: {deep: [1]}
)",
                                                      "r.yaml"));
    EXPECT_EQ(outer.rank, 1000);
    EXPECT_EQ(outer.small, -7);
    EXPECT_TRUE(outer.flag);
    EXPECT_EQ(outer.name, "abc");
    EXPECT_EQ(outer.colour, Colour::red);
    ASSERT_TRUE(outer.maybe);
    EXPECT_EQ(outer.maybe->rate, 2);
    EXPECT_EQ(outer.maybe->betas[1], 0.99);
    EXPECT_FALSE(outer.count);
    EXPECT_EQ(outer.inner.betas[1], 0.5);
    EXPECT_EQ(outer.words, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(outer.raw.at("deep").as_list()[0].as_integer(), 1);
    EXPECT_EQ(outer.needed.path, "p");
}

TEST(Fields, IntegersBeyondADouble) {
    const auto count = [](const std::string& text) { return complaints_of(minimal + "count: " + text + "\n"); };
    const std::string range = "r.yaml:2:8: count: expected an integer from 0 to 9223372036854775807";
    EXPECT_EQ(count("9223372036854775807"), "");
    EXPECT_EQ(count("9223372036854775808"), range + ", found the number 9223372036854775808\n");
    EXPECT_EQ(count("1e17"), range + " in digits, found the number 1e+17\n");
    EXPECT_EQ(count("9007199254740991.0"), "");
    EXPECT_EQ(count("9007199254740992.0"), range + " in digits, found the number 9007199254740992\n");
    EXPECT_EQ(count("-1e30"), range + ", found the number -1e+30\n");
    EXPECT_EQ(count("0.5"), "r.yaml:2:8: count: expected an integer of at least 0, found the number 0.5\n");
    EXPECT_EQ(complaints_of(minimal + "rank: 1e30\n"),
              "r.yaml:2:7: rank: expected an integer from 1 to 100000000, found the number 1e+30\n");
}

TEST(Fields, EveryKindOfMistake) {
    const std::pair<std::string, std::string> cases[] = {
        {"rnak: 1", "2:1: rnak: unknown key; did you mean rank?"},
        {"zzzzzz: 1",
         "2:1: zzzzzz: unknown key; valid keys: rank, small, flag, name, colour, maybe, count, inner, "
         "words, raw, needed"},
        {"inner: {rat: 1}", "2:9: inner.rat: unknown key; did you mean rate?"},
        {"rank: 0", "2:7: rank: expected an integer from 1 to 100000000, found the integer 0"},
        {"rank: 2.5", "2:7: rank: expected an integer from 1 to 100000000, found the number 2.5"},
        {"rank: '3'", "2:7: rank: expected an integer from 1 to 100000000, found the string \"3\""},
        {"rank: true", "2:7: rank: expected an integer from 1 to 100000000, found true"},
        {"rank:", "2:1: rank: expected an integer from 1 to 100000000, found nothing (null)"},
        {"rank: .inf", "2:7: rank: expected an integer from 1 to 100000000, found the number inf"},
        {"rank: auto", "2:7: rank: auto is not available in this version; expected an integer from 1 to 100000000"},
        {"small: 3000000000", "2:8: small: expected an integer that fits in 32 bits, found the integer 3000000000"},
        {"flag: yes", "2:7: flag: expected true or false, found the string \"yes\""},
        {"flag: 1", "2:7: flag: expected true or false, found the integer 1"},
        {"name: 12", "2:7: name: expected a string that is not empty (in quotes), found the integer 12"},
        {"name: ''", "2:7: name: expected a string that is not empty, found the string \"\""},
        {"name: [a]", "2:7: name: expected a string that is not empty, found a list"},
        {"colour: rde", "2:9: colour: expected red or green, found the string \"rde\"; did you mean red?"},
        {"colour: blue", "2:9: colour: blue is not available in this version; expected red or green"},
        {"colour: 3", "2:9: colour: expected red or green, found the integer 3"},
        {"maybe: 3", "2:8: maybe: expected a map, found the integer 3"},
        {"maybe: {rate: 0}", "2:15: maybe.rate: expected a number above 0 and at most 2, found the integer 0"},
        {"inner: {rate: .nan}", "2:15: inner.rate: expected a number above 0 and at most 2, found the number nan"},
        {"inner: {betas: [1]}",
         "2:16: inner.betas: expected a list of 2, each a number from 0 to below 1, found a list of 1"},
        {"inner: {betas: 1}",
         "2:16: inner.betas: expected a list of 2, each a number from 0 to below 1, found the integer 1"},
        {"inner: {betas: [0.5, 1]}", "2:22: inner.betas.1: expected a number from 0 to below 1, found the integer 1"},
        {"words: a", "2:8: words: expected a list, each item a string, found the string \"a\""},
        {"words: [a, 1]", "2:12: words.1: expected a string (in quotes), found the integer 1"},
        {"raw: [1]", "2:6: raw: expected a map, found a list"},
        {"count: -1", "2:8: count: expected an integer of at least 0, found the integer -1"},
        {"shadow: 1", "2:1: shadow: not available in this version; leave it out"},
    };
    for (const auto& [line, message] : cases)
        EXPECT_EQ(complaints_of(minimal + line + "\n"), "r.yaml:" + message + "\n") << line;
}

TEST(Fields, RequiredKeys) {
    EXPECT_EQ(complaints_of("rank: 1\n"), "r.yaml:1:1: needed.path: this key is required (where it is)\n");
    EXPECT_EQ(complaints_of("rank: 1\nneeded:\n"), "r.yaml:2:1: needed.path: this key is required (where it is)\n");
    EXPECT_EQ(complaints_of("rank: 1\nneeded:\n  pat: x\n"),
              "r.yaml:2:1: needed.path: this key is required (where it is)\n"
              "r.yaml:3:3: needed.pat: unknown key; did you mean path?\n");
}

TEST(Fields, AllMistakesInOnePassInTheOrderOfTheDocument) {
    EXPECT_EQ(complaints_of("words: 1\nrnak: 1\nneeded: {path: ''}\ninner: {rate: -1}\nflag: 2\n"),
              "r.yaml:1:8: words: expected a list, each item a string, found the integer 1\n"
              "r.yaml:2:1: rnak: unknown key; did you mean rank?\n"
              "r.yaml:3:16: needed.path: expected a string that is not empty, found the string \"\"\n"
              "r.yaml:4:15: inner.rate: expected a number above 0 and at most 2, found the integer -1\n"
              "r.yaml:5:7: flag: expected true or false, found the integer 2\n");
}

TEST(Fields, MistakesLeaveTheValueAlone) {
    Complaints complaints;
    Outer outer;
    read_fields(parse_yaml("rank: x\nwords: 3\nmaybe: {rate: x}\n" + minimal, "r"), outer, complaints);
    EXPECT_EQ(complaints.size(), 3u);
    EXPECT_EQ(outer.rank, 16);
    EXPECT_TRUE(outer.words.empty());
    EXPECT_FALSE(outer.maybe);
}

TEST(Fields, LenientReadersIgnoreUnknownKeysOnly) {
    const Outer outer = read_fields<Outer>(
        parse_json(R"({"unknown": 1, "rank": 4, "needed": {"path": "p", "z": 2}})", "c"), Exit::bad_data, true);
    EXPECT_EQ(outer.rank, 4);
    try {
        read_fields<Outer>(parse_json(R"({"rank": "4", "needed": {"path": "p"}})", "c.json"), Exit::bad_data, true);
        FAIL();
    } catch (const Errors& errors) {
        EXPECT_EQ(errors.code(), Exit::bad_data);
        EXPECT_STREQ(errors.what(),
                     "c.json:1:10: rank: expected an integer from 1 to 100000000, found the string \"4\"");
    }
    EXPECT_THROW(read_fields<Outer>(Node(3), Exit::bad_data), Errors);
}

TEST(Fields, WritesWhatItReads) {
    Outer outer;
    outer.needed.path = "p";
    outer.maybe = Inner{1.25, {0.1, 0.2}};
    outer.words = {"a"};
    outer.colour = Colour::red;
    const Node node = write_fields(outer);
    EXPECT_EQ(to_json(node),
              R"({"rank": 16, "small": 3, "flag": false, "name": "x", "colour": "red", )"
              R"("maybe": {"rate": 1.25, "betas": [0.1, 0.2]}, "count": null, )"
              R"("inner": {"rate": 0.5, "betas": [0.9, 0.99]}, "words": ["a"], "raw": {}, "needed": {"path": "p"}})");
    EXPECT_EQ(write_fields(read_fields<Outer>(parse_yaml(to_yaml(node), "r"))), node);
}

struct Shaped {
    std::string name = "box";
    double width = 1;
    double height = 2;
    double radius = 3;

    static std::vector<std::string> choices() { return {"ball", "box"}; }
    void choose(const std::string& choice) { name = choice; }
    template <typename Visitor>
    void fields(Visitor& field) {
        field("name", name, "which shape", one_of(choices));
        if (name == "ball") {
            field("radius", radius, "from the middle");
        } else {
            field("width", width, "across");
            field("height", height, "upwards");
        }
    }
};

TEST(Fields, KeysThatDependOnAName) {
    EXPECT_EQ(to_json(write_fields(read_fields<Shaped>(parse_yaml("{radius: 5, name: ball}", "r")))),
              R"({"name": "ball", "radius": 5.0})");
    EXPECT_EQ(to_json(write_fields(Shaped())), R"({"name": "box", "width": 1.0, "height": 2.0})");
    Complaints complaints;
    Shaped shaped;
    read_fields(parse_yaml("{radius: 5, hight: 2, wall: 1}", "r"), shaped, complaints);
    std::vector<std::string> sentences;
    for (const Error& error : complaints.in_order()) sentences.emplace_back(error.what());
    EXPECT_EQ(
        join(sentences, "; "),
        "r:1:2: radius: is a key of ball only; valid keys: name, width, height; r:1:13: hight: unknown key; did you "
        "mean height?; r:1:23: wall: unknown key; valid keys: name, width, height");

    const Node schema = schema_of<Shaped>();
    const auto& choices = schema.at("anyOf").as_list();
    ASSERT_EQ(choices.size(), 2u);
    EXPECT_EQ(to_json(choices[0].at("properties").at("name")), R"({"type": "string", "description": "which shape", )"
                                                               R"("const": "ball"})");
    EXPECT_EQ(to_json(choices[0].at("required")), R"(["name"])");
    EXPECT_FALSE(choices[0].at("properties").contains("width"));
    EXPECT_FALSE(choices[1].contains("required"));
    EXPECT_EQ(choices[1].at("properties").at("name").at("default").as_string(), "box");

    std::vector<FieldNote> notes;
    explain_choices<Shaped>(notes, "shape.");
    std::vector<std::string> lines;
    for (const FieldNote& note : notes) lines.push_back(note.key + ": " + note.help);
    EXPECT_EQ(join(lines, "; "),
              "shape.name: which shape; shape.radius: from the middle (ball); shape.width: across (box); "
              "shape.height: upwards (box)");
}

TEST(Fields, SchemaAndExplanation) {
    EXPECT_EQ(to_json(schema_of<Inner>()),
              R"({"type": "object", "properties": {"rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 2, )"
              R"("description": "how fast", "default": 0.5}, "betas": {"type": "array", "items": {"type": "number", )"
              R"("minimum": 0, "exclusiveMaximum": 1}, "minItems": 2, "maxItems": 2, "description": "two means", )"
              R"("default": [0.9, 0.99]}}, "additionalProperties": false})");
    const Node schema = schema_of<Outer>();
    EXPECT_EQ(to_json(schema.at("required")), R"(["needed"])");
    EXPECT_FALSE(schema.at("properties").contains("shadow"));
    EXPECT_EQ(to_json(schema.at("properties").at("colour").at("enum")), R"(["red", "green"])");
    std::vector<FieldNote> notes;
    explain_fields<Inner>(notes);
    EXPECT_EQ(to_text(notes),
              "rate   how fast\n       a number above 0 and at most 2; default 0.5\n"
              "betas  two means\n       a list of 2, each a number from 0 to below 1; default [0.9, 0.99]\n");
    notes.clear();
    explain_fields<Needed>(notes, "n.");
    EXPECT_EQ(to_text(notes), "n.path  where it is\n        a string that is not empty; required\n");
}

}   // namespace
}   // namespace trainer
