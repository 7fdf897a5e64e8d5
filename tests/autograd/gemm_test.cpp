#include "autograd/cpu/gemm.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>

#include "autograd/cpu/isa.h"
#include "configs/error.h"

namespace trainer {
namespace {

struct Case {
    std::int64_t rows, columns, depth;
    bool transpose_a = false, transpose_b = false, accumulate = false;
    DType in = DType::f32, out = DType::f32;
    std::int64_t padding = 0;   // extra columns of every stored row, so that rows are strided

    std::string text() const {
        return "(" + std::to_string(rows) + ", " + std::to_string(depth) + ") (" + std::to_string(depth) + ", " +
               std::to_string(columns) + ") " + (transpose_a ? "at " : "") + (transpose_b ? "bt " : "") +
               (accumulate ? "accumulate " : "") + std::string(name_of(in)) + " to " + std::string(name_of(out)) +
               " padding " + std::to_string(padding);
    }
};

// A strided view into a wider tensor of normal numbers.
Tensor random_matrix(std::mt19937& random, std::int64_t rows, std::int64_t columns, DType dtype, std::int64_t padding) {
    std::normal_distribution<float> normal;
    const Shape shape(rows, columns + padding);
    Tensor wide = Tensor::empty(shape, dtype);
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
        if (dtype == DType::f32) {
            wide.data<float>()[i] = normal(random);
        } else {
            wide.data<bf16>()[i] = bf16(normal(random));
        }
    }
    return wide.column_range(padding / 2, padding / 2 + columns);
}

std::vector<double> doubles(const Tensor& tensor) {
    std::vector<double> out;
    if (tensor.dtype() == DType::f32) {
        for (const float value : tensor.to_vector<float>()) out.push_back(value);
    } else {
        for (const bf16 value : tensor.to_vector<bf16>()) out.push_back(static_cast<float>(value));
    }
    return out;
}

struct Operands {
    Tensor a, b, c;
    explicit Operands(const Case& test, unsigned seed = 7) {
        std::mt19937 random(seed);
        a = test.transpose_a ? random_matrix(random, test.depth, test.rows, test.in, test.padding)
                             : random_matrix(random, test.rows, test.depth, test.in, test.padding);
        b = test.transpose_b ? random_matrix(random, test.columns, test.depth, test.in, test.padding)
                             : random_matrix(random, test.depth, test.columns, test.in, test.padding);
        c = random_matrix(random, test.rows, test.columns, test.out, test.padding);
    }
};

std::vector<double> exact_product(const Case& test, const Operands& operands) {
    const std::vector<double> a = doubles(operands.a), b = doubles(operands.b);
    std::vector<double> c = doubles(operands.c);
    for (std::int64_t i = 0; i < test.rows; ++i)
        for (std::int64_t j = 0; j < test.columns; ++j) {
            double sum = test.accumulate ? c[static_cast<std::size_t>(i * test.columns + j)] : 0;
            for (std::int64_t k = 0; k < test.depth; ++k)
                sum += a[static_cast<std::size_t>(test.transpose_a ? k * test.rows + i : i * test.depth + k)] *
                       b[static_cast<std::size_t>(test.transpose_b ? j * test.depth + k : k * test.columns + j)];
            c[static_cast<std::size_t>(i * test.columns + j)] = sum;
        }
    return c;
}

double relative_error(const std::vector<double>& found, const std::vector<double>& expected) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        difference += (found[i] - expected[i]) * (found[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return std::sqrt(difference / (norm + 1e-300));
}

// What lies between the rows of the view must stay untouched.
void expect_padding_kept(const Tensor& before, const Tensor& after, const Case& test) {
    if (test.padding == 0) return;
    const std::int64_t width = test.columns + test.padding, left = test.padding / 2;
    const auto* old_bytes = static_cast<const std::byte*>(before.raw());
    const auto* new_bytes = static_cast<const std::byte*>(after.raw());
    const std::size_t size = size_of(test.out);
    for (std::int64_t row = 0; row + 1 < test.rows; ++row) {
        const auto gap = static_cast<std::size_t>(row * width + test.columns) * size;
        EXPECT_EQ(std::memcmp(old_bytes + gap, new_bytes + gap, static_cast<std::size_t>(width - test.columns) * size),
                  0)
            << test.text() << " left " << left;
    }
}

void expect_exact(const Case& test) {
    // One rounding to bf16 errs by 2^-8 at most; its mean over many elements is lower.
    const double rounded = test.rows * test.columns < 1000 ? 0x1p-8 : 2.5e-3;
    const double bound = test.out == DType::f32 ? 1e-5 : rounded;
    Operands fast(test), slow(test), before(test);
    const std::vector<double> expected = exact_product(test, fast);
    gemm(Cpu{}, fast.c, fast.a, test.transpose_a, fast.b, test.transpose_b, test.accumulate);
    gemm_reference(slow.c, slow.a, test.transpose_a, slow.b, test.transpose_b, test.accumulate);
    EXPECT_LT(relative_error(doubles(fast.c), expected), bound) << test.text();
    EXPECT_LT(relative_error(doubles(slow.c), expected), bound) << test.text();
    expect_padding_kept(before.c, fast.c, test);
}

TEST(Gemm, AgreesWithFloat64OnOddShapes) {
    std::mt19937 random(3);
    const std::int64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 64, 100, 255, 257};
    for (int i = 0; i < 400; ++i) {
        const auto size = [&] { return sizes[random() % std::size(sizes)]; };
        const auto coin = [&] { return random() % 2 == 1; };
        const auto dtype = [&] { return coin() ? DType::f32 : DType::bf16; };
        expect_exact({size(), size(), size(), coin(), coin(), coin(), dtype(), dtype(),
                      coin() ? 0 : static_cast<std::int64_t>(random() % 9)});
    }
}

TEST(Gemm, AgreesWithFloat64OnLargeShapes) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        expect_exact({1000, 255, 1000, false, true, false, dtype, dtype, 3});
        expect_exact({300, 1000, 17, false, false, true, dtype, dtype, 0});
        expect_exact({16, 576, 2048, true, false, false, dtype, DType::f32, 0});
        expect_exact({576, 16, 2048, true, false, true, dtype, DType::f32, 0});
        expect_exact({1, 1000, 576, false, true, false, dtype, dtype, 0});
        expect_exact({2, 1000, 575, false, true, true, dtype, DType::f32, 1});
    }
}

TEST(Gemm, EmptySumsAreZeroOrKept) {
    Tensor a = Tensor::empty({3, 0}, DType::f32), b = Tensor::empty({0, 2}, DType::f32);
    const float ones[] = {1, 1, 1, 1, 1, 1};
    Tensor c = Tensor::from<float>(ones, {3, 2});
    gemm(Cpu{}, c, a, false, b, false, true);
    EXPECT_EQ(c.to_vector<float>(), std::vector<float>(6, 1.0f));
    gemm(Cpu{}, c, a, false, b, false, false);
    EXPECT_EQ(c.to_vector<float>(), std::vector<float>(6, 0.0f));
    Tensor nothing = Tensor::empty({0, 2}, DType::f32), no_rows = Tensor::empty({0, 3}, DType::f32);
    Tensor wide = Tensor::zeros({3, 2}, DType::f32);
    gemm(Cpu{}, nothing, no_rows, false, wide, false, false);
}

TEST(Gemm, UnwrittenResultsAreNotRead) {
    poison_new_memory(true);
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const Case test{70, 90, 33, false, true, false, dtype, dtype};
        const Operands operands(test);
        Tensor c = Tensor::empty({70, 90}, dtype);
        gemm(Cpu{}, c, operands.a, false, operands.b, true, false);
        for (const double value : doubles(c)) EXPECT_TRUE(std::isfinite(value));
    }
    poison_new_memory(false);
}

TEST(Gemm, ThreadsChangeNoBit) {
    const int before = omp_get_max_threads();
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const Case& test : {
                 Case{513, 960, 576, false, true, false, dtype, dtype},         // forward
                 Case{512, 576, 960, false, false, true, dtype, dtype},         // gradient of x
                 Case{128, 3000, 576, false, true, false, dtype, DType::f32},   // logits
                 Case{64, 576, 5000, false, false, false, dtype, DType::f32},   // their gradient
                 Case{960, 576, 513, true, false, false, dtype, DType::f32},    // gradient of W
                 Case{700, 16, 576, false, true, false, dtype, dtype},          // LoRA down
                 Case{700, 576, 16, false, true, true, dtype, dtype},           // LoRA up
                 Case{16, 576, 4096, true, false, false, dtype, DType::f32},    // gradient of A
                 Case{576, 16, 4096, true, false, false, dtype, DType::f32},    // gradient of B
                 Case{8, 3, 8192, true, false, true, dtype, DType::f32},
                 Case{1, 1000, 576, false, true, false, dtype, dtype},   // generation
                 Case{3, 1000, 577, false, true, false, dtype, dtype},
             }) {
            std::vector<double> expected;
            for (const int threads : {1, 2, 3, 5, 16}) {
                omp_set_num_threads(threads);
                Operands operands(test);
                gemm(Cpu{}, operands.c, operands.a, test.transpose_a, operands.b, test.transpose_b, test.accumulate);
                if (threads == 1) expected = doubles(operands.c);
                EXPECT_EQ(doubles(operands.c), expected) << test.text() << " with " << threads << " threads";
            }
        }
    omp_set_num_threads(before);
}

#if !defined(TRAINER_WITHOUT_ONEDNN) && !defined(__SANITIZE_ADDRESS__)   // the one has no buffers, the other no limit
// The bf16 tiles of the older instruction sets are widened in buffers of each thread, which a process near its limit
// does not get.
[[noreturn]] void multiply_out_of_memory() {
    force_isa(Isa::v2);
    const Case test{512, 512, 1 << 16, false, true, true, DType::bf16, DType::bf16};
    Tensor a = Tensor::zeros({test.rows, test.depth}, DType::bf16), c = Tensor::zeros({512, 512}, DType::bf16);
    omp_set_num_threads(2);
    Tensor small = a.row_range(0, 256).column_range(0, 64), out = Tensor::zeros({256, 256}, DType::bf16);
    gemm(Cpu{}, out, small, false, small, true, false);   // threads, library
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t limit = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (8 << 20);
    const rlimit near{limit, limit};
    setrlimit(RLIMIT_AS, &near);
    try {
        gemm(Cpu{}, c, a, false, a, true, true);
    } catch (const Error& error) {
        std::_Exit(static_cast<int>(error.code()));
    } catch (...) {
        std::_Exit(1);
    }
    std::_Exit(0);
}

// The numerics fingerprint is made of it.
TEST(Gemm, TheLibraryIsNamedWithoutHoles) {
    const std::string name = gemm_library();
    EXPECT_FALSE(name.empty());
    EXPECT_EQ(name.find_first_of("{}"), std::string::npos) << name;
}

TEST(GemmDeathTest, OutOfMemoryIsAnErrorOnEveryThread) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(multiply_out_of_memory(), ::testing::ExitedWithCode(static_cast<int>(Exit::out_of_memory)), "");
}
#endif

TEST(Gemm, RefusesWhatDoesNotFit) {
    Tensor a = Tensor::zeros({2, 3}, DType::f32), b = Tensor::zeros({4, 5}, DType::f32);
    Tensor c = Tensor::zeros({2, 5}, DType::f32);
    EXPECT_ANY_THROW(gemm(Cpu{}, c, a, false, b, false, false));
    Tensor half = Tensor::zeros({3, 5}, DType::bf16);
    EXPECT_ANY_THROW(gemm(Cpu{}, c, a, false, half, false, false));
}

// Runs its body while a handler is called every 100 µs on the stack of the thread that works.
class Interrupted {
public:
    Interrupted() : threads_(omp_get_max_threads()) {
        omp_set_num_threads(1);   // those of a program take no signals
        struct sigaction action {};
        action.sa_handler = [](int) { calls = calls + 1; };
        action.sa_flags = SA_RESTART;
        sigaction(SIGALRM, &action, &before_);
        calls = 0;
        set(100);
    }
    ~Interrupted() {
        set(0);
        sigaction(SIGALRM, &before_, nullptr);
        omp_set_num_threads(threads_);
    }
    static inline volatile int calls = 0;

private:
    static void set(int microseconds) {
        const itimerval every{{0, microseconds}, {0, microseconds}};
        setitimer(ITIMER_REAL, &every, nullptr);
    }
    int threads_;
    struct sigaction before_ {};
};

TEST(Gemm, SignalsDoNotDisturbIt) {
    for (const auto& [rows, columns, depth] : {std::array{37, 96, 64}, {64, 256, 96}, {300, 33, 1200}}) {
        std::vector<float> ramp(static_cast<std::size_t>(std::max({rows * depth, depth * columns})));
        std::iota(ramp.begin(), ramp.end(), -50.0f);
        const Tensor a =
            Tensor::from<float>(std::span(ramp).first(static_cast<std::size_t>(rows * depth)), {rows, depth});
        const Tensor b =
            Tensor::from<float>(std::span(ramp).first(static_cast<std::size_t>(depth * columns)), {depth, columns});
        Tensor expected = Tensor::empty({rows, columns}, DType::f32);
        Tensor c = Tensor::empty({rows, columns}, DType::f32);
        gemm(Cpu{}, expected, a, false, b, false, false);
        const Interrupted interrupted;
        for (int i = 0; i < 400 || Interrupted::calls < 200; ++i) {
            gemm(Cpu{}, c, a, false, b, false, false);
            ASSERT_EQ(c.to_vector<float>(), expected.to_vector<float>());
        }
    }
}

// Where the library makes code; a sanitizer ends the program when memory cannot be had.
#if !defined(TRAINER_WITHOUT_ONEDNN) && !defined(__SANITIZE_ADDRESS__)
// Bytes of code that was made while the program runs.
std::size_t generated_code() {
    std::ifstream maps("/proc/self/maps");
    std::size_t bytes = 0;
    for (std::string line; std::getline(maps, line);) {
        std::size_t begin = 0, end = 0;
        std::array<char, 5> rights{};
        const int read = std::sscanf(line.c_str(), "%zx-%zx %4s", &begin, &end, rights.data());
        if (read == 3 && rights[2] == 'x' && line.find('/') == std::string::npos) bytes += end - begin;
    }
    return bytes;
}

// When the pool has no more memory to give, code goes that only other threads still hold.
TEST(Gemm, CodeOfOtherThreadsIsLetGo) {
    const int threads = omp_get_max_threads();
    omp_set_num_threads(2);
    std::mt19937 random(1);
    const auto multiply = [&](std::int64_t size) {
        const Tensor a = random_matrix(random, size, size, DType::f32, 0);
        Tensor c = Tensor::empty({size, size}, DType::f32);
        gemm(Cpu{}, c, a, false, a, false, false);
    };
    const auto ask_for_too_much = [] { EXPECT_THROW(Tensor::empty(std::int64_t{1} << 50, DType::u8), Error); };
    multiply(90);
    ask_for_too_much();
    const std::size_t before = generated_code();
#pragma omp parallel
    if (omp_get_thread_num() == 1)
        for (std::int64_t size = 40; size < 80; ++size) multiply(size);
    const std::size_t made = generated_code();
    ask_for_too_much();
    EXPECT_GT(made, before + (100u << 10));
    EXPECT_LE(generated_code(), before + (made - before) / 4);
    omp_set_num_threads(threads);
}
#endif

}   // namespace
}   // namespace trainer
