// A base that is stored quantised and is quantised again.
#include "trainer/base_format.h"

#include <gmock/gmock.h>

#include "hub/snapshot.h"
#include "models/registry.h"
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

// Layers of one model in the formats of two, as files of blocks have them.
class OfTwo : public WeightSource {
public:
    OfTwo(std::shared_ptr<const WeightSource> most, std::shared_ptr<const WeightSource> mlp)
        : most_(std::move(most)), mlp_(std::move(mlp)) {}
    const std::vector<std::string>& names() const override { return most_->names(); }
    bool contains(const std::string& name) const override { return most_->contains(name); }
    FileShape shape(const std::string& name) const override { return of(name).shape(name); }
    std::string stored_type(const std::string& name) const override { return of(name).stored_type(name); }
    std::span<const std::byte> bytes(const std::string& name) const override { return of(name).bytes(name); }
    void read(const std::string& name, DType target, void* to) const override { of(name).read(name, target, to); }
    std::shared_ptr<PackedMatrix> packed(const std::string& name, DType dtype) const override {
        return of(name).packed(name, dtype);
    }
    bool read_packed(const std::string& name, PackedMatrix& matrix) const override {
        return of(name).read_packed(name, matrix);
    }

private:
    const WeightSource& of(const std::string& name) const {
        return name.find("mlp") == std::string::npos ? *most_ : *mlp_;
    }
    std::shared_ptr<const WeightSource> most_, mlp_;
};

TEST_F(QuantisedBase, AllItsFormatsAreNamed) {
    ASSERT_EQ(call({"export", "bitsandbytes", "./model", "--out", "eight", "--type", "int8"}).code, 0);
    Snapshot base = open_snapshot((folder / "packed").string());
    const auto model = make_causal_lm(base.config);
    EXPECT_EQ(stored_format(model->parameters(), base), "nf4");
    base.weights = std::make_shared<OfTwo>(base.weights, open_snapshot((folder / "eight").string()).weights);
    EXPECT_EQ(stored_format(model->parameters(), base), "nf4, int8");
    EXPECT_EQ(stored_format(model->parameters(), open_snapshot((folder / "model").string())), "");
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
