#include "configs/error.h"

#include <gtest/gtest.h>

#include "configs/node.h"

namespace trainer {
namespace {

TEST(Error, FormatsItsArguments) {
    EXPECT_EQ(format("{} of {{}} {}", 1, "x"), "1 of {} x");
    EXPECT_EQ(format("{}", 0.1), "0.1");
    EXPECT_EQ(format("{}", 0.1f), "0.1");
    EXPECT_EQ(format("{} {}", true, std::string("s")), "true s");
    EXPECT_EQ(format("{} {}", 1), "1 {}");
}

TEST(Error, SeveralErrorsTakeTheFirstClass) {
    const Errors errors({Error(Exit::bad_data, "d"), Error(Exit::bad_recipe, "r"), Error(Exit::bad_recipe, "s")});
    EXPECT_EQ(errors.code(), Exit::bad_recipe);
    EXPECT_STREQ(errors.what(), "d\nr\ns");
    EXPECT_EQ(Errors({Error(Exit::bad_recipe, "r"), Error(Exit::usage, "u")}).code(), Exit::usage);
    EXPECT_EQ(Errors({Error(Exit::io, "i")}).code(), Exit::io);
}

TEST(Error, NearestName) {
    const std::vector<std::string> names = {"messages", "text", "rank"};
    EXPECT_EQ(nearest("mesages", names), "messages");
    EXPECT_EQ(nearest("rnak", names), "rank");
    EXPECT_EQ(nearest("completely", names), "");
    EXPECT_EQ(nearest("x", names), "");
    EXPECT_EQ(nearest("", names), "");
    EXPECT_EQ(did_you_mean("rnak", names), "did you mean \"rank\"? ");
    EXPECT_EQ(did_you_mean("completely", names), "");
}

TEST(Node, AccessAndMismatch) {
    Node node;
    node.set("a", 1).with_mark({std::make_shared<const std::string>("f"), 2, 3});
    node.set("b", Node(Node::List{Node(2.0), Node("x")}));
    EXPECT_EQ(node.at("b").as_list()[0].as_integer(), 2);
    const auto message = [](auto access) -> std::string {
        try {
            access();
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message([&] { node.at("a").as_string(); }), "f:2:3: expected a string, found the integer 1");
    EXPECT_EQ(message([&] { node.at("c"); }), "key \"c\" is missing");
    EXPECT_EQ(message([&] { node.at("b").at("c"); }), "expected a map, found a list");
    node.erase("a");
    EXPECT_FALSE(node.contains("a"));
    EXPECT_EQ(Node(std::string(100, 'x')).describe(), "the string \"" + std::string(57, 'x') + "...\"");
}

TEST(Node, EqualityIgnoresTheOrderOfKeys) {
    Node a, b;
    a.set("x", 1), a.set("y", 2);
    b.set("y", 2), b.set("x", 1);
    EXPECT_EQ(a, b);
    b.set("x", 1.0);
    EXPECT_FALSE(a == b);   // an integer is no double
}

TEST(Node, DuplicateKeys) {
    Node::Map entries;
    for (int i = 0; i < 100; ++i) entries.push_back({"k" + std::to_string(i), Node(i), {}});
    EXPECT_FALSE(duplicate_key(entries));
    entries.push_back({"k42", Node(), {}});
    EXPECT_EQ(duplicate_key(entries), (std::pair<std::size_t, std::size_t>(42, 100)));
}

}   // namespace
}   // namespace trainer
