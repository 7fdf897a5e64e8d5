// Times every op of tests/support/op_cases.cpp at the shapes of a training step, forward and backward:
//     bench_ops [part of a label] [seconds per measurement] [cpu | cuda]
// GB/s counts activations and outputs, each read or written once (an op that only hands its gradient on moves nothing).
// Ops that multiply matrices have GFLOP/s, of both directions together: some do all their products in forward.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "autograd/cpu/isa.h"
#include "autograd/cpu/rows.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"
#include "tests/support/op_check.h"

namespace trainer::cases {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void wait_for(Place place) {
    if (place.is_cuda()) cuda::wait();
}

struct Timing {
    double forward = 1e30;
    double backward = 1e30;
    std::size_t input_bytes = 0;
    std::size_t output_bytes = 0;
};

// The fastest of the repetitions that fit into `seconds`, at least three.
Timing measure(const Case& op, DType dtype, double seconds, Place place) {
    Prepared prepared(op, dtype, place, 1);
    Timing out;
    for (const Input& input : op.inputs)
        if (!input.parameter) out.input_bytes += static_cast<std::size_t>(input.shape.elements()) * size_of(dtype);
    const auto start = Clock::now();
    for (int repetition = 0; repetition < 3 || seconds_since(start) < seconds; ++repetition) {
        Tape tape;
        const auto before = Clock::now();
        std::vector<Tensor> outputs = prepared.forward(&tape);
        wait_for(place);
        out.forward = std::min(out.forward, seconds_since(before));
        out.output_bytes = 0;
        for (const Tensor& output : outputs) out.output_bytes += output.bytes();
        out.backward = std::min(out.backward, prepared.backward(tape, std::move(outputs)));
        for (const auto& parameter : prepared.world().parameters) parameter->gradient = Tensor();
    }
    return out;
}

void print(const Case& op, DType dtype, const char* direction, double seconds, double amount, const char* unit) {
    std::printf("%-44s %-5s %-9s %10.1f us", op.label.c_str(), std::string(name_of(dtype)).c_str(), direction,
                seconds * 1e6);
    if (amount > 0) std::printf(" %8.1f %s", amount / seconds * 1e-9, unit);
    std::printf("\n");
}

// What memory gives: a copy of 256 MiB, read and written once.
void print_memory_speed(Place place) {
    Tensor in = Tensor::zeros(1 << 26, DType::f32, place);
    Tensor out = Tensor::zeros(1 << 26, DType::f32, place);
    double best = 1e30;
    for (int repetition = 0; repetition < 5; ++repetition) {
        const auto before = Clock::now();
        copy(in, out);
        wait_for(place);
        best = std::min(best, seconds_since(before));
    }
    const std::string machine =
        place.is_cuda() ? cuda::opened_device()->name : format("{} threads, {}", omp_get_max_threads(), isa_name());
    std::printf("%s, copy of 256 MiB: %.1f GB/s\n", machine.c_str(),
                2.0 * static_cast<double>(in.bytes()) / best * 1e-9);
}

void run_all(const std::string& part, double seconds, Place place) {
    print_memory_speed(place);
    for (const Case& op : large_cases()) {
        if (op.label.find(part) == std::string::npos) continue;
        for (DType dtype : {DType::f32, DType::bf16}) {
            const Timing timing = measure(op, dtype, seconds, place);
            const auto in = static_cast<double>(timing.input_bytes);
            const auto out = static_cast<double>(timing.output_bytes);
            const bool products = op.flops > 0;
            print(op, dtype, "forward", timing.forward, products ? 0 : in + out, "GB/s");
            print(op, dtype, "backward", timing.backward, products ? 0 : 2 * in + out, "GB/s");
            if (products) print(op, dtype, "both", timing.forward + timing.backward, 3 * op.flops, "GFLOP/s");
        }
    }
}

}   // namespace
}   // namespace trainer::cases

int main(int count, char** arguments) {
    try {
        const bool on_device = count > 3 && std::string(arguments[3]) == "cuda";
        if (on_device) trainer::cuda::open_device(0);
        trainer::cases::run_all(count > 1 ? arguments[1] : "", count > 2 ? std::atof(arguments[2]) : 0.5,
                                on_device ? trainer::Place::cuda() : trainer::Place::cpu());
    } catch (const trainer::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
