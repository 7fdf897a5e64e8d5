#include "trainer/model_output.h"

#include <gtest/gtest.h>

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

}   // namespace
}   // namespace trainer::test
