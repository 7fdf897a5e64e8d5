#include "hub/compressed_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "configs/error.h"
#include "hub/convert.h"

namespace trainer {

CompressedWeights::CompressedWeights(std::unique_ptr<WeightSource> stored, std::string folder)
    : stored_(std::move(stored)), folder_(std::move(folder)) {}

bool CompressedWeights::contains(const std::string& name) const {
    return std::binary_search(names_.begin(), names_.end(), name);
}

void CompressedWeights::read(const std::string& name, DType target, void* destination) const {
    const std::shared_ptr<PackedMatrix> matrix = packed(name, target);
    if (!matrix) {
        stored_->read(name, target, destination);
        return;
    }
    matrix->prepare(Place::cpu());
    read_packed(name, *matrix);
    Tensor values = Tensor::empty(matrix->shape(), target == DType::f16 ? DType::f32 : target);
    matrix->unpack(0, 0, values);
    if (values.dtype() == target)
        std::memcpy(destination, values.raw(), values.bytes());
    else
        convert_from_file(FileDType::f32, static_cast<const std::byte*>(values.raw()), values.elements(), target,
                          destination);
}

void CompressedWeights::refuse(const std::string& name, const std::string& why) const {
    fail(Exit::bad_data, "{}: tensor {}: {}", folder_, name, why);
}

}   // namespace trainer
