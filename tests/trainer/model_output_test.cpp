#include "trainer/model_output.h"

#include <gtest/gtest.h>

#include "hub/adapter.h"
#include "hub/load.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

// What is asked of the disk is what is written, but for the header, card and configuration: the tokenizer counts too.
TEST(ModelOutput, BytesAreThoseOfItsFiles) {
    const TinyProject project;
    put_text(project.path() / "model/vocab.json", std::string(300'000, ' ') + "{}");
    for (const char* peft : {"peft.rank=4", "peft=null"}) {
        const Inputs inputs = project.inputs({peft});
        const DeclaredModel declared = declare_model(inputs.recipe, inputs.base.snapshot);
        declared.model->prepare(Place::cpu(), DType::f32, 64);
        load_parameters(declared.model->parameters(), *inputs.base.snapshot.weights, "model");
        if (declared.peft) declared.peft->initialise(1);
        const ModelOutput output{inputs, *declared.model, declared.peft.get(),
                                 [](const Parameter& parameter) { return parameter.value; }};
        const ScratchFolder folder;
        output.write(folder.path());
        std::uint64_t written = 0;
        for (const auto& entry : fs::directory_iterator(folder.path())) written += entry.file_size();
        EXPECT_GT(written, 300'000u);
        EXPECT_LE(output.bytes(), written) << peft;
        EXPECT_LT(written - output.bytes(), 10'000u) << peft;
    }
}

// A method that asks for the values of every parameter twice, and keeps those of the first time.
class AskingTwice : public PeftMethod {
public:
    explicit AskingTwice(const PeftMethod& inner) : inner_(inner) {}
    void attach(Declarations&) override {}
    void initialise(std::uint64_t) override {}
    const std::vector<Parameter*>& parameters() const override { return inner_.parameters(); }
    AdapterConfig config() const override { return inner_.config(); }
    std::vector<AdapterTensor> tensors(const std::function<const float*(const Parameter&)>& values) const override {
        std::vector<AdapterTensor> all = inner_.tensors(values);
        for (const Parameter* parameter : parameters()) EXPECT_EQ(values(*parameter), values(*parameter));
        return all;
    }

private:
    const PeftMethod& inner_;
};

TEST(ModelOutput, ValuesInBf16StayWhereTheyAre) {
    const TinyProject project;
    const Inputs inputs = project.inputs({"peft.rank=4"});
    const DeclaredModel declared = declare_model(inputs.recipe, inputs.base.snapshot);
    declared.model->prepare(Place::cpu(), DType::f32, 64);
    load_parameters(declared.model->parameters(), *inputs.base.snapshot.weights, "model");
    declared.peft->initialise(1);
    const auto in_bf16 = [](const Parameter& parameter) { return converted(parameter.value, DType::bf16); };
    const AskingTwice twice(*declared.peft);
    std::string written[2];
    const PeftMethod* methods[] = {declared.peft.get(), &twice};
    for (int i = 0; i < 2; ++i) {
        const ScratchFolder folder;
        ModelOutput{inputs, *declared.model, methods[i], in_bf16}.write(folder.path());
        written[i] = get_text(folder / "adapter_model.safetensors");
    }
    EXPECT_EQ(written[0], written[1]);
}

// The base that was opened, whatever has become of its file meanwhile.
TEST(ModelOutput, AnAdapterBelongsToTheBaseThatWasOpened) {
    const TinyProject project;
    const Inputs inputs = project.inputs({"peft.rank=4"});
    const WeightsDigest opened = digest_of_weights(*open_snapshot((project.path() / "model").string()).weights);
    const DeclaredModel declared = declare_model(inputs.recipe, inputs.base.snapshot);
    declared.model->prepare(Place::cpu(), DType::f32, 64);
    load_parameters(declared.model->parameters(), *inputs.base.snapshot.weights, "model");
    declared.peft->initialise(1);
    set_weights(project.path() / "model/model.safetensors", "model.norm.weight", 3, 4, 0.5f);
    EXPECT_NE(digest_of_weights(*inputs.base.snapshot.weights), opened);
    const ScratchFolder folder;
    ModelOutput{inputs, *declared.model, declared.peft.get(),
                [](const Parameter& parameter) { return parameter.value; }}
        .write(folder.path());
    EXPECT_EQ(AdapterFile(folder.path()).base(), opened);
}

}   // namespace
}   // namespace trainer::test
