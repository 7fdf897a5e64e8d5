#include "peft/registry.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace trainer {
namespace {

// A new option belongs to a method, and what a method reads is an option.
TEST(PeftMethods, ReadEveryOptionThereIs) {
    const Node options = write_fields(AdapterOptions());
    for (const auto& entry : options.as_map())
        EXPECT_TRUE(std::any_of(peft_methods().entries().begin(), peft_methods().entries().end(),
                                [&](const auto& method) { return method.value.reads(entry.key); }))
            << entry.key;
    for (const auto& method : peft_methods().entries())
        for (const std::string_view key : method.value.keys)
            EXPECT_NE(options.find(key), nullptr) << method.name << ": " << key;
}

// Those that begin at a decomposition have rows of other lengths.
TEST(PeftMethods, ReadNoOptionThatTheyRefuse) {
    for (const char* name : {"lora", "rslora"}) EXPECT_TRUE(peft_methods().at(name).reads("dora")) << name;
    for (const char* name : {"pissa", "olora"}) EXPECT_FALSE(peft_methods().at(name).reads("dora")) << name;
}

}   // namespace
}   // namespace trainer
