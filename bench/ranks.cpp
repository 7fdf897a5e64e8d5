// The sum of gradients over ranks, strict (trainer/gradient_sum.h) beside the library's all-reduce, in one run:
//     mpirun -np 4 build/release/bench_ranks
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "comm/collective.h"
#include "comm/open.h"
#include "trainer/gradient_sum.h"

namespace trainer {
namespace {

constexpr int rounds = 9;

double seconds_of(Communicator& ranks, const std::function<void()>& work) {
    ranks.barrier();
    const auto begin = std::chrono::steady_clock::now();
    work();
    ranks.barrier();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void compare(Communicator& ranks, std::int64_t elements) {
    ParameterSet set;
    Parameter& parameter = set.declare("w", Shape(elements));
    parameter.value = Tensor::zeros(Shape(elements), DType::f32);
    const auto path = make_host_path(ranks, Place::cpu());
    const auto strict = make_gradient_sum({{&parameter}}, *path, Determinism::strict, Sharding::none);
    std::vector<double> ours, theirs;
    for (int round = 0; round < rounds; ++round) {
        parameter.gradient = Tensor::zeros(Shape(elements), DType::f32);
        parameter.gradient.data<float>()[0] = static_cast<float>(ranks.rank());
        strict->begin(ranks.size());
        ours.push_back(seconds_of(ranks, [&] {
            strict->add_leaf();
            strict->finish();
        }));
        const std::span<float> values(parameter.gradient.data<float>(), static_cast<std::size_t>(elements));
        theirs.push_back(seconds_of(ranks, [&] { ranks.all_reduce(values); }));
        strict->forget_gradients();
    }
    if (ranks.rank() == 0)
        std::printf("%d ranks, %.1f M floats: strict %.1f ms, all-reduce %.1f ms, ratio %.2f\n", ranks.size(),
                    static_cast<double>(elements) / 1e6, 1e3 * median(ours), 1e3 * median(theirs),
                    median(ours) / median(theirs));
}

}   // namespace
}   // namespace trainer

int main() {
    using namespace trainer;
    const auto ranks = open_communicator([](int code, const std::string&) { std::_Exit(code); });
    for (const std::int64_t elements : {std::int64_t{1} << 20, std::int64_t{1} << 22, std::int64_t{1} << 24})
        compare(*ranks, elements);
}
