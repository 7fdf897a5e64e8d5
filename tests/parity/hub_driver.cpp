// Reads and writes files for hub_*_test.py: hub_driver REQUEST, a JSON file
//   {"action": "copy_safetensors" | "copy_adapter", "path": …, "out": …}
//   {"action": "convert_safetensors" | "dequantise_gguf", "path": …, "target": "f32" | "bf16", "out": …}
//   {"action": "export_snapshot", "base": …, "target": "f32" | "bf16", "out": …, "max_shard_bytes"?}
//   {"action": "quantise", "path": …, "quantize": recipe value, "dtype": "f32" | "bf16" | "f16", "out": …}: each matrix
//       as its library stores it, and what it unpacks to as NAME.unpacked
//   {"action": "trainer_state", "out": …}
#include <cstdio>
#include <cstring>

#include "autograd/quant/registry.h"
#include "configs/error.h"
#include "configs/json.h"
#include "hub/adapter.h"
#include "hub/export.h"
#include "hub/output_file.h"
#include "hub/quantised.h"
#include "hub/snapshot.h"
#include "hub/trainer_state.h"

namespace trainer {

namespace {

DType target_of(const Node& request) { return request.at("target").as_string() == "bf16" ? DType::bf16 : DType::f32; }

TensorToWrite produced(std::string name, FileShape shape, DType dtype, std::function<void(void*)> fill) {
    TensorToWrite tensor{std::move(name), file_dtype(dtype), std::move(shape), {}, {}};
    const std::size_t bytes = tensor.byte_count();
    tensor.produce = [bytes, fill](const ByteSink& sink) {
        std::vector<std::byte> memory(bytes);
        fill(memory.data());
        sink(memory);
    };
    return tensor;
}

// The same tensors and metadata through our reader and writer.
void copy_safetensors(const Node& request) {
    const SafetensorsFile file(request.at("path").as_string());
    std::vector<TensorToWrite> tensors;
    for (const FileTensor& tensor : file.tensors())
        tensors.push_back({tensor.name, tensor.dtype, tensor.shape, file.bytes(tensor), {}});
    write_safetensors(request.at("out").as_string(), tensors, file.metadata());
}

void convert_safetensors(const Node& request) {
    const SafetensorsFile file(request.at("path").as_string());
    const DType target = target_of(request);
    std::vector<TensorToWrite> tensors;
    for (const FileTensor& tensor : file.tensors())
        tensors.push_back(produced(tensor.name, tensor.shape, target,
                                   [&file, &tensor, target](void* out) { file.read(tensor, target, out); }));
    write_safetensors(request.at("out").as_string(), tensors);
}

void dequantise_gguf(const Node& request) {
    const GgufFile file(request.at("path").as_string());
    const DType target = target_of(request);
    std::vector<TensorToWrite> tensors;
    for (const GgufTensor& tensor : file.tensors())
        tensors.push_back(produced(tensor.name, tensor.shape, target,
                                   [&tensor, target](void* out) { dequantise(tensor, target, out); }));
    write_safetensors(request.at("out").as_string(), tensors);
}

// A snapshot of any kind as a model folder.
void export_snapshot(const Node& request) {
    const Snapshot snapshot = open_snapshot(request.at("base").as_string());
    const DType target = target_of(request);
    std::vector<TensorToWrite> tensors;
    for (const std::string& name : snapshot.weights->names())
        tensors.push_back(produced(name, snapshot.weights->shape(name), target, [&snapshot, name, target](void* out) {
            snapshot.weights->read(name, target, out);
        }));
    ExportOptions options;
    options.dtype = file_dtype(target);
    if (const Node* limit = request.find("max_shard_bytes"))
        options.max_shard_bytes = static_cast<std::uint64_t>(limit->as_integer());
    export_model(request.at("out").as_string(), snapshot, tensors, options);
}

void copy_adapter(const Node& request) {
    const AdapterFile file(request.at("path").as_string());
    std::vector<AdapterTensor> tensors;
    for (const FileTensor& tensor : file.tensors()) {
        std::vector<float> values(static_cast<std::size_t>(element_count(tensor.shape)));
        file.read(tensor.name, values.data());
        tensors.push_back({tensor.name, tensor.shape, nullptr, std::move(values)});
    }
    write_adapter(request.at("out").as_string(), file.config(), tensors);
}

void quantise(const Node& request) {
    const SafetensorsFile file(request.at("path").as_string());
    Complaints complaints;
    QuantizeOptions options;
    FieldType<QuantizeOptions>::read(request.at("quantize"), options, Where{complaints, "quantize"});
    const std::string& dtype = request.at("dtype").as_string();
    const DType stored = dtype == "f16" ? DType::f16 : dtype == "bf16" ? DType::bf16 : DType::f32;
    std::vector<std::shared_ptr<PackedMatrix>> matrices;
    std::vector<TensorToWrite> tensors;
    for (const FileTensor& tensor : file.tensors()) {
        const Shape shape(tensor.shape.at(0), tensor.shape.at(1));
        const auto matrix = quantisations().at(options.format).make(shape, stored, options);
        Tensor values = Tensor::empty(shape, DType::f32);
        file.read(tensor, DType::f32, values.raw());
        matrix->prepare(Place::cpu());
        matrix->pack(values);
        for (TensorToWrite& part : quantised_tensors(tensor.name, *matrix)) tensors.push_back(std::move(part));
        matrices.push_back(matrix);
        tensors.push_back(produced(tensor.name + ".unpacked", tensor.shape, DType::f32, [matrix](void* out) {
            Tensor unpacked = Tensor::empty(matrix->shape(), DType::f32);
            matrix->unpack(0, 0, unpacked);
            std::memcpy(out, unpacked.raw(), unpacked.bytes());
        }));
    }
    write_safetensors(request.at("out").as_string(), tensors);
}

void trainer_state(const Node& request) {
    TrainerState state;
    state.best_global_step = 20;
    state.best_metric = 1.25;
    state.best_model_checkpoint = "runs/a/checkpoint-20";
    state.epoch = 1.5;
    state.global_step = 30;
    state.max_steps = 40;
    state.num_train_epochs = 2;
    state.train_batch_size = 4;
    state.total_flos = 1.5e12;
    Node entry;
    entry.set("epoch", 0.5);
    entry.set("grad_norm", 0.75);
    entry.set("learning_rate", 1e-5);
    entry.set("loss", 2.5);
    entry.set("step", 10);
    state.log_history.push_back(entry);
    write_trainer_state(request.at("out").as_string(), state);
}

void run(const char* path) {
    const Node request = read_json(path);
    const std::string& action = request.at("action").as_string();
    const std::pair<const char*, void (*)(const Node&)> actions[] = {
        {"copy_safetensors", copy_safetensors}, {"convert_safetensors", convert_safetensors},
        {"dequantise_gguf", dequantise_gguf},   {"export_snapshot", export_snapshot},
        {"copy_adapter", copy_adapter},         {"quantise", quantise},
        {"trainer_state", trainer_state}};
    for (const auto& [name, act] : actions)
        if (action == name) return act(request);
    fail(Exit::usage, "unknown action {}", action);
}

}   // namespace

}   // namespace trainer

int main(int count, char** words) {
    if (count != 2) {
        std::fprintf(stderr, "see the head of tests/parity/hub_driver.cpp\n");
        return 64;
    }
    try {
        trainer::run(words[1]);
    } catch (const trainer::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
