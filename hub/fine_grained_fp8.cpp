#include "hub/fine_grained_fp8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "configs/error.h"
#include "hub/compressed_weights.h"

namespace trainer {

namespace {

constexpr std::string_view scale_end = "_scale_inv";

// Factors of activations that were measured beforehand: we compute in full precision.
bool is_activation_scale(const std::string& name) {
    return name.ends_with(".activation_scale") || name.ends_with(".input_scale");
}

class Fp8Weights final : public CompressedWeights {
public:
    Fp8Weights(std::unique_ptr<WeightSource> source, const Node& quantisation, std::string where)
        : CompressedWeights(std::move(source), std::move(where)) {
        const std::optional<Fp8Block> block = block_of(quantisation);
        for (const std::string& name : stored().names()) {
            if (stored().stored_type(name).starts_with("F8_") && !name.ends_with(scale_end)) add(name, block);
            if (!is_activation_scale(name) && !is_scale(name)) show(name);
        }
    }

    FileShape shape(const std::string& name) const override { return stored().shape(name); }
    std::string stored_type(const std::string& name) const override {
        return blocks_.contains(name) ? "fp8" : stored().stored_type(name);
    }

    std::shared_ptr<PackedMatrix> packed(const std::string& name, DType dtype) const override {
        const auto found = blocks_.find(name);
        if (found == blocks_.end()) return stored().packed(name, dtype);
        const FileShape shape = stored().shape(name);
        return std::make_shared<Fp8Matrix>(Shape(shape[0], shape[1]), dtype, found->second);
    }

    bool read_packed(const std::string& name, PackedMatrix& matrix) const override {
        const auto found = blocks_.find(name);
        auto* fp8 = dynamic_cast<Fp8Matrix*>(&matrix);
        if (!fp8 || found == blocks_.end() || !(fp8->block() == found->second)) return false;
        std::memcpy(fp8->codes().raw(), stored().bytes(name).data(), fp8->codes().bytes());
        read_scales(name + std::string(scale_end), fp8->scales());
        return true;
    }

private:
    // Without a value: one factor for a whole matrix.
    std::optional<Fp8Block> block_of(const Node& quantisation) const {
        const Node* sizes = quantisation.find("weight_block_size");
        if (!sizes || sizes->is_null()) return std::nullopt;
        constexpr std::int64_t most = 1 << 20;
        const auto is_size = [](const Node& size) {
            return size.is_integer() && size.as_integer() > 0 && size.as_integer() <= most;
        };
        require(sizes->is_list() && sizes->as_list().size() == 2 &&
                    std::all_of(sizes->as_list().begin(), sizes->as_list().end(), is_size),
                Exit::bad_data,
                "{}: config.json: quantization_config.weight_block_size: expected two integers from 1 to {}", folder(),
                most);
        return Fp8Block{sizes->as_list()[0].as_integer(), sizes->as_list()[1].as_integer()};
    }

    bool is_scale(const std::string& name) const {
        return name.ends_with(scale_end) && stored().contains(name.substr(0, name.size() - scale_end.size()));
    }

    void add(const std::string& name, const std::optional<Fp8Block>& block) {
        const FileShape shape = stored().shape(name);
        const std::string type = stored().stored_type(name);
        if (type != name_of(FileDType::f8_e4m3) || shape.size() != 2)
            refuse(name, format("is {} {}, expected a matrix of F8_E4M3", type, shape_text(shape)));
        const std::string scale = name + std::string(scale_end);
        if (!stored().contains(scale)) refuse(scale, "is missing beside the quantised weight");
        const std::string scale_type = stored().stored_type(scale);
        if (scale_type != name_of(FileDType::f32) && scale_type != name_of(FileDType::bf16) &&
            scale_type != name_of(FileDType::f8_e8m0))
            refuse(scale, format("is {}, expected F32, BF16 or F8_E8M0", scale_type));
        const Fp8Block used = block.value_or(Fp8Block{shape[0], shape[1]});
        const Fp8Matrix matrix(Shape(shape[0], shape[1]), DType::f32, used);
        const FileShape expected = {matrix.scale_rows(), matrix.scale_columns()};
        const FileShape found = stored().shape(scale);
        if (block ? found != expected : element_count(found) != 1)
            refuse(scale, format("has shape {}, expected {}", shape_text(found), shape_text(expected)));
        blocks_.emplace(name, used);
    }

    void read_scales(const std::string& name, Tensor& scales) const {
        if (stored().stored_type(name) != name_of(FileDType::f8_e8m0)) {
            stored().read(name, DType::f32, scales.raw());
            return;
        }
        const std::span<const std::byte> exponents = stored().bytes(name);   // 2^(e − 127); 255 is NaN
        for (std::size_t i = 0; i < exponents.size(); ++i) {
            const int exponent = static_cast<int>(exponents[i]);
            scales.data<float>()[i] =
                exponent == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, exponent - 127);
        }
    }

    std::map<std::string, Fp8Block> blocks_;   // by the name of the weight
};

}   // namespace

std::unique_ptr<WeightSource> open_fp8_weights(std::unique_ptr<WeightSource> stored, const Node& quantisation,
                                               const std::string& folder) {
    return std::make_unique<Fp8Weights>(std::move(stored), quantisation, folder);
}

std::vector<TensorToWrite> fp8_tensors(const std::string& name, Fp8Matrix& matrix) {
    check(matrix.is_even(), "{}: {} is no whole number of blocks", name, matrix.shape().text());
    return {tensor_in_memory(name, FileDType::f8_e4m3, matrix.shape().sizes(), matrix.codes()),
            tensor_in_memory(name + std::string(scale_end), FileDType::f32,
                             {matrix.scale_rows(), matrix.scale_columns()}, matrix.scales())};
}

Node fp8_config(const Fp8Block& block, const std::vector<std::string>& skipped) {
    Node config = Node::map();
    config.set("quant_method", "fp8");
    config.set("activation_scheme", "dynamic");
    config.set("weight_block_size", Node::List{Node(block.rows), Node(block.columns)});
    Node::List names;
    for (const std::string& name : skipped) names.push_back(Node(name));
    config.set("modules_to_not_convert", names);
    return config;
}

}   // namespace trainer
