// Stands for cuBLASLt where there is no GPU: the functions that autograd/cuda/gemm.cpp calls, computed by plain loops
// on the emulator's memory, with the checks of arguments that the library makes.
#include <cublasLt.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "autograd/dtype.h"

namespace {

using trainer::bf16;
using trainer::f16;

struct Operation {
    cublasOperation_t transpose_a = CUBLAS_OP_N;
    cublasOperation_t transpose_b = CUBLAS_OP_N;
};
struct Layout {
    cudaDataType type;
    std::uint64_t rows;
    std::uint64_t columns;
    std::int64_t stride;
};
struct Preference {
    std::uint64_t workspace_bytes = 0;
};

template <typename Ours, typename Opaque>
Ours& inside(Opaque* opaque) {
    static_assert(sizeof(Ours) <= sizeof(Opaque));
    return *reinterpret_cast<Ours*>(opaque);
}
template <typename Ours, typename Opaque>
const Ours& inside(const Opaque* opaque) {
    return *reinterpret_cast<const Ours*>(opaque);
}

// Device memory is open while it lives.
struct OpenMemory {
    OpenMemory() { set(true); }
    ~OpenMemory() { set(false); }
    static void set(bool open) {
        static const auto function =
            reinterpret_cast<void (*)(bool)>(::dlsym(RTLD_DEFAULT, "trainer_emulator_open_memory"));
        if (function) function(open);
    }
};

float read(const void* data, cudaDataType type, std::int64_t index) {
    if (type == CUDA_R_16BF) return static_cast<float>(static_cast<const bf16*>(data)[index]);
    if (type == CUDA_R_16F) return static_cast<float>(static_cast<const f16*>(data)[index]);
    return static_cast<const float*>(data)[index];
}

void write(void* data, cudaDataType type, std::int64_t index, float value) {
    if (type == CUDA_R_16BF)
        static_cast<bf16*>(data)[index] = bf16(value);
    else if (type == CUDA_R_16F)
        static_cast<f16*>(data)[index] = f16(value);
    else
        static_cast<float*>(data)[index] = value;
}

// op(matrix) as f32, row by row of the library's view.
std::vector<float> widened(const void* data, const Layout& layout, bool transpose) {
    const auto rows = static_cast<std::int64_t>(layout.rows), columns = static_cast<std::int64_t>(layout.columns);
    std::vector<float> out(static_cast<std::size_t>(rows * columns));
    for (std::int64_t column = 0; column < columns; ++column)
        for (std::int64_t row = 0; row < rows; ++row)
            out[static_cast<std::size_t>(transpose ? column * rows + row : row * columns + column)] =
                read(data, layout.type, column * layout.stride + row);
    return out;
}

bool valid(const Layout& layout) {
    return layout.rows > 0 && layout.columns > 0 && layout.stride >= static_cast<std::int64_t>(layout.rows) &&
           (layout.type == CUDA_R_16BF || layout.type == CUDA_R_16F || layout.type == CUDA_R_32F);
}

}   // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    static int marker;
    *handle = reinterpret_cast<cublasLtHandle_t>(&marker);
    return CUBLAS_STATUS_SUCCESS;
}

std::size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

const char* cublasLtGetStatusString(cublasStatus_t status) {
    return status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS";
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t description, std::size_t size,
                                               cublasComputeType_t compute, cudaDataType_t scale) {
    if (size != sizeof *description || compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
        return CUBLAS_STATUS_INVALID_VALUE;
    inside<Operation>(description) = {};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t size) {
    if (size != sizeof(cublasOperation_t)) return CUBLAS_STATUS_INVALID_VALUE;
    cublasOperation_t operation;
    std::memcpy(&operation, value, sizeof operation);
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA)
        inside<Operation>(description).transpose_a = operation;
    else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB)
        inside<Operation>(description).transpose_b = operation;
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, std::size_t size, cudaDataType type,
                                                 std::uint64_t rows, std::uint64_t columns, std::int64_t stride) {
    if (size != sizeof *layout) return CUBLAS_STATUS_INVALID_VALUE;
    inside<Layout>(layout) = {type, rows, columns, stride};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, std::size_t size) {
    if (size != sizeof *preference) return CUBLAS_STATUS_INVALID_VALUE;
    inside<Preference>(preference) = {};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t size) {
    const bool is_bytes = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    if (size != (is_bytes ? 8 : 4)) return CUBLAS_STATUS_INVALID_VALUE;
    if (is_bytes) std::memcpy(&inside<Preference>(preference).workspace_bytes, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int requested, cublasLtMatmulHeuristicResult_t results[], int* found) {
    *found = 0;
    if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
    for (const cublasLtMatrixLayout_t layout : {a, b, c, d})
        if (!valid(inside<Layout>(layout))) return CUBLAS_STATUS_INVALID_VALUE;
    results[0] = {};
    results[0].workspaceSize = static_cast<std::size_t>(inside<Preference>(preference).workspace_bytes);
    results[0].algo.data[0] = inside<Layout>(c).rows * 1000003 + inside<Layout>(c).columns;   // known again below
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a_data,
                              cublasLtMatrixLayout_t a_layout, const void* b_data, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c_data, cublasLtMatrixLayout_t c_layout, void* d_data,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t) {
    const Operation& operation = inside<Operation>(description);
    const Layout& d = inside<Layout>(d_layout);
    const bool ta = operation.transpose_a == CUBLAS_OP_T, tb = operation.transpose_b == CUBLAS_OP_T;
    const Layout &a_stored = inside<Layout>(a_layout), &b_stored = inside<Layout>(b_layout);
    const std::uint64_t rows = ta ? a_stored.columns : a_stored.rows;
    const std::uint64_t depth = ta ? a_stored.rows : a_stored.columns;
    const std::uint64_t columns = tb ? b_stored.rows : b_stored.columns;
    if (!algorithm || algorithm->data[0] != d.rows * 1000003 + d.columns || !workspace || workspace_bytes == 0 ||
        rows != d.rows || columns != d.columns || (tb ? b_stored.columns : b_stored.rows) != depth ||
        c_data != d_data || std::memcmp(c_layout, d_layout, sizeof(Layout)) != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    const OpenMemory open;
    const std::vector<float> a = widened(a_data, a_stored, ta), b = widened(b_data, b_stored, !tb);   // b: transposed
    const float scale = *static_cast<const float*>(alpha), old = *static_cast<const float*>(beta);
#pragma omp parallel for schedule(static)
    for (std::uint64_t column = 0; column < columns; ++column)
        for (std::uint64_t row = 0; row < rows; ++row) {
            float sum = 0;
            for (std::uint64_t k = 0; k < depth; ++k) sum += a[row * depth + k] * b[column * depth + k];
            const auto at = static_cast<std::int64_t>(column) * d.stride + static_cast<std::int64_t>(row);
            const float before = old == 0 ? 0 : old * read(d_data, d.type, at);
            write(d_data, d.type, at, scale * sum + before);
        }
    return CUBLAS_STATUS_SUCCESS;
}
}
