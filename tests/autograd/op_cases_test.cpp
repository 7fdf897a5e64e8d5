#include "tests/support/op_cases.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "autograd/cpu/isa.h"
#include "tests/support/op_check.h"
#include "tests/support/op_settings.h"

namespace trainer::cases {
namespace {

class OpCase : public OpTest {
protected:
    void SetUp() override {
        poison_new_memory(true);
        threads_ = omp_get_max_threads();
    }
    void TearDown() override {
        poison_new_memory(false);
        force_isa(supported_isa());
        omp_set_num_threads(threads_);
    }

    void expect_near(const Result& actual, const Result& expected, double factor) {
        ASSERT_EQ(actual.outputs.size(), expected.outputs.size());
        for (std::size_t k = 0; k < expected.outputs.size(); ++k)
            EXPECT_LE(relative_error(actual.outputs[k], expected.outputs[k]), factor * bound().forward)
                << "output " << k;
        for (std::size_t i = 0; i < expected.gradients.size(); ++i)
            EXPECT_LE(relative_error(actual.gradients[i], expected.gradients[i]), factor * bound().gradient)
                << "gradient of " << op().inputs[i].name;
    }

private:
    int threads_ = 1;
};

std::vector<Isa> kernel_variants() {
    std::vector<Isa> out;
    for (Isa isa : {Isa::v2, Isa::v3, Isa::v4, Isa::v4bf16, Isa::v4amx})
        if (isa <= supported_isa()) out.push_back(isa);
    return out;
}

TEST_P(OpCase, AgreesWithDoubleArithmeticOnEveryInstructionSet) {
    const Result expected = reference(op(), dtype(), 5);
    std::vector<Result> results;
    for (Isa isa : kernel_variants()) {
        SCOPED_TRACE(std::string(name_of(isa)));
        force_isa(isa);
        results.push_back(run(op(), dtype(), 5));
        expect_near(results.back(), expected, 1);
        expect_near(results.back(), results.front(), 2);
    }
}

TEST_P(OpCase, ThreadsChangeNoBit) {
    omp_set_num_threads(1);
    const Result alone = run(op(), dtype(), 6);
    for (int threads : {2, 3, 5, 16}) {
        omp_set_num_threads(threads);
        const Result shared = run(op(), dtype(), 6);
        EXPECT_TRUE(same_bits(shared.outputs, alone.outputs)) << threads << " threads";
        EXPECT_TRUE(same_bits(shared.gradients, alone.gradients)) << threads << " threads";
    }
}

TEST_P(OpCase, RecordingChangesNoBit) {
    Prepared prepared(op(), dtype(), Place::cpu(), 6);
    const std::vector<Tensor> plain = prepared.forward(nullptr);
    std::vector<Matrix> outputs;
    for (const Tensor& y : plain) {
        EXPECT_LT(y.slot(), 0);
        outputs.push_back(matrix_of(y));
    }
    EXPECT_TRUE(same_bits(outputs, run(op(), dtype(), 6).outputs));
}

TEST_P(OpCase, MetaAllocatesExactlyWhatTheCpuAllocates) {
    run(op(), dtype(), 1);   // what is made once and kept, such as code made for a shape, is there now
    const Footprint cpu = footprint(op(), dtype(), Place::cpu());
    const Footprint meta = footprint(op(), dtype(), Place::meta());
    for (std::size_t p = 0; p < purpose_count; ++p) {
        EXPECT_LE(cpu.peak[p], meta.peak[p]) << name_of(static_cast<Purpose>(p));
        if (!op().memory_by_value) {
            EXPECT_EQ(cpu.peak[p], meta.peak[p]) << name_of(static_cast<Purpose>(p));
        }
    }
    EXPECT_EQ(cpu.left, 0u);
    EXPECT_EQ(meta.left, 0u);
}

INSTANTIATE_TEST_SUITE_P(Table, OpCase, ::testing::ValuesIn(settings({DType::f32, DType::bf16})), setting_name);

// An op's header declares a function of its own name; other headers there are parts of ops.
TEST(OpTable, EveryOpHasARow) {
    int ops = 0;
    for (const auto& entry : std::filesystem::directory_iterator(TRAINER_SOURCE_DIR "/autograd/ops")) {
        if (entry.path().extension() != ".h") continue;
        const std::string op = entry.path().stem();
        std::ifstream file(entry.path());
        const std::string text(std::istreambuf_iterator<char>(file), {});
        if (text.find(" " + op + "(") == std::string::npos) continue;
        ++ops;
        EXPECT_TRUE(std::any_of(table().begin(), table().end(), [&](const Case& c) { return c.op == op; }))
            << "autograd/ops/" << op << ".h has no row in tests/support/op_cases.cpp";
    }
    EXPECT_GE(ops, 9);
}

TEST(OpTable, AWrongGradientIsFound) {
    Case wrong = table()[0];
    wrong.reference = [right = wrong.reference](const std::vector<Matrix>& in) {
        std::vector<Matrix> scaled = in;
        for (double& value : scaled[0].numbers) value *= 1.01;
        return right(scaled);
    };
    const Result expected = reference(wrong, DType::f32, 5);
    EXPECT_GT(relative_error(run(wrong, DType::f32, 5).gradients[0], expected.gradients[0]), 5e-3);
}

}   // namespace
}   // namespace trainer::cases
