#include "autograd/cuda/gemm.h"

#include <cublasLt.h>

#include <map>
#include <tuple>

#include "autograd/cuda/library.h"
#include "autograd/cuda/runtime.h"
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
    friend auto operator<=>(const Problem&, const Problem&) = default;
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

Plan make_plan(const Problem& problem) {
    CublasLt& lt = library();
    const std::string text = format("({}, {}) · ({}, {}) of {} into {}", problem.rows, problem.depth, problem.depth,
                                    problem.columns, name_of(problem.in), name_of(problem.out));
    Plan plan;
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
        lt.require_success(lt.set_operation(&plan.operation, attribute, &value, sizeof value), text + " was described");
    };
    lt.require_success(lt.init_operation(&plan.operation, sizeof plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                       text + " was described");
    set(CUBLASLT_MATMUL_DESC_TRANSA, problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    const bool ta = problem.transpose_a, tb = problem.transpose_b;
    set_layout(plan.a, problem.in, tb ? problem.columns : problem.depth, tb ? problem.depth : problem.columns,
               problem.b_stride);
    set_layout(plan.b, problem.in, ta ? problem.depth : problem.rows, ta ? problem.rows : problem.depth,
               problem.a_stride);
    set_layout(plan.c, problem.out, problem.rows, problem.columns, problem.c_stride);

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
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    lt.require_success(
        lt.heuristic(lt.handle, &plan.operation, &plan.a, &plan.b, &plan.c, &plan.c, &preference, 1, &best, &found),
        "an algorithm for " + text + " was looked for");
    require(found > 0, Exit::system, "cuBLASLt has no algorithm for {}", text);
    plan.algorithm = best.algo;
    return plan;
}

Plan& plan_for(const Problem& problem) {
    static std::map<Problem, Plan>* plans = new std::map<Problem, Plan>;
    const auto found = plans->find(problem);
    return found != plans->end() ? found->second : plans->emplace(problem, make_plan(problem)).first->second;
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

}   // namespace

void gemm(Cuda place, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate,
          float scale) {
    const int64_t depth = transpose_a ? a.rows() : a.columns();
    const int64_t a_rows = transpose_a ? a.columns() : a.rows();
    const int64_t b_depth = transpose_b ? b.columns() : b.rows(), b_columns = transpose_b ? b.rows() : b.columns();
    check(c.rows() == a_rows && c.columns() == b_columns && depth == b_depth && a.dtype() == b.dtype(),
          "gemm: {} {} · {} {} into {}", name_of(a.dtype()), a.shape().text(), name_of(b.dtype()), b.shape().text(),
          c.shape().text());
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
                          alignment_of(c.raw())};
    Plan& plan = plan_for(problem);
    const float old = accumulate ? 1.0f : 0.0f;
    CublasLt& lt = library();
    lt.require_success(lt.matmul(lt.handle, &plan.operation, &scale, b.raw(), &plan.a, a.raw(), &plan.b, &old, c.raw(),
                                 &plan.c, c.raw(), &plan.c, &plan.algorithm, workspace().raw(),
                                 cuda::gemm_workspace_bytes, static_cast<cudaStream_t>(cuda::stream())),
                       "multiplying");
}

std::string cuda::gemm_library() {
    const std::size_t version = library().version();
    return format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}   // namespace trainer
