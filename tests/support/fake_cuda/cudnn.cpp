// Stands for cuDNN where there is no GPU: the backend's functions, which the frontend's headers call. It keeps
// descriptors with their attributes, answers what engines there are and how much workspace they want, and computes a
// graph operation by operation in plain loops: what tensors are, who sees whom and what is summed comes from the
// descriptors alone.
//   FAKE_CUDNN_VERSION=90100     what it says it is
//   FAKE_CUDNN_REFUSE=2          it has no engine for graphs of so many products (forward has 2, backward 5)
//   FAKE_CUDNN_WORKSPACE=BYTES   what its engines want
//   FAKE_CUDNN_FAIL=1            it fails when it computes
#include <cudnn.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/fake_cuda/cudnn_graph.h"

using fake_cudnn::Node;

namespace {

struct Holder {
    std::shared_ptr<Node> node;
};
Holder* holder_of(cudnnBackendDescriptor_t descriptor) { return static_cast<Holder*>(descriptor); }

std::size_t size_of(cudnnBackendAttributeType_t type) {
    switch (type) {
        case CUDNN_TYPE_BOOLEAN:
        case CUDNN_TYPE_CHAR:
            return 1;
        case CUDNN_TYPE_HANDLE:
        case CUDNN_TYPE_VOID_PTR:
        case CUDNN_TYPE_INT64:
        case CUDNN_TYPE_DOUBLE:
        case CUDNN_TYPE_FRACTION:
            return 8;
        default:
            return 4;   // enumerations, int32, float
    }
}

long long asked_for(const char* variable, long long otherwise) {
    const char* text = std::getenv(variable);
    return text ? std::atoll(text) : otherwise;
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

bool refused(const Node& graph) {
    const long long products = asked_for("FAKE_CUDNN_REFUSE", 0);
    long long found = 0;
    for (const auto& operation : graph.attributes.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).nodes)
        found += operation->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR;
    return found == products || !fake_cudnn::supported(graph);
}

template <typename Element>
void set(Node& node, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, Element value) {
    Node::Value& to = node.attributes[name];
    to.type = type;
    to.bytes.resize(sizeof value);
    std::memcpy(to.bytes.data(), &value, sizeof value);
}

// The only engine, and its configuration, of a graph.
std::shared_ptr<Node> configuration_of(const std::shared_ptr<Node>& graph) {
    auto engine = std::make_shared<Node>();
    engine->type = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
    engine->attributes[CUDNN_ATTR_ENGINE_OPERATION_GRAPH] = {CUDNN_TYPE_BACKEND_DESCRIPTOR, {}, {graph}};
    set(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, std::int64_t{0});
    auto out = std::make_shared<Node>();
    out->type = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR;
    out->attributes[CUDNN_ATTR_ENGINECFG_ENGINE] = {CUDNN_TYPE_BACKEND_DESCRIPTOR, {}, {engine}};
    set(*out, CUDNN_ATTR_ENGINECFG_SHARED_MEMORY_USED, CUDNN_TYPE_INT32, std::int32_t{99 << 10});
    engine->finalized = out->finalized = true;
    return out;
}

std::shared_ptr<Node> graph_of_plan(const Node& plan) {
    const auto configuration = plan.node(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const auto engine = configuration ? configuration->node(CUDNN_ATTR_ENGINECFG_ENGINE) : nullptr;
    return engine ? engine->node(CUDNN_ATTR_ENGINE_OPERATION_GRAPH) : nullptr;
}

cudaStream_t stream_in_use = nullptr;

}   // namespace

extern "C" {

std::size_t cudnnGetVersion() { return static_cast<std::size_t>(asked_for("FAKE_CUDNN_VERSION", CUDNN_VERSION)); }
std::size_t cudnnGetCudartVersion() { return 13000; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
    return status == CUDNN_STATUS_EXECUTION_FAILED ? "CUDNN_STATUS_EXECUTION_FAILED" : "CUDNN_STATUS";
}
void cudnnGetLastErrorString(char* message, std::size_t size) {
    if (size > 0) message[0] = 0;
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
    static int marker;
    *handle = reinterpret_cast<cudnnHandle_t>(&marker);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t stream) {
    stream_in_use = stream;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t, cudaStream_t* stream) {
    *stream = stream_in_use;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
    auto* made = new Holder{std::make_shared<Node>()};
    made->node->type = type;
    *descriptor = made;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
    delete holder_of(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count, const void* elements) {
    if (!descriptor || count < 0 || (count > 0 && !elements)) return CUDNN_STATUS_BAD_PARAM;
    Node& node = *holder_of(descriptor)->node;
    if (node.finalized) return CUDNN_STATUS_BAD_PARAM;
    Node::Value value;
    value.type = type;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        const auto* descriptors = static_cast<const cudnnBackendDescriptor_t*>(elements);
        for (std::int64_t i = 0; i < count; ++i) {
            if (!descriptors[i] || !holder_of(descriptors[i])->node->finalized) return CUDNN_STATUS_BAD_PARAM;
            value.nodes.push_back(holder_of(descriptors[i])->node);
        }
    } else {
        const auto* bytes = static_cast<const unsigned char*>(elements);
        value.bytes.assign(bytes, bytes + static_cast<std::size_t>(count) * size_of(type));
    }
    node.attributes[name] = std::move(value);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
    if (!descriptor) return CUDNN_STATUS_BAD_PARAM;
    const std::shared_ptr<Node> node = holder_of(descriptor)->node;
    if (node->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
        const auto graph = node->node(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        if (!graph) return CUDNN_STATUS_BAD_PARAM;
        Node::Value results{CUDNN_TYPE_BACKEND_DESCRIPTOR, {}, {}};
        if (!refused(*graph)) results.nodes.push_back(configuration_of(graph));
        node->attributes[CUDNN_ATTR_ENGINEHEUR_RESULTS] = std::move(results);
    }
    if (node->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        const auto graph = graph_of_plan(*node);
        if (!graph) return CUDNN_STATUS_BAD_PARAM;
        if (refused(*graph)) return CUDNN_STATUS_NOT_SUPPORTED;
        set(*node, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
            static_cast<std::int64_t>(asked_for("FAKE_CUDNN_WORKSPACE", fake_cudnn::workspace_bytes(*graph))));
    }
    node->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t requested, std::int64_t* count,
                                       void* elements) {
    if (!descriptor) return CUDNN_STATUS_BAD_PARAM;
    const Node& node = *holder_of(descriptor)->node;
    const auto found = node.attributes.find(name);
    const bool descriptors = type == CUDNN_TYPE_BACKEND_DESCRIPTOR;
    std::int64_t there = 0;
    if (found != node.attributes.end())
        there = static_cast<std::int64_t>(descriptors ? found->second.nodes.size()
                                                      : found->second.bytes.size() / size_of(type));
    if (count) *count = there;
    const auto given = static_cast<std::size_t>(std::min(there, requested));
    if (!elements || given == 0) return CUDNN_STATUS_SUCCESS;
    if (descriptors)   // into descriptors that the caller made
        for (std::size_t i = 0; i < given; ++i)
            holder_of(static_cast<cudnnBackendDescriptor_t*>(elements)[i])->node = found->second.nodes[i];
    else
        std::memcpy(elements, found->second.bytes.data(), given * size_of(type));
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t variant_pack) {
    const Node& node = *holder_of(plan)->node;
    const auto graph = graph_of_plan(node);
    if (!graph || !node.finalized || !holder_of(variant_pack)->node->finalized) return CUDNN_STATUS_BAD_PARAM;
    if (asked_for("FAKE_CUDNN_FAIL", 0) != 0) return CUDNN_STATUS_EXECUTION_FAILED;
    const OpenMemory open;
    const auto workspace = node.value<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    return fake_cudnn::execute(*graph, *holder_of(variant_pack)->node, workspace) ? CUDNN_STATUS_SUCCESS
                                                                                  : CUDNN_STATUS_BAD_PARAM;
}
}
