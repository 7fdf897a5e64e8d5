#include "configs/registry.h"

#include <gtest/gtest.h>

namespace trainer {
namespace {

TEST(Registry, FindsAndSuggests) {
    const Registry<int> table("optimizer", {{"adamw", "the usual", 1}, {"lion", "the sign", 2}});
    EXPECT_EQ(table.at("lion"), 2);
    EXPECT_EQ(table.find("sgd"), nullptr);
    EXPECT_EQ(table.names(), (std::vector<std::string>{"adamw", "lion"}));
    const auto message = [&](std::string_view name) -> std::string {
        try {
            table.at(name, Exit::bad_recipe, "r.yaml:3:4: ");
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_recipe);
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message("adam"),
              "r.yaml:3:4: there is no optimizer \"adam\"; did you mean \"adamw\"? available: adamw, lion");
    EXPECT_EQ(message("muon_x_y"), "r.yaml:3:4: there is no optimizer \"muon_x_y\"; available: adamw, lion");
}

TEST(Registry, NamesAreUnique) { EXPECT_THROW((Registry<int>("thing", {{"a", "", 1}, {"a", "", 2}})), Error); }

}   // namespace
}   // namespace trainer
