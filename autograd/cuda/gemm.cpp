#include "autograd/cuda/gemm.h"

#include <cublasLt.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "autograd/cuda/gemm_choice.h"
#include "autograd/cuda/library.h"
#include "autograd/cuda/runtime.h"
#include "autograd/cuda/timer.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::int64_t;

// The functions of cuBLASLt that are used, and its handle.
struct CublasLt {
    cuda::Library library{"libcublasLt.so.13", "nvidia-cublas"};
    decltype(cublasLtCreate)* create = nullptr;
    decltype(cublasLtGetVersion)* version = nullptr;
    decltype(cublasLtMatmulDescInit_internal)* init_operation = nullptr;
    decltype(cublasLtMatmulDescSetAttribute)* set_operation = nullptr;
    decltype(cublasLtMatrixLayoutInit_internal)* init_layout = nullptr;
    decltype(cublasLtMatmulPreferenceInit_internal)* init_preference = nullptr;
    decltype(cublasLtMatmulPreferenceSetAttribute)* set_preference = nullptr;
    decltype(cublasLtMatmulAlgoGetHeuristic)* heuristic = nullptr;
    decltype(cublasLtMatmul)* matmul = nullptr;
    decltype(cublasLtGetStatusString)* status_text = nullptr;
    cublasLtHandle_t handle = nullptr;

    CublasLt() {
        library.find(create, "cublasLtCreate");
        library.find(version, "cublasLtGetVersion");
        library.find(init_operation, "cublasLtMatmulDescInit_internal");
        library.find(set_operation, "cublasLtMatmulDescSetAttribute");
        library.find(init_layout, "cublasLtMatrixLayoutInit_internal");
        library.find(init_preference, "cublasLtMatmulPreferenceInit_internal");
        library.find(set_preference, "cublasLtMatmulPreferenceSetAttribute");
        library.find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
        library.find(matmul, "cublasLtMatmul");
        library.find(status_text, "cublasLtGetStatusString");
        require_success(create(&handle), "starting");
    }

    void require_success(cublasStatus_t status, const std::string& what) const {
        require(status == CUBLAS_STATUS_SUCCESS, Exit::system, "cuBLASLt failed when {}: {}", what,
                status_text(status));
    }
};

CublasLt& library() {
    static CublasLt* instance = new CublasLt;
    return *instance;
}

cudaDataType_t type_of(DType dtype) {
    return dtype == DType::bf16 ? CUDA_R_16BF : dtype == DType::f16 ? CUDA_R_16F : CUDA_R_32F;
}

int64_t stride_of(const Tensor& tensor) { return tensor.rows() > 1 ? tensor.stride() : tensor.columns(); }

// How far an address is from the next multiple of 256: what an algorithm may rely on is part of its plan.
unsigned alignment_of(const void* address) {
    const auto number = reinterpret_cast<std::uintptr_t>(address);
    unsigned alignment = 256;
    while (number % alignment != 0) alignment /= 2;
    return alignment;
}

// A product as the library sees it: column-major, so that our rows are its columns and c (N, M) = op(b) · op(a).
struct Problem {
    int64_t rows, columns, depth;   // of our c and the sum
    int64_t a_stride, b_stride, c_stride;
    DType in, out;
    bool transpose_a, transpose_b;
    unsigned a_alignment, b_alignment, c_alignment;
    bool bias;
    friend auto operator<=>(const Problem&, const Problem&) = default;

    std::string text() const {
        return format("({}, {}) · ({}, {}) of {} into {}{}", rows, depth, depth, columns, name_of(in), name_of(out),
                      bias ? " with bias" : "");
    }
    // All of it, in one line.
    std::string key() const {
        return format("{}x{}x{}{}{}{} {} {} strides {} {} {} alignment {} {} {}", rows, columns, depth,
                      transpose_a ? " a^T" : "", transpose_b ? " b^T" : "", bias ? " bias" : "", name_of(in),
                      name_of(out), a_stride, b_stride, c_stride, a_alignment, b_alignment, c_alignment);
    }
};

// Descriptors and the algorithm, made once a problem.
struct Plan {
    cublasLtMatmulDescOpaque_t operation{};
    cublasLtMatrixLayoutOpaque_t a{}, b{}, c{};
    cublasLtMatmulAlgo_t algorithm{};
};

void set_layout(cublasLtMatrixLayoutOpaque_t& layout, DType dtype, int64_t stored_rows, int64_t stored_columns,
                int64_t stride) {
    library().require_success(
        library().init_layout(&layout, sizeof layout, type_of(dtype), static_cast<std::uint64_t>(stored_columns),
                              static_cast<std::uint64_t>(stored_rows), stride),
        "a matrix was described");
}

cuda::GemmOptions& options() {
    static auto* instance = new cuda::GemmOptions;
    return *instance;
}

int trials_left = cuda::gemm_trials;

std::map<Problem, Plan>& plans() {
    static auto* instance = new std::map<Problem, Plan>;
    return *instance;
}

cublasComputeType_t compute_of(DType in) {
    return options().tf32 && in == DType::f32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

void set_operation(Plan& plan, cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    library().require_success(library().set_operation(&plan.operation, attribute, &value, sizeof value),
                              "a product was described");
}

void describe(Plan& plan, const Problem& problem, const Tensor& bias) {
    CublasLt& lt = library();
    lt.require_success(lt.init_operation(&plan.operation, sizeof plan.operation, compute_of(problem.in), CUDA_R_32F),
                       problem.text() + " was described");
    const bool ta = problem.transpose_a, tb = problem.transpose_b;
    set_operation(plan, CUBLASLT_MATMUL_DESC_TRANSA, tb ? CUBLAS_OP_T : CUBLAS_OP_N);
    set_operation(plan, CUBLASLT_MATMUL_DESC_TRANSB, ta ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (problem.bias) {   // of c's type unless something else is said
        set_operation(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set_operation(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.raw()));
    }
    set_layout(plan.a, problem.in, tb ? problem.columns : problem.depth, tb ? problem.depth : problem.columns,
               problem.b_stride);
    set_layout(plan.b, problem.in, ta ? problem.depth : problem.rows, ta ? problem.rows : problem.depth,
               problem.a_stride);
    set_layout(plan.c, problem.out, problem.rows, problem.columns, problem.c_stride);
}

// What the library proposes, best first; at least one.
std::vector<cublasLtMatmulHeuristicResult_t> proposals(Plan& plan, const Problem& problem, int most) {
    CublasLt& lt = library();
    cublasLtMatmulPreferenceOpaque_t preference{};
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
        lt.require_success(lt.set_preference(&preference, attribute, &value, sizeof value), "preferences were set");
    };
    lt.require_success(lt.init_preference(&preference, sizeof preference), "preferences were made");
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, cuda::gemm_workspace_bytes);
    // Parts of a long sum are added in f32, in a workspace and in their order; never in the type of the result.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.b_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.a_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.c_alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.c_alignment);
    std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(most));
    int found = 0;
    lt.require_success(lt.heuristic(lt.handle, &plan.operation, &plan.a, &plan.b, &plan.c, &plan.c, &preference, most,
                                    results.data(), &found),
                       "an algorithm for " + problem.text() + " was looked for");
    results.resize(static_cast<std::size_t>(found));
    std::erase_if(results, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
    require(!results.empty(), Exit::system, "cuBLASLt has no algorithm for {}", problem.text());
    return results;
}

// One for all products: they run one after the other.
const Tensor& workspace() {
    static Tensor* room = nullptr;
    if (!room) {
        const PurposeScope purpose(Purpose::workspace);
        room = new Tensor(Tensor::empty(static_cast<int64_t>(cuda::gemm_workspace_bytes), DType::u8, Place::cuda()));
    }
    return *room;
}

// Where a product's numbers are.
struct Operands {
    const Tensor &a, &b;
    void* c;
};

cublasStatus_t multiply(Plan& plan, const Operands& operands, const cublasLtMatmulAlgo_t& algorithm, float scale,
                        float old) {
    return library().matmul(library().handle, &plan.operation, &scale, operands.b.raw(), &plan.a, operands.a.raw(),
                            &plan.b, &old, operands.c, &plan.c, operands.c, &plan.c, &algorithm, workspace().raw(),
                            cuda::gemm_workspace_bytes, static_cast<cudaStream_t>(cuda::stream()));
}

// The fastest proposal on these very numbers, written to memory of its own, which lies outside the plan: where there is
// none, the first.
int tried(Plan& plan, const Problem& problem, Operands operands,
          const std::vector<cublasLtMatmulHeuristicResult_t>& results) {
    const std::size_t bytes =
        static_cast<std::size_t>((problem.rows - 1) * problem.c_stride + problem.columns) * size_of(problem.out);
    operands.c = cuda::allocate(bytes);
    if (!operands.c) return 0;
    const int best = cuda::fastest(static_cast<int>(results.size()), [&](int i) {
        return multiply(plan, operands, results[static_cast<std::size_t>(i)].algo, 1, 0) == CUBLAS_STATUS_SUCCESS;
    });
    cuda::release(operands.c);
    return std::max(best, 0);
}

int choice_for(Plan& plan, const Problem& problem, const Operands& operands,
               const std::vector<cublasLtMatmulHeuristicResult_t>& results) {
    if (!options().timed || results.size() < 2) return 0;
    const std::string key = problem.key() + (compute_of(problem.in) == CUBLAS_COMPUTE_32F ? "" : " tf32");
    const auto known = options().choices.find(key);
    const auto count = static_cast<int>(results.size());
    if (known != options().choices.end() && known->second >= 0 && known->second < count) return known->second;
    if (trials_left == 0 || !cuda::Timer::usable()) return 0;
    --trials_left;
    const int choice = tried(plan, problem, operands, results);
    options().choices[key] = choice;
    if (options().chosen) options().chosen(key, choice);
    return choice;
}

Plan& plan_for(const Problem& problem, const Operands& operands, const Tensor& bias) {
    const auto found = plans().find(problem);
    if (found != plans().end()) return found->second;
    constexpr int most = 16;
    Plan plan;
    describe(plan, problem, bias);
    const auto results = proposals(plan, problem, options().timed ? most : 1);
    plan.algorithm = results[static_cast<std::size_t>(choice_for(plan, problem, operands, results))].algo;
    return plans().emplace(problem, plan).first->second;
}

}   // namespace

void gemm(Cuda place, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate,
          float scale, const Tensor& bias) {
    const int64_t depth = transpose_a ? a.rows() : a.columns();
    const int64_t a_rows = transpose_a ? a.columns() : a.rows();
    const int64_t b_depth = transpose_b ? b.columns() : b.rows(), b_columns = transpose_b ? b.rows() : b.columns();
    check(c.rows() == a_rows && c.columns() == b_columns && depth == b_depth && a.dtype() == b.dtype(),
          "gemm: {} {} · {} {} into {}", name_of(a.dtype()), a.shape().text(), name_of(b.dtype()), b.shape().text(),
          c.shape().text());
    check(!bias.defined() || (bias.elements() == c.columns() && bias.dtype() == c.dtype() && !accumulate && depth > 0),
          "gemm: a bias of {} {} for {} {}", bias.defined() ? name_of(bias.dtype()) : "", bias.shape().text(),
          name_of(c.dtype()), c.shape().text());
    static_cast<void>(place);
    if (c.elements() == 0) return;
    if (depth == 0) {
        if (!accumulate)
            for (int64_t row = 0; row < c.rows(); ++row)
                cuda::fill(c.row_range(row, row + 1).raw(), 0,
                           static_cast<std::size_t>(c.columns()) * size_of(c.dtype()));
        return;
    }
    const Problem problem{c.rows(),
                          c.columns(),
                          depth,
                          stride_of(a),
                          stride_of(b),
                          stride_of(c),
                          a.dtype(),
                          c.dtype(),
                          transpose_a,
                          transpose_b,
                          alignment_of(a.raw()),
                          alignment_of(b.raw()),
                          alignment_of(c.raw()),
                          bias.defined()};
    const Operands operands{a, b, c.raw()};
    Plan& plan = plan_for(problem, operands, bias);
    if (bias.defined())   // the plan is that of all layers of the shape
        set_operation(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(bias.raw()));
    library().require_success(multiply(plan, operands, plan.algorithm, scale, accumulate ? 1.0f : 0.0f), "multiplying");
}

void cuda::set_gemm_options(GemmOptions wanted) {
    plans().clear();
    options() = std::move(wanted);
    trials_left = gemm_trials;
}

std::string cuda::gemm_library() {
    const std::size_t version = library().version();
    return format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string cuda::gemm_numerics() {
    return gemm_library() + (options().tf32 ? ", f32 products in tf32" : "") +
           (options().timed ? ", algorithms chosen by time" : "");
}

}   // namespace trainer
