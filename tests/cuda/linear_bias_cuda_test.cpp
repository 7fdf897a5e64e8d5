// A layer's bias on the device: added by the product where it can be, and in a pass of its own elsewhere.
#include <gtest/gtest.h>

#include "autograd/cuda/runtime.h"
#include "models/group.h"
#include "tests/cuda/device.h"
#include "tests/models/random_values.h"

namespace trainer {
namespace {

using test::layout_of;
using test::random_tensor;
using test::relative_error;

struct Members {
    bool first_biased, second_biased, trainable;
};

Tensor output(const Members& members, DType dtype, Place place) {
    Declarations model;
    LinearGroup group{
        Scope(model) / "layer", 48, {{"one", 24, members.first_biased}, {"two", 40, members.second_biased}}};
    for (const auto& parameter : model.parameters.all())
        parameter->trainable = members.trainable && parameter->name.ends_with("bias");
    group.prepare(place, dtype);
    unsigned seed = 1;
    for (const auto& parameter : model.parameters.all()) {
        const Tensor values = converted(random_tensor(parameter->shape, seed++), DType::bf16);   // f32 has them too
        Tensor to = parameter->value;
        copy(on_place(converted(values, to.dtype()), place), to);
        parameter->changed();
    }
    const Layout layout = on_place(layout_of({5, 2}), place);
    const Tensor x = on_place(converted(random_tensor({7, 48}, 30), dtype), place);
    return on_place(group(x, {layout, true, true, Recompute::none}), Place::cpu());
}

// Whether a kernel of ours ran since the last call, which only the emulator tells: what adds a bias is the only one.
bool kernel_ran() {
#ifdef TRAINER_EMULATED
    return !emulator::launched().empty();
#else
    return false;
#endif
}

TEST(CudaLinearBias, IsTheCpus) {
    if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    for (const Members& members : {Members{true, true, false}, Members{true, false, false}, Members{false, true, false},
                                   Members{true, true, true}})
        for (const DType dtype : {DType::f32, DType::bf16}) {
            SCOPED_TRACE(std::to_string(members.first_biased) + std::to_string(members.second_biased) +
                         std::to_string(members.trainable) + " " + std::string(name_of(dtype)));
            const Tensor expected = output(members, DType::f32, Place::cpu());
            kernel_ran();
            const Tensor found = output(members, dtype, Place::cuda());
            [[maybe_unused]] const bool apart = !(members.first_biased && members.second_biased) || members.trainable;
#ifdef TRAINER_EMULATED
            EXPECT_EQ(kernel_ran(), apart);
#endif
            // One rounding to bf16 of x and one of the sum; a bias that is added afterwards is a third.
            EXPECT_LT(relative_error(converted(found, DType::f32), expected), dtype == DType::f32 ? 1e-5 : 4e-3);
        }
}

}   // namespace
}   // namespace trainer
