// A frozen layer with low-rank adapters, by three ways to multiply, forward and backward:
//     bench_lora [8b | small | tiny] [seconds per measurement] [cpu | cuda]
// base: the frozen weight alone. added: what the program does, y = x Wᵀ, then y += (x Aᵀ) Bᵀ, which reads and writes y
// again. joined: [x | x Aᵀ] · [W | B]ᵀ, one product whose depth is longer by 64. Backward likewise: dx = dy W += (dy B)
// A, or [dy | dy B] · [W ; A]. Both contain the narrow products; y and dx of both must agree. The gradients of A and B
// are those of either way and are left out. Exit code 1 when results do not agree.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/cpu/gemm.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"

namespace trainer {
namespace {

using Clock = std::chrono::steady_clock;
using std::int64_t;

constexpr int64_t rank = 16;
constexpr int64_t spare = 64;   // columns and rows beside the weight, for the ranks of all members

struct Layer {
    std::string name;
    int64_t tokens, in;
    std::vector<int64_t> members;   // outputs of each, with an adapter of its own
    int64_t out() const { return std::accumulate(members.begin(), members.end(), int64_t{0}); }
};

std::vector<Layer> layers_of(const std::string& model, int64_t tokens, int64_t hidden, int64_t query, int64_t key,
                             int64_t middle) {
    return {{model + " qkv", tokens, hidden, {query, key, key}},
            {model + " o", tokens, query, {hidden}},
            {model + " gate_up", tokens, hidden, {middle, middle}},
            {model + " down", tokens, middle, {hidden}}};
}

std::vector<Layer> layers(const std::string& size) {
    if (size == "tiny") return layers_of("tiny", 24, 64, 64, 32, 96);
    if (size == "8b") return layers_of("8B", 8192, 4096, 4096, 1024, 14336);
    require(size == "small", Exit::usage, "bench_lora: which models are \"{}\"? known: 8b, small, tiny", size);
    std::vector<Layer> all;
    for (const auto& some : {layers_of("0.5B", 4096, 896, 896, 128, 4864), layers_of("1B", 4096, 2048, 2048, 512, 8192),
                             layers_of("1.5B", 4096, 1536, 1536, 256, 8960)})
        all.insert(all.end(), some.begin(), some.end());
    return all;
}

// bf16 in ±size, by a counter.
Tensor random(Shape shape, float size, Place place) {
    static std::uint64_t seed = 0;
    ++seed;
    Tensor out = Tensor::empty(shape, DType::bf16);
    auto* const to = out.data<bf16>();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < out.elements(); ++i) {
        std::uint64_t bits = (static_cast<std::uint64_t>(i) + (seed << 40)) * 0x9E3779B97F4A7C15u;
        bits = (bits ^ (bits >> 31)) * 0xBF58476D1CE4E5B9u;
        to[i] = bf16(size * (static_cast<float>(bits >> 40) * 0x1p-23f - 1));
    }
    return on_place(out, place);
}

void put(const Tensor& values, Tensor to) { copy(values, to); }

// Everything that one layer needs. Parts of a wider tensor stand for what joined products read in one piece.
struct Bench {
    Layer layer;
    Place place;
    Tensor x, dy, weight;   // (N, in + 64), (N, out + 64), (out + 64, in + 64)
    Tensor y, dx;
    std::vector<Tensor> a, b;   // (r, in), (out, r) of each member

    Bench(const Layer& of, Place where) : layer(of), place(where) {
        const int64_t in = layer.in, out = layer.out(), n = layer.tokens;
        const float usual = 1 / std::sqrt(static_cast<float>(in));
        x = Tensor::zeros({n, in + spare}, DType::bf16, place);
        dy = Tensor::zeros({n, out + spare}, DType::bf16, place);
        weight = Tensor::zeros({out + spare, in + spare}, DType::bf16, place);
        put(random({n, in}, 1, place), x.column_range(0, in));
        put(random({n, out}, 1, place), dy.column_range(0, out));
        put(random({out, in}, usual, place), base());
        int64_t row = 0, column = 0;
        for (const int64_t member : layer.members) {
            a.push_back(random({rank, in}, usual, place));
            b.push_back(random({member, rank}, 0.25f, place));
            put(b.back(), weight.row_range(row, row + member).column_range(in + column, in + column + rank));
            put(a.back(), weight.row_range(out + column, out + column + rank).column_range(0, in));
            row += member;
            column += rank;
        }
        y = Tensor::empty({n, out}, DType::bf16, place);
        dx = Tensor::empty({n, in}, DType::bf16, place);
    }
    Tensor base() const { return weight.row_range(0, layer.out()).column_range(0, layer.in); }
    Tensor plain_x() const { return x.column_range(0, layer.in); }
    Tensor plain_dy() const { return dy.column_range(0, layer.out()); }
    Tensor tail(const Tensor& of, int64_t width) const { return of.column_range(width, width + spare); }

    void base_forward() { product(y, plain_x(), false, base(), true, false); }
    void base_backward() { product(dx, plain_dy(), false, base(), false, false); }

    void added_forward() {
        base_forward();
        each_member([&](std::size_t i, int64_t begin, int64_t end) {
            Tensor hidden = Tensor::empty({layer.tokens, rank}, DType::bf16, place);
            product(hidden, plain_x(), false, a[i], true, false);
            Tensor columns = y.column_range(begin, end);
            product(columns, hidden, false, b[i], true, true);
        });
    }
    void added_backward() {
        base_backward();
        each_member([&](std::size_t i, int64_t begin, int64_t end) {
            Tensor through = Tensor::empty({layer.tokens, rank}, DType::bf16, place);
            product(through, dy.column_range(begin, end), false, b[i], false, false);
            product(dx, through, false, a[i], false, true);
        });
    }
    void joined_forward() {
        Tensor hidden = tail(x, layer.in);   // A of all members lies below W
        product(hidden, plain_x(), false, weight.row_range(layer.out(), layer.out() + spare).column_range(0, layer.in),
                true, false);
        product(y, x, false, weight.row_range(0, layer.out()), true, false);
    }
    void joined_backward() {
        Tensor through = tail(dy, layer.out());   // B of all members, each in its columns, lies beside W
        product(through, plain_dy(), false, weight.row_range(0, layer.out()).column_range(layer.in, layer.in + spare),
                false, false);
        product(dx, dy, false, weight.column_range(0, layer.in), false, false);
    }

private:
    template <typename Member>
    void each_member(Member&& member) {
        int64_t begin = 0;
        for (std::size_t i = 0; i < layer.members.size(); ++i) {
            member(i, begin, begin + layer.members[i]);
            begin += layer.members[i];
        }
    }
};

// The middle of the times of rounds that fit into `seconds`, at least three, after two more; each of some calls in a
// row, so that starting them does not count.
double seconds_of(const std::function<void()>& run, double seconds, Place place) {
    const auto timed = [&](int calls) {
        const auto begin = Clock::now();
        for (int i = 0; i < calls; ++i) run();
        if (place.is_cuda()) cuda::wait();
        return std::chrono::duration<double>(Clock::now() - begin).count() / calls;
    };
    timed(1);
    const int calls = std::clamp(static_cast<int>(0.02 / std::max(timed(1), 1e-9)), 1, 50);
    std::vector<double> times;
    for (double spent = 0; times.size() < 3 || spent < seconds; spent += times.back() * calls)
        times.push_back(timed(calls));
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
}

double difference(const Tensor& a, const Tensor& b) {   // relative, of rows spread over both
    double apart = 0, size = 0;
    for (int64_t row = 0; row < a.rows(); row += std::max<int64_t>(1, a.rows() / 16)) {
        const auto here = converted(on_place(a.row_range(row, row + 1), Place::cpu()), DType::f32).to_vector<float>();
        const auto there = converted(on_place(b.row_range(row, row + 1), Place::cpu()), DType::f32).to_vector<float>();
        for (std::size_t i = 0; i < here.size(); ++i) {
            apart += std::pow(static_cast<double>(here[i]) - there[i], 2);
            size += std::pow(static_cast<double>(there[i]), 2);
        }
    }
    return std::sqrt(apart / size);
}

// Whether both ways agree; prints a line.
bool measure(Bench& bench, bool forward, double seconds) {
    const Tensor& result = forward ? bench.y : bench.dx;
    const auto base = [&] { forward ? bench.base_forward() : bench.base_backward(); };
    const auto added = [&] { forward ? bench.added_forward() : bench.added_backward(); };
    const auto joined = [&] { forward ? bench.joined_forward() : bench.joined_backward(); };
    added();
    Tensor expected = Tensor::empty(result.shape(), DType::bf16, bench.place);
    copy(result, expected);
    joined();
    const double apart = difference(result, expected);
    const double times[] = {seconds_of(base, seconds, bench.place), seconds_of(added, seconds, bench.place),
                            seconds_of(joined, seconds, bench.place)};
    const double flops = 2.0 * static_cast<double>(bench.layer.tokens * bench.layer.in * bench.layer.out());
    std::printf("%-14s %-8s %8.1f %7.1f %10.1f %10.1f %8.3f   %.1e\n", bench.layer.name.c_str(),
                forward ? "forward" : "backward", times[0] * 1e6, flops / times[0] * 1e-12, times[1] * 1e6,
                times[2] * 1e6, times[2] / times[1], apart);
    std::fflush(stdout);
    return apart < 5e-3;   // roundings to bf16: three of one way, one of the other
}

bool run(const std::string& size, double seconds, Place place) {
    std::printf("%s, %s; adapters of rank %d, bf16\n",
                place.is_cuda() ? cuda::opened_device()->name.c_str() : "the CPU",
                place.is_cuda() ? cuda::gemm_library().c_str() : gemm_library().c_str(), static_cast<int>(rank));
    std::printf("%-14s %-8s %8s %7s %10s %10s %8s   apart\n", "layer", "", "base us", "TFLOP/s", "added us",
                "joined us", "ratio");
    bool agree = true;
    for (const Layer& layer : layers(size)) {
        Bench bench(layer, place);
        for (const bool forward : {true, false}) agree = measure(bench, forward, seconds) && agree;
    }
    return agree;
}

}   // namespace
}   // namespace trainer

int main(int count, char** words) {
    using namespace trainer;
    try {
        const bool on_device = count > 3 && std::string(words[3]) == "cuda";
        if (on_device) cuda::open_device(0);
        const bool agree = run(count > 1 ? words[1] : "8b", count > 2 ? std::atof(words[2]) : 0.2,
                               on_device ? Place::cuda() : Place::cpu());
        if (!agree) std::fputs("bench_lora: the two ways do not agree\n", stderr);
        return agree ? 0 : 1;
    } catch (const Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
