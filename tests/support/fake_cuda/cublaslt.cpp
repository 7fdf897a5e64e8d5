// Stands for cuBLASLt where there is no GPU: the functions that autograd/cuda/gemm.cpp calls, computed by plain loops
// on the emulator's memory, with the checks of arguments that the library makes. Asked for several algorithms it
// proposes three: one that is slow, one that fails, and one that adds in another order.
#include <cublasLt.h>
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "autograd/dtype.h"

namespace {

using trainer::bf16;
using trainer::f16;

struct Operation {
    cublasOperation_t transpose_a = CUBLAS_OP_N;
    cublasOperation_t transpose_b = CUBLAS_OP_N;
    cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void* bias = nullptr;
};
struct Layout {
    cudaDataType type;
    std::uint64_t rows;
    std::uint64_t columns;
    std::int64_t stride;
};
// What the caller promises that addresses are multiples of.
struct Alignments {
    std::uint32_t a = 256, b = 256, c = 256, d = 256;
};
struct Preference {
    std::uint64_t workspace_bytes = 0;
    Alignments alignments;
};
enum class Way : std::uint32_t { plain, slow, failing, backwards };
struct Algorithm {
    std::uint64_t problem;   // known again when it is used
    std::uint64_t workspace_bytes;
    Alignments alignments;
    Way way;
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

// 10 bits of fraction, to nearest.
float tf32(float value) { return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x1000u) & 0xFFFFE000u); }

bool aligned(const void* address, std::uint32_t to) { return reinterpret_cast<std::uintptr_t>(address) % to == 0; }

std::uint64_t problem_of(const Layout& c) { return c.rows * 1000003 + c.columns; }

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
    if (size != sizeof *description || scale != CUDA_R_32F ||
        (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32))
        return CUBLAS_STATUS_INVALID_VALUE;
    inside<Operation>(description) = {};
    inside<Operation>(description).compute = compute;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t size) {
    Operation& operation = inside<Operation>(description);
    const auto set = [&](auto& field) {
        if (size != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
        std::memcpy(&field, value, size);
        return CUBLAS_STATUS_SUCCESS;
    };
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA:
            return set(operation.transpose_a);
        case CUBLASLT_MATMUL_DESC_TRANSB:
            return set(operation.transpose_b);
        case CUBLASLT_MATMUL_DESC_EPILOGUE:
            return set(operation.epilogue);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
            return set(operation.bias);
        default:
            return CUBLAS_STATUS_INVALID_VALUE;
    }
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
    const auto set = [&](auto& field) {
        if (size != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
        std::memcpy(&field, value, size);
        return CUBLAS_STATUS_SUCCESS;
    };
    Preference& wanted = inside<Preference>(preference);
    switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            return set(wanted.workspace_bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
            return set(wanted.alignments.a);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
            return set(wanted.alignments.b);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
            return set(wanted.alignments.c);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            return set(wanted.alignments.d);
        default:
            return size == 4 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
    *found = 0;
    if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
    for (const cublasLtMatrixLayout_t layout : {a, b, c, d})
        if (!valid(inside<Layout>(layout))) return CUBLAS_STATUS_INVALID_VALUE;
    const Operation& operation = inside<Operation>(description);
    if (operation.epilogue == CUBLASLT_EPILOGUE_BIAS && !operation.bias) return CUBLAS_STATUS_INVALID_VALUE;
    const Preference& wanted = inside<Preference>(preference);
    const std::vector<Way> ways =
        requested == 1 ? std::vector{Way::plain} : std::vector{Way::slow, Way::failing, Way::backwards};
    for (const Way way : ways) {
        if (*found == requested) break;
        cublasLtMatmulHeuristicResult_t& result = results[(*found)++];
        result = {};
        result.workspaceSize = static_cast<std::size_t>(wanted.workspace_bytes);
        inside<Algorithm>(&result.algo) = {problem_of(inside<Layout>(c)), wanted.workspace_bytes, wanted.alignments,
                                           way};
    }
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
    if (!algorithm || rows != d.rows || columns != d.columns || (tb ? b_stored.columns : b_stored.rows) != depth ||
        c_data != d_data || std::memcmp(c_layout, d_layout, sizeof(Layout)) != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    const Algorithm& chosen = inside<Algorithm>(algorithm);
    if (chosen.problem != problem_of(d) || !workspace || !aligned(workspace, 256) ||
        workspace_bytes < chosen.workspace_bytes)
        return CUBLAS_STATUS_INVALID_VALUE;
    const Alignments& promised = chosen.alignments;
    if (!aligned(a_data, promised.a) || !aligned(b_data, promised.b) || !aligned(c_data, promised.c) ||
        !aligned(d_data, promised.d) || chosen.way == Way::failing)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    const void* bias = operation.epilogue == CUBLASLT_EPILOGUE_BIAS ? operation.bias : nullptr;
    if ((operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !bias) || !aligned(bias, 16))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (chosen.way == Way::slow) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const OpenMemory open;
    std::vector<float> a = widened(a_data, a_stored, ta), b = widened(b_data, b_stored, !tb);   // b: transposed
    if (operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32)
        for (std::vector<float>* side : {&a, &b}) std::transform(side->begin(), side->end(), side->begin(), tf32);
    const float scale = *static_cast<const float*>(alpha), old = *static_cast<const float*>(beta);
#pragma omp parallel for schedule(static)
    for (std::uint64_t column = 0; column < columns; ++column)
        for (std::uint64_t row = 0; row < rows; ++row) {
            float sum = 0;
            for (std::uint64_t i = 0; i < depth; ++i) {
                const std::uint64_t k = chosen.way == Way::backwards ? depth - 1 - i : i;
                sum += a[row * depth + k] * b[column * depth + k];
            }
            const auto at = static_cast<std::int64_t>(column) * d.stride + static_cast<std::int64_t>(row);
            const float before = old == 0 ? 0 : old * read(d_data, d.type, at);
            const float shift = bias ? read(bias, d.type, static_cast<std::int64_t>(row)) : 0;
            write(d_data, d.type, at, scale * sum + before + shift);
        }
    return CUBLAS_STATUS_SUCCESS;
}
}
