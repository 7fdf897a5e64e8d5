// A base that is stored quantised and is quantised again.
#include <gmock/gmock.h>

#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"

namespace trainer::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<std::string>;

class QuantisedBase : public ::testing::Test {
protected:
    ScratchFolder folder;

    // packed/ holds model/ in nf4, blocks of 64.
    void SetUp() override {
        write_setup(folder.path());
        const ProgramResult result = call({"export", "bitsandbytes", "./model", "--out", "packed"});
        ASSERT_EQ(result.code, 0) << result.err;
        EXPECT_EQ(result.err, "");
    }
    ProgramResult call(const Words& words) { return run_program(words, folder.path()); }
};

TEST_F(QuantisedBase, ExportSaysThatItRoundsAgain) {
    const ProgramResult eight = call({"export", "bitsandbytes", "./packed", "--out", "a", "--type", "int8"});
    EXPECT_EQ(eight.code, 0);
    EXPECT_EQ(
        eight.err,
        "warning: ./packed is stored in nf4, whose values are rounded already, and int8 rounds them again; exported "
        "from the model that it was quantised from, less would be lost\n");
    for (const Words& other : {Words{"--block-size", "32"}, Words{"--no-double-quant"}}) {
        Words words = {"export", "bitsandbytes", "./packed", "--out", "b" + other[0]};
        words.insert(words.end(), other.begin(), other.end());
        EXPECT_THAT(call(words).err, HasSubstr("rounded already, and nf4 with other scales rounds them again"));
    }
}

TEST_F(QuantisedBase, TheSameFormatIsCopied) {
    EXPECT_EQ(call({"export", "bitsandbytes", "./packed", "--out", "again"}).err, "");
    EXPECT_EQ(get_text(folder / "again/model.safetensors"), get_text(folder / "packed/model.safetensors"));
}

TEST_F(QuantisedBase, ARecipeIsToldOfStored) {
    const auto run = [&](const std::string& format) {
        return call({"check", "recipe.yaml", "model.base=./packed", "model.quantize=" + format}).err;
    };
    EXPECT_THAT(run("int8"), HasSubstr("warning: model.quantize: ./packed is stored in nf4, whose values are rounded "
                                       "already, and int8 rounds them again; stored keeps them as they are\n"));
    for (const char* format : {"nf4", "stored", "none"}) EXPECT_THAT(run(format), Not(HasSubstr("rounded"))) << format;
}

}   // namespace
}   // namespace trainer::test
