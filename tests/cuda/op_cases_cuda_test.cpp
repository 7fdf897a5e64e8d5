// The table of ops on the GPU: beside double arithmetic, in bits from run to run, and in memory beside the plan.
#include <gtest/gtest.h>

#include "autograd/cuda/cudnn.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"
#include "tests/cuda/device.h"
#include "tests/support/op_check.h"
#include "tests/support/op_settings.h"

namespace trainer::cases {
namespace {

class CudaOpCase : public OpTest {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
        poison_new_memory(poisons_memory());
    }
    void TearDown() override { poison_new_memory(false); }

    // With NVIDIA's library for attention, and with our own kernels.
    template <typename Work>
    void with_and_without_cudnn(Work&& work) {
        work();
        if (op().op != "attention") return;
        cuda::allow_cudnn(false);
        work();
        cuda::allow_cudnn(true);
    }
};

TEST_P(CudaOpCase, AgreesWithDoubleArithmetic) {
    const Result expected = reference(op(), dtype(), 5);
    with_and_without_cudnn([&] {
        const Result actual = run(op(), dtype(), 5, Place::cuda());
        ASSERT_EQ(actual.outputs.size(), expected.outputs.size());
        for (std::size_t k = 0; k < expected.outputs.size(); ++k)
            EXPECT_LE(relative_error(actual.outputs[k], expected.outputs[k]), bound().forward) << "output " << k;
        for (std::size_t i = 0; i < expected.gradients.size(); ++i)
            EXPECT_LE(relative_error(actual.gradients[i], expected.gradients[i]), bound().gradient)
                << "gradient of " << op().inputs[i].name;
    });
}

TEST_P(CudaOpCase, NoOrderOfThreadsChangesABit) {
    with_and_without_cudnn([&] {
        const Result once = run(op(), dtype(), 6, Place::cuda());
        for (int again = 0; again < 2; ++again) {
            const OtherOrder order(again);
            const Result other = run(op(), dtype(), 6, Place::cuda());
            EXPECT_TRUE(same_bits(once.outputs, other.outputs));
            EXPECT_TRUE(same_bits(once.gradients, other.gradients));
        }
    });
}

TEST_P(CudaOpCase, MetaAllocatesExactlyWhatTheDeviceAllocates) {
    with_and_without_cudnn([&] {
        run(op(), dtype(), 1,
            Place::cuda());   // what is made once and kept, such as the room of products, is there now
        const Footprint device = footprint(op(), dtype(), Place::cuda());
        const Footprint meta = footprint(op(), dtype(), Place::meta(Place::Kind::cuda));
        if (op().memory_by_value) {   // with less of it the moment of the most may be another
            EXPECT_LE(device.total(), meta.total());
        } else {
            for (std::size_t p = 0; p < purpose_count; ++p)
                EXPECT_EQ(device.peak[p], meta.peak[p]) << name_of(static_cast<Purpose>(p));
        }
        EXPECT_EQ(device.left, 0u);
        EXPECT_EQ(meta.left, 0u);
    });
}

INSTANTIATE_TEST_SUITE_P(Table, CudaOpCase, ::testing::ValuesIn(settings({DType::f32, DType::bf16, DType::f16})),
                         setting_name);

}   // namespace
}   // namespace trainer::cases
