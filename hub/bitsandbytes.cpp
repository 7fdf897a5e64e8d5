#include "hub/bitsandbytes.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/compressed_weights.h"

namespace trainer {

namespace {

constexpr std::string_view weight_end = ".weight";
constexpr std::string_view state_prefix = ".quant_state.bitsandbytes__";
constexpr std::string_view int8_scales = ".SCB";
constexpr std::string_view int8_layout = ".weight_format";

std::string_view dtype_name(DType dtype) {
    return dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
}

std::optional<DType> dtype_of_name(std::string_view name) {
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
        if (dtype_name(dtype) == name) return dtype;
    return std::nullopt;
}

// What is known of a 4-bit weight before its bytes are read.
struct FourBitState {
    FourBitOptions options;
    DType dtype = DType::f32;
    Shape shape;
    float offset = 0;
};

class BitsandbytesWeights final : public CompressedWeights {
public:
    BitsandbytesWeights(std::unique_ptr<WeightSource> source, std::string where)
        : CompressedWeights(std::move(source), std::move(where)) {
        for (const std::string& name : stored().names())
            if (const std::size_t at = name.find(state_prefix); at != std::string::npos) {
                const std::string weight = name.substr(0, at);
                const bool fresh = four_bit_.emplace(weight, state_of(weight, name)).second;
                require(fresh, Exit::bad_data, "{}: tensor {} has two quant_state tensors", folder(), weight);
            } else if (name.ends_with(int8_scales)) {
                add_int8(name);
            }
        for (const std::string& name : stored().names())
            if (!is_part(name)) show(name);
    }

    FileShape shape(const std::string& name) const override {
        const auto found = four_bit_.find(name);
        return found == four_bit_.end() ? stored().shape(name) : found->second.shape.sizes();
    }
    std::string stored_type(const std::string& name) const override {
        if (const auto found = four_bit_.find(name); found != four_bit_.end())
            return std::string(name_of(found->second.options.code));
        return int8_.contains(name) ? "int8" : stored().stored_type(name);
    }

    std::shared_ptr<PackedMatrix> packed(const std::string& name, DType dtype) const override {
        if (const auto found = four_bit_.find(name); found != four_bit_.end())
            return std::make_shared<FourBitMatrix>(found->second.shape, found->second.dtype, found->second.options);
        if (!int8_.contains(name)) return nullptr;
        const FileShape shape = stored().shape(name);
        return std::make_shared<Int8Matrix>(Shape(shape[0], shape[1]), dtype);
    }

    bool read_packed(const std::string& name, PackedMatrix& matrix) const override {
        if (const auto found = four_bit_.find(name); found != four_bit_.end()) {
            auto* four_bit = dynamic_cast<FourBitMatrix*>(&matrix);
            if (!four_bit || !(four_bit->options() == found->second.options)) return false;
            read_four_bit(name, found->second, *four_bit);
            return true;
        }
        auto* int8 = dynamic_cast<Int8Matrix*>(&matrix);
        if (!int8 || !int8_.contains(name)) return false;
        fill(name, int8->codes().raw(), int8->codes().bytes());
        fill(scales_name(name), int8->absmax().raw(), int8->absmax().bytes());
        return true;
    }

private:
    static std::string scales_name(const std::string& weight) {
        return weight.substr(0, weight.size() - weight_end.size()) + std::string(int8_scales);
    }

    // A tensor that belongs to a compressed weight.
    bool is_part(const std::string& name) const {
        for (const std::string_view part : {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"})
            if (name.ends_with(part) && four_bit_.contains(name.substr(0, name.size() - part.size()))) return true;
        for (const std::string_view part : {int8_scales, int8_layout})
            if (name.ends_with(part) &&
                int8_.contains(name.substr(0, name.size() - part.size()) + std::string(weight_end)))
                return true;
        return name.find(state_prefix) != std::string::npos;
    }

    void check_bytes(const std::string& name, std::int64_t expected) const {
        if (!stored().contains(name)) refuse(name, "is missing beside the quantised weight");
        const auto found = static_cast<std::int64_t>(stored().bytes(name).size());
        if (found != expected) refuse(name, format("has {} bytes, expected {}", found, expected));
    }

    void fill(const std::string& name, void* out, std::size_t bytes) const {
        std::memcpy(out, stored().bytes(name).data(), bytes);
    }

    FourBitState state_of(const std::string& weight, const std::string& state_name) const {
        const auto bytes = stored().bytes(state_name);
        const Node state = parse_json(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
                                      folder() + ": " + state_name);
        const auto integer = [&](const char* key) {
            const Node* value = state.find(key);
            constexpr std::int64_t most = 1 << 20;
            if (!value || !value->is_integer() || value->as_integer() <= 0 || value->as_integer() > most)
                refuse(state_name, format("{}: expected an integer from 1 to {}", key, most));
            return value->as_integer();
        };
        const auto text = [&](const char* key) {
            const Node* value = state.find(key);
            if (!value || !value->is_string()) refuse(state_name, format("{}: expected a text", key));
            return value->as_string();
        };
        FourBitState out;
        out.options.code = text("quant_type") == "fp4" ? FourBitCode::fp4 : FourBitCode::nf4;
        if (text("quant_type") != name_of(out.options.code))
            refuse(state_name, format("quant_type \"{}\": expected nf4 or fp4", text("quant_type")));
        out.options.block = integer("blocksize");
        if (out.options.block % 2 != 0) refuse(state_name, format("blocksize {} is odd", out.options.block));
        const auto dtype = dtype_of_name(text("dtype"));
        if (!dtype) refuse(state_name, format("dtype \"{}\": expected float32, float16 or bfloat16", text("dtype")));
        out.dtype = *dtype;
        const Node* shape = state.find("shape");
        const auto is_size = [](const Node& size) { return size.is_integer() && size.as_integer() > 0; };
        if (!shape || !shape->is_list() || shape->as_list().size() != 2 ||
            !std::all_of(shape->as_list().begin(), shape->as_list().end(), is_size))
            refuse(state_name, "shape: expected two positive integers");
        out.shape = Shape(shape->as_list()[0].as_integer(), shape->as_list()[1].as_integer());
        constexpr std::int64_t most = std::int64_t{1} << 40;   // elements; no matrix is so large
        if (out.shape.rows() > most / out.shape.columns()) refuse(state_name, "shape: too large");
        out.options.double_quant = state.contains("nested_blocksize");
        if (out.options.double_quant) {
            out.options.nested_block = integer("nested_blocksize");
            const Node* offset = state.find("nested_offset");
            if (!offset || !offset->is_number()) refuse(state_name, "nested_offset: expected a number");
            out.offset = static_cast<float>(offset->as_number());
        }
        check_parts(weight, out);
        return out;
    }

    void check_parts(const std::string& weight, const FourBitState& state) const {
        const std::int64_t blocks = (state.shape.elements() + state.options.block - 1) / state.options.block;
        check_bytes(weight, (state.shape.elements() + 1) / 2);
        check_bytes(weight + ".absmax", state.options.double_quant ? blocks : 4 * blocks);
        check_bytes(weight + ".quant_map", 4 * 16);
        if (!state.options.double_quant) return;
        check_bytes(weight + ".nested_absmax",
                    4 * ((blocks + state.options.nested_block - 1) / state.options.nested_block));
        check_bytes(weight + ".nested_quant_map", 4 * 256);
    }

    void read_four_bit(const std::string& name, const FourBitState& state, FourBitMatrix& matrix) const {
        fill(name, matrix.codes().raw(), matrix.codes().bytes());
        fill(name + ".absmax", matrix.absmax().raw(), matrix.absmax().bytes());
        fill(name + ".quant_map", matrix.map().data(), sizeof matrix.map());
        if (!state.options.double_quant) return;
        fill(name + ".nested_absmax", matrix.nested_absmax().raw(), matrix.nested_absmax().bytes());
        fill(name + ".nested_quant_map", matrix.nested_map().data(), sizeof matrix.nested_map());
        matrix.offset() = state.offset;
    }

    void add_int8(const std::string& scales) {
        const std::string weight = scales.substr(0, scales.size() - int8_scales.size()) + std::string(weight_end);
        if (!stored().contains(weight)) refuse(weight, format("is missing beside {}", scales));
        const FileShape shape = stored().shape(weight);
        if (shape.size() != 2 || stored().stored_type(weight) != name_of(FileDType::i8))
            refuse(weight,
                   format("is {} {}, expected a matrix of I8", stored().stored_type(weight), shape_text(shape)));
        check_bytes(scales, 4 * shape[0]);
        const std::string layout = scales.substr(0, scales.size() - int8_scales.size()) + std::string(int8_layout);
        if (stored().contains(layout)) check_bytes(layout, 1);
        if (stored().contains(layout) && stored().bytes(layout)[0] != std::byte{0})
            refuse(layout, "the weight is not stored row by row; save it with a newer bitsandbytes");
        int8_.insert(weight);
    }

    std::map<std::string, FourBitState> four_bit_;   // by the name of the weight
    std::set<std::string> int8_;
};

TensorToWrite tensor_of_text(const std::string& name, const std::string& text) {
    TensorToWrite out;
    out.name = name;
    out.dtype = FileDType::u8;
    out.shape = {static_cast<std::int64_t>(text.size())};
    out.produce = [text](const ByteSink& sink) { sink(std::as_bytes(std::span(text))); };
    return out;
}

// The values that codes stand for.
template <typename Map>
TensorToWrite map_tensor(const std::string& name, const Map& map) {
    TensorToWrite out;
    out.name = name;
    out.dtype = FileDType::f32;
    out.shape = {static_cast<std::int64_t>(map.size())};
    out.bytes = std::as_bytes(std::span(map));
    return out;
}

FileShape vector_shape(const Tensor& tensor) { return {tensor.elements()}; }

Node common_config() {
    Node config = Node::map();
    config.set("quant_method", "bitsandbytes");
    config.set("bnb_4bit_quant_storage", "uint8");
    config.set("llm_int8_enable_fp32_cpu_offload", false);
    config.set("llm_int8_has_fp16_weight", false);
    config.set("llm_int8_threshold", 6.0);
    return config;
}

void set_skipped(Node& config, const std::vector<std::string>& skipped) {
    Node::List names;
    for (const std::string& name : skipped) names.push_back(Node(name));
    config.set("llm_int8_skip_modules", names.empty() ? Node() : Node(names));
}

}   // namespace

std::unique_ptr<WeightSource> open_bitsandbytes_weights(std::unique_ptr<WeightSource> stored,
                                                        const std::string& folder) {
    return std::make_unique<BitsandbytesWeights>(std::move(stored), folder);
}

std::vector<TensorToWrite> bitsandbytes_tensors(const std::string& name, FourBitMatrix& matrix) {
    const FourBitOptions& options = matrix.options();
    Node state = Node::map();
    state.set("quant_type", std::string(name_of(options.code)));
    state.set("blocksize", options.block);
    state.set("dtype", std::string(dtype_name(matrix.dtype())));
    state.set("shape", Node::List{Node(matrix.shape().rows()), Node(matrix.shape().columns())});
    std::vector<TensorToWrite> tensors = {
        tensor_in_memory(name, FileDType::u8, {matrix.codes().elements(), 1}, matrix.codes()),
        tensor_in_memory(name + ".absmax", file_dtype(matrix.absmax().dtype()), vector_shape(matrix.absmax()),
                         matrix.absmax()),
        map_tensor(name + ".quant_map", matrix.map())};
    if (options.double_quant) {
        state.set("nested_blocksize", options.nested_block);
        state.set("nested_dtype", "float32");
        state.set("nested_offset", static_cast<double>(matrix.offset()));
        tensors.push_back(tensor_in_memory(name + ".nested_absmax", FileDType::f32,
                                           vector_shape(matrix.nested_absmax()), matrix.nested_absmax()));
        tensors.push_back(map_tensor(name + ".nested_quant_map", matrix.nested_map()));
    }
    tensors.push_back(tensor_of_text(name + std::string(state_prefix) + matrix.format(), to_json(state)));
    return tensors;
}

std::vector<TensorToWrite> bitsandbytes_tensors(const std::string& name, Int8Matrix& matrix) {
    const std::string module = name.substr(0, name.size() - weight_end.size());
    TensorToWrite layout = tensor_of_text(module + std::string(int8_layout), std::string(1, '\0'));
    layout.shape = {};
    return {tensor_in_memory(name, FileDType::i8, matrix.shape().sizes(), matrix.codes()),
            tensor_in_memory(module + std::string(int8_scales), FileDType::f32, vector_shape(matrix.absmax()),
                             matrix.absmax()),
            layout};
}

Node bitsandbytes_config(const FourBitOptions& options, DType compute, const std::vector<std::string>& skipped) {
    Node config = common_config();
    config.set("_load_in_4bit", true);
    config.set("_load_in_8bit", false);
    config.set("load_in_4bit", true);
    config.set("load_in_8bit", false);
    config.set("bnb_4bit_compute_dtype", std::string(dtype_name(compute)));
    config.set("bnb_4bit_quant_type", std::string(name_of(options.code)));
    config.set("bnb_4bit_use_double_quant", options.double_quant);
    set_skipped(config, skipped);
    return config;
}

Node bitsandbytes_int8_config(const std::vector<std::string>& skipped) {
    Node config = common_config();
    config.set("_load_in_4bit", false);
    config.set("_load_in_8bit", true);
    config.set("load_in_4bit", false);
    config.set("load_in_8bit", true);
    set_skipped(config, skipped);
    return config;
}

}   // namespace trainer
