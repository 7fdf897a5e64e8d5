#include "autograd/cuda/cudnn.h"

#include <dlfcn.h>

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/cuda/document_offsets.h"
#include "autograd/cuda/library.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"

// The frontend, which is headers alone, looks functions up by dlsym in libraries that it opens itself. Here it gets
// those of the library below and no others: the CUDA runtime inside the program is the only one, and what the frontend
// would ask it for is what it can do without (whether the thread has a context: autograd/cuda/runtime.h chose the
// device).
namespace trainer::cuda {
void* symbol_of_cudnn(const char* name);
}
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#define dlopen(file, flags) static_cast<void*>(nullptr)
#define dlsym(library, name) trainer::cuda::symbol_of_cudnn(name)
#include <cudnn_frontend.h>
#undef dlopen
#undef dlsym

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;   // what the frontend passes to dlsym
}

namespace trainer::cuda {

namespace {

namespace frontend = cudnn_frontend;
using frontend::graph::Graph;
using frontend::graph::Tensor_attributes;
using std::int64_t;

constexpr std::size_t oldest_version = 91501;

std::string version_text(std::size_t version) {
    return format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

struct Cudnn {
    Library library{"libcudnn.so.9", "nvidia-cudnn-cu13"};
    decltype(cudnnSetStream)* set_stream = nullptr;
    std::size_t version = 0;
    cudnnHandle_t handle = nullptr;

    Cudnn() {
        decltype(cudnnGetVersion)* get_version = nullptr;
        decltype(cudnnCreate)* create = nullptr;
        decltype(cudnnGetErrorString)* status_text = nullptr;
        library.find(get_version, "cudnnGetVersion");
        library.find(create, "cudnnCreate");
        library.find(set_stream, "cudnnSetStream");
        library.find(status_text, "cudnnGetErrorString");
        version = get_version();
        require(version >= oldest_version, Exit::system, "it is {}, and {} or newer is needed", version_text(version),
                version_text(oldest_version));
        load_compiler();
        const cudnnStatus_t status = create(&handle);
        require(status == CUDNN_STATUS_SUCCESS, Exit::system, "cuDNN failed when starting: {}", status_text(status));
    }

    // cuDNN compiles attention with NVRTC, which it opens by name where the loader or its own folder has it. One that
    // is in the toolkit alone it would not find, unless it is there already.
    static void load_compiler() {
        try {
            const Library compiler("libnvrtc.so.13", "nvidia-cuda-nvrtc");
        } catch (const Error&) {   // cuDNN may know better, and says what it misses with its first plan
        }
    }
};

// The library, or why there is none.
struct Found {
    std::unique_ptr<Cudnn> cudnn;
    std::string why_not;
};

const Found& found() {
    static const Found* instance = [] {
        auto* made = new Found;
        try {
            made->cudnn = std::make_unique<Cudnn>();
        } catch (const Error& error) {
            made->why_not = error.what();
        }
        return made;
    }();
    return *instance;
}

bool allowed = true;
int64_t runs = 0;
std::string first_refusal;

// The graph's names of the tensors.
enum Id : int64_t {
    query_id = 1,
    key_id,
    value_id,
    out_id,
    lse_id,
    dout_id,
    dquery_id,
    dkey_id,
    dvalue_id,
    qkv_offsets_id,   // the order of document_offsets' columns
    out_offsets_id,
    dqkv_offsets_id,
    lse_offsets_id,
    lengths_id
};

using Attributes = std::shared_ptr<Tensor_attributes>;

// The tensors of a problem in its graph.
class Tensors {
public:
    Tensors(Graph& graph, const AttentionProblem& problem) : graph_(graph), problem_(problem) {
        if (problem.equal) return;
        qkv_offsets = integers(qkv_offsets_id, problem.batch + 1);
        out_offsets = integers(out_offsets_id, problem.batch + 1);
        lse_offsets = integers(lse_offsets_id, problem.batch + 1);
        if (problem.backward) dqkv_offsets = integers(dqkv_offsets_id, problem.batch + 1);
        lengths = integers(lengths_id, problem.batch);
    }

    Attributes input(Id id, int heads, int64_t stride, const Attributes& offsets) {
        Tensor_attributes attributes;
        describe(attributes, id, heads, stride, offsets);
        return graph_.tensor(attributes);
    }
    void output(const Attributes& attributes, Id id, int heads, int64_t stride, const Attributes& offsets) {
        describe(*attributes, id, heads, stride, offsets);
        attributes->set_output(true);
    }
    // (batch, heads, longest) without offsets, else (tokens, all heads).
    void describe_lse(Tensor_attributes& attributes) const {
        const int64_t heads = problem_.heads, longest = problem_.longest;
        attributes.set_uid(lse_id).set_data_type(frontend::DataType_t::FLOAT);
        attributes.set_dim({problem_.batch, heads, longest, 1});
        if (problem_.equal)
            attributes.set_stride({heads * longest, longest, 1, 1});
        else
            attributes.set_stride({problem_.lse_stride * longest, 1, problem_.lse_stride, 1})
                .set_ragged_offset(lse_offsets);
    }
    Attributes lse() {
        Tensor_attributes attributes;
        describe_lse(attributes);
        return graph_.tensor(attributes);
    }

    Attributes qkv_offsets, out_offsets, dqkv_offsets, lse_offsets, lengths;

private:
    Attributes integers(Id id, int64_t count) {
        return graph_.tensor(Tensor_attributes()
                                 .set_uid(id)
                                 .set_dim({count, 1, 1, 1})
                                 .set_stride({1, 1, 1, 1})
                                 .set_data_type(frontend::DataType_t::INT32));
    }
    void describe(Tensor_attributes& attributes, Id id, int heads, int64_t stride, const Attributes& offsets) const {
        attributes.set_uid(id).set_dim({problem_.batch, heads, problem_.longest, problem_.head_dim});
        attributes.set_stride({problem_.longest * stride, problem_.head_dim, stride, 1});
        if (offsets) attributes.set_ragged_offset(offsets);
    }

    Graph& graph_;
    const AttentionProblem& problem_;
};

// Who sees whom: forward's and backward's attributes have the same words for it.
template <typename Options>
Options options_of(const AttentionProblem& problem, const Tensors& tensors) {
    Options options;
    options.set_attn_scale(problem.scale);
    if (problem.causal)
        options.set_diagonal_alignment(frontend::DiagonalAlignment_t::TOP_LEFT).set_diagonal_band_right_bound(0);
    if (!problem.equal) options.set_padding_mask(true).set_seq_len_q(tensors.lengths).set_seq_len_kv(tensors.lengths);
    return options;
}

void describe_forward(Graph& graph, const AttentionProblem& problem) {
    Tensors tensors(graph, problem);
    const auto query = tensors.input(query_id, problem.heads, problem.qkv_stride, tensors.qkv_offsets);
    const auto key = tensors.input(key_id, problem.kv_heads, problem.qkv_stride, tensors.qkv_offsets);
    const auto value = tensors.input(value_id, problem.kv_heads, problem.qkv_stride, tensors.qkv_offsets);
    auto options = options_of<frontend::graph::SDPA_attributes>(problem, tensors);
    options.set_generate_stats(problem.with_lse);
    // One graph for all versions; newer headers would choose another where masks allow it.
    options.set_implementation(frontend::AttentionImplementation_t::COMPOSITE);
    const auto [out, lse] = graph.sdpa(query, key, value, options);
    tensors.output(out, out_id, problem.heads, problem.out_stride, tensors.out_offsets);
    if (!problem.with_lse) return;
    tensors.describe_lse(*lse);
    lse->set_output(true);
}

void describe_backward(Graph& graph, const AttentionProblem& problem) {
    Tensors tensors(graph, problem);
    const auto query = tensors.input(query_id, problem.heads, problem.qkv_stride, tensors.qkv_offsets);
    const auto key = tensors.input(key_id, problem.kv_heads, problem.qkv_stride, tensors.qkv_offsets);
    const auto value = tensors.input(value_id, problem.kv_heads, problem.qkv_stride, tensors.qkv_offsets);
    const auto out = tensors.input(out_id, problem.heads, problem.out_stride, tensors.out_offsets);
    const auto dout = tensors.input(dout_id, problem.heads, problem.out_stride, tensors.out_offsets);
    auto options = options_of<frontend::graph::SDPA_backward_attributes>(problem, tensors);
    options.set_deterministic_algorithm(true);
    const auto [dquery, dkey, dvalue] = graph.sdpa_backward(query, key, value, out, dout, tensors.lse(), options);
    tensors.output(dquery, dquery_id, problem.heads, problem.dqkv_stride, tensors.dqkv_offsets);
    tensors.output(dkey, dkey_id, problem.kv_heads, problem.dqkv_stride, tensors.dqkv_offsets);
    tensors.output(dvalue, dvalue_id, problem.kv_heads, problem.dqkv_stride, tensors.dqkv_offsets);
}

// Made once a problem. Without a graph the library does not compute it.
struct Plan {
    std::unique_ptr<Graph> graph;
    int64_t workspace_bytes = 0;
    std::string why_not;
};

frontend::error_t build(Graph& graph, cudnnHandle_t handle) {
    if (auto error = graph.validate(); error.is_bad()) return error;
    if (auto error = graph.build_operation_graph(handle); error.is_bad()) return error;
    if (auto error = graph.create_execution_plans({frontend::HeurMode_t::A}); error.is_bad()) return error;
    if (auto error = graph.check_support(); error.is_bad()) return error;
    return graph.build_plans(frontend::BuildPlanPolicy_t::HEURISTICS_CHOICE);
}

Plan make_plan(const AttentionProblem& problem) {
    Plan plan;
    plan.graph = std::make_unique<Graph>();
    Graph& graph = *plan.graph;
    const Device& device = *opened_device();
    graph.set_io_data_type(problem.dtype == DType::f16 ? frontend::DataType_t::HALF : frontend::DataType_t::BFLOAT16)
        .set_intermediate_data_type(frontend::DataType_t::FLOAT)
        .set_compute_data_type(frontend::DataType_t::FLOAT)
        .set_sm_version(device.major * 10 + device.minor);
    graph.set_cuda_graph_retention(frontend::CudaGraphRetention_t::NONE);   // plans are kept
    try {
        problem.backward ? describe_backward(graph, problem) : describe_forward(graph, problem);
        auto error = build(graph, found().cudnn->handle);
        if (error.is_good()) error = graph.get_workspace_size(plan.workspace_bytes);
        if (error.is_bad()) plan.why_not = error.get_message();
    } catch (const std::exception& error) {   // the frontend's, of what this version does not have
        plan.why_not = error.what();
    }
    if (!plan.why_not.empty()) plan.graph.reset();
    return plan;
}

std::map<AttentionProblem, Plan>& plans() {
    static auto* instance = new std::map<AttentionProblem, Plan>;
    return *instance;
}

Plan& plan_for(const AttentionProblem& problem) {
    const auto known = plans().find(problem);
    return known != plans().end() ? known->second : plans().emplace(problem, make_plan(problem)).first->second;
}

}   // namespace

void* symbol_of_cudnn(const char* name) {
    void (*function)() = nullptr;
    try {
        found().cudnn->library.find(function, name);
    } catch (const Error&) {   // the frontend says itself what it misses
    }
    return reinterpret_cast<void*>(function);
}

bool cudnn_is_there() { return allowed && found().cudnn; }

std::string cudnn_library() { return found().cudnn ? "cuDNN " + version_text(found().cudnn->version) : "no cuDNN"; }

std::string cudnn_absent() { return found().why_not; }

void allow_cudnn(bool is_allowed) { allowed = is_allowed; }

std::string cudnn_refusal(const AttentionProblem& problem, std::size_t workspace_bytes) {
    const Plan& plan = plan_for(problem);
    std::string why = plan.graph ? "" : plan.why_not;
    if (plan.graph && plan.workspace_bytes > static_cast<int64_t>(workspace_bytes))
        why = format("it wants {} bytes of workspace, {} were planned", plan.workspace_bytes, workspace_bytes);
    if (first_refusal.empty()) first_refusal = why;
    return why;
}

std::string first_cudnn_refusal() { return first_refusal; }

void run_cudnn(const AttentionProblem& problem, const AttentionMemory& memory) {
    const Cudnn& cudnn = *found().cudnn;
    const auto writable = [](const void* pointer) { return const_cast<void*>(pointer); };
    std::unordered_map<int64_t, void*> pointers = {{query_id, writable(memory.query)},
                                                   {key_id, writable(memory.key)},
                                                   {value_id, writable(memory.value)},
                                                   {out_id, memory.out}};
    if (problem.with_lse) pointers[lse_id] = memory.lse;
    if (problem.backward) {
        pointers[dout_id] = writable(memory.dout);
        pointers[dquery_id] = memory.dquery;
        pointers[dkey_id] = memory.dkey;
        pointers[dvalue_id] = memory.dvalue;
    }
    if (!problem.equal)
        for (const Id id : {qkv_offsets_id, out_offsets_id, dqkv_offsets_id, lse_offsets_id, lengths_id})
            if (problem.backward || id != dqkv_offsets_id)
                pointers[id] =
                    writable(memory.offsets + (id - qkv_offsets_id) * document_offsets_column(problem.batch));
    const Plan& plan = plan_for(problem);
    require(cudnn.set_stream(cudnn.handle, static_cast<cudaStream_t>(stream())) == CUDNN_STATUS_SUCCESS, Exit::system,
            "cuDNN refuses the GPU's stream");
    auto error = plan.graph->execute(cudnn.handle, pointers, memory.workspace);
    require(error.is_good(), Exit::system, "cuDNN failed when computing attention{}: {}",
            problem.backward ? "'s gradient" : "", error.get_message());
    ++runs;
}

int64_t cudnn_plans() { return static_cast<int64_t>(plans().size()); }

int64_t cudnn_runs() { return runs; }

}   // namespace trainer::cuda
