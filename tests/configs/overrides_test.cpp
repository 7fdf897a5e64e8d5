#include "configs/overrides.h"

#include <gtest/gtest.h>

#include "configs/json.h"
#include "configs/yaml.h"

namespace trainer {
namespace {

const std::string document = "optimizer: {lr: 0.1}\ndata:\n  train:\n    - {path: a}\n    - {path: b}\nname: x\n";

TEST(Overrides, SetValuesAndMakeSections) {
    const std::pair<std::vector<std::string>, std::string> cases[] = {
        {{"optimizer.lr=1e-4"},
         R"({"optimizer": {"lr": 0.0001}, "data": {"train": [{"path": "a"}, {"path": "b"}]}, "name": "x"})"},
        {{"data=null", "new.deep.key=[1, {a: b}]"},
         R"({"optimizer": {"lr": 0.1}, "data": null, "name": "x", "new": {"deep": {"key": [1, {"a": "b"}]}}})"},
        {{"data.train.0.path=c", "data.train.2.path=d", "optimizer=3"},
         R"({"optimizer": 3, "data": {"train": [{"path": "c"}, {"path": "b"}, {"path": "d"}]}, "name": "x"})"},
        {{"name=", "data.train=a=b"}, R"({"optimizer": {"lr": 0.1}, "data": {"train": "a=b"}, "name": null})"},
        {{"name=y", "name='z'"},
         R"({"optimizer": {"lr": 0.1}, "data": {"train": [{"path": "a"}, {"path": "b"}]}, "name": "z"})"},
    };
    for (const auto& [words, json] : cases) {
        Node node = parse_yaml(document, "r.yaml");
        EXPECT_TRUE(apply_overrides(node, words).empty());
        EXPECT_EQ(node, parse_json(json, "x")) << to_json(node);
    }
    Node nothing;
    EXPECT_TRUE(apply_overrides(nothing, {"a.b=1"}).empty());
    EXPECT_EQ(to_json(nothing), R"({"a": {"b": 1}})");
}

TEST(Overrides, CarryTheirMark) {
    Node node = parse_yaml(document, "r.yaml");
    apply_overrides(node, {"optimizer.lr={a: [1]}"});
    const Node& value = node.at("optimizer").at("lr");
    EXPECT_EQ(value.at("a").as_list()[0].mark().text(), "command line: optimizer.lr={a: [1]}");
    EXPECT_EQ(value.as_map()[0].mark.text(), "command line: optimizer.lr={a: [1]}");
}

TEST(Overrides, Refusals) {
    const std::pair<std::string, std::string> cases[] = {
        {"lr", "command line: lr: expected key=value"},
        {"=3", "command line: =3: expected keys joined by dots in front of '='"},
        {"a..b=3", "command line: a..b=3: expected keys joined by dots in front of '='"},
        {".a=3", "command line: .a=3: expected keys joined by dots in front of '='"},
        {"a.=3", "command line: a.=3: expected keys joined by dots in front of '='"},
        {"name.x=3", "command line: name.x=3: name is the string \"x\", it has no key x"},
        {"data.train.7.path=c",
         "command line: data.train.7.path=c: data.train is a list of 2; expected an index from 0 to 2, found 7"},
        {"data.train.x=c",
         "command line: data.train.x=c: data.train is a list of 2; expected an index from 0 to 2, found x"},
        {"data.train.-1=c",
         "command line: data.train.-1=c: data.train is a list of 2; expected an index from 0 to 2, found -1"},
        {"a=[1", "command line: a=[1:1:1: this bracket is never closed"},
        {"a=*x", "command line: a=*x:1:1: anchors and aliases are not supported; write the value out"},
    };
    for (const auto& [word, message] : cases) {
        Node node = parse_yaml(document, "r.yaml");
        const std::vector<Error> errors = apply_overrides(node, {word});
        ASSERT_EQ(errors.size(), 1u) << word;
        EXPECT_EQ(errors[0].code(), Exit::usage);
        EXPECT_EQ(errors[0].what(), message);
        EXPECT_EQ(node, parse_yaml(document, "r.yaml")) << word;
    }
    Node node = parse_yaml(document, "r.yaml");
    EXPECT_EQ(apply_overrides(node, {"x", "y", "name=z"}).size(), 2u);
    EXPECT_EQ(node.at("name").as_string(), "z");
}

}   // namespace
}   // namespace trainer
