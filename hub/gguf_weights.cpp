#include "hub/weight_source.h"

#include <cstring>
#include <map>
#include <utility>

#include "autograd/quant/block_matrix.h"
#include "configs/error.h"
#include "hub/gguf_config.h"

namespace trainer {

namespace {

class GgufWeights final : public WeightSource {
public:
    explicit GgufWeights(std::shared_ptr<const GgufFile> file) : file_(std::move(file)) {
        const std::string path = file_->path().string();
        const Node config = gguf_config(*file_);
        head_size_ = config.at("head_dim").as_integer();
        for (const GgufTensor& tensor : file_->tensors()) {
            if (tensor.name == "rope_freqs.weight") continue;   // part of the config
            const auto name = hub_name(tensor.name);
            require(name.has_value(), Exit::bad_data, "{}: tensor {} is not part of a llama model", path, tensor.name);
            require(can_dequantise(tensor.type), Exit::bad_data,
                    "{}: tensor {} has type {}, which is not supported (supported: {})", path, tensor.name,
                    name_of(tensor.type), readable_types());
            require(!has_rotary_rows(*name) || (!tensor.shape.empty() && tensor.shape.front() % head_size_ == 0),
                    Exit::bad_data, "{}: tensor {} has shape {}, expected rows in multiples of the head size {}", path,
                    tensor.name, shape_text(tensor.shape), head_size_);
            tensors_.emplace(*name, &tensor);
        }
        for (const auto& [name, tensor] : tensors_) names_.push_back(name);
    }

    const std::vector<std::string>& names() const override { return names_; }
    bool contains(const std::string& name) const override { return tensors_.contains(name); }
    FileShape shape(const std::string& name) const override { return at(name).shape; }
    std::string stored_type(const std::string& name) const override { return std::string(name_of(at(name).type)); }

    std::span<const std::byte> bytes(const std::string& name) const override { return at(name).bytes; }

    void read(const std::string& name, DType target, void* destination) const override {
        const GgufTensor& tensor = at(name);
        if (has_rotary_rows(name) && tensor.shape.size() == 1) {
            read_rotary_bias(tensor, target, destination);
        } else {
            dequantise_rows(tensor, stored_rows(name, tensor), target, destination);
        }
        file_->release(tensor);
    }

    std::shared_ptr<PackedMatrix> packed(const std::string& name, DType dtype) const override {
        const GgufTensor& tensor = at(name);
        const auto format = block_format(tensor.type);
        if (!format || tensor.shape.size() != 2) return nullptr;
        return std::make_shared<BlockMatrix>(Shape(tensor.shape[0], tensor.shape[1]), dtype, *format);
    }

    bool read_packed(const std::string& name, PackedMatrix& matrix) const override {
        const GgufTensor& tensor = at(name);
        auto* blocks = dynamic_cast<BlockMatrix*>(&matrix);
        if (!blocks || blocks->format() != name_of(tensor.type)) return false;
        auto* out = blocks->blocks().data<std::uint8_t>();
        for (const std::int64_t row : stored_rows(name, tensor)) {
            std::memcpy(out, tensor.bytes.data() + row * blocks->row_bytes(),
                        static_cast<std::size_t>(blocks->row_bytes()));
            out += blocks->row_bytes();
        }
        file_->release(tensor);
        return true;
    }

private:
    const GgufTensor& at(const std::string& name) const {
        const auto found = tensors_.find(name);
        require(found != tensors_.end(), Exit::bad_data, "{}: tensor {} is missing", file_->path().string(), name);
        return *found->second;
    }

    // The row of the file for each row in the hub's order.
    std::vector<std::int64_t> stored_rows(const std::string& name, const GgufTensor& tensor) const {
        const bool rotary = has_rotary_rows(name);
        std::vector<std::int64_t> rows(static_cast<std::size_t>(tensor.rows()));
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto row = static_cast<std::int64_t>(i);
            rows[i] = rotary ? gguf_rotary_row(row, head_size_) : row;
        }
        return rows;
    }

    // One value a row: the tensor is a single row to the dequantiser, so its elements are moved afterwards.
    void read_rotary_bias(const GgufTensor& tensor, DType target, void* destination) const {
        const auto count = static_cast<std::size_t>(tensor.row_length());
        const std::size_t width = size_of(target);
        std::vector<std::byte> stored(count * width);
        dequantise(tensor, target, stored.data());
        for (std::size_t i = 0; i < count; ++i) {
            const auto from = static_cast<std::size_t>(gguf_rotary_row(static_cast<std::int64_t>(i), head_size_));
            std::memcpy(static_cast<std::byte*>(destination) + i * width, stored.data() + from * width, width);
        }
    }

    std::shared_ptr<const GgufFile> file_;
    std::int64_t head_size_ = 0;
    std::map<std::string, const GgufTensor*> tensors_;   // by hub name
    std::vector<std::string> names_;
};

}   // namespace

std::unique_ptr<WeightSource> open_gguf_weights(std::shared_ptr<const GgufFile> file) {
    return std::make_unique<GgufWeights>(std::move(file));
}

}   // namespace trainer
