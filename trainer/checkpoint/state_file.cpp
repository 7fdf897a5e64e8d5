#include "trainer/checkpoint/state_file.h"

#include <algorithm>
#include <tuple>

#include "configs/error.h"

namespace trainer {

namespace {

std::string value_name(const Parameter& parameter) { return "value." + parameter.name; }

Tensor copy_of(const Tensor& values) {
    Tensor out = Tensor::empty(values.elements(), DType::f32, values.place());
    copy(values, out);
    return out;
}

// The optimizer's slice that a slice lies in.
std::size_t slice_around(const Optimizer& optimizer, const ParameterSlice& slice) {
    const auto& all = optimizer.slices();
    const auto found = std::find_if(all.begin(), all.end(), [&](const ParameterSlice& one) {
        return one.parameter == slice.parameter && one.begin <= slice.begin && slice.end <= one.end;
    });
    check(found != all.end(), "checkpoint: {} is not updated here", slice.parameter->name);
    return static_cast<std::size_t>(found - all.begin());
}

void check_tensors(const SafetensorsFile& file, const SafetensorsLayout& expected) {
    const auto wrong = [&](const std::string& what) {
        fail(Exit::bad_checkpoint, "{}: {}; the checkpoint is of another model or adapter", file.path().string(), what);
    };
    for (const FileTensor& tensor : expected.tensors) {
        const FileTensor* found = file.find(tensor.name);
        if (!found) wrong("there is no tensor " + tensor.name);
        if (found->shape != tensor.shape || found->dtype != tensor.dtype)
            wrong(format("{} is {} {}, expected {} {}", tensor.name, name_of(found->dtype), shape_text(found->shape),
                         name_of(tensor.dtype), shape_text(tensor.shape)));
    }
    if (file.tensors().size() != expected.tensors.size())
        wrong(format("{} tensors, expected {}", file.tensors().size(), expected.tensors.size()));
}

}   // namespace

SafetensorsLayout state_layout(const std::vector<Parameter*>& trainable, const std::vector<std::string>& state_names) {
    std::vector<TensorSpec> tensors;
    for (const Parameter* parameter : trainable) {
        tensors.push_back({value_name(*parameter), FileDType::f32, parameter->shape.sizes()});
        for (const std::string& state : state_names)
            tensors.push_back({state + "." + parameter->name, FileDType::f32, parameter->shape.sizes()});
    }
    return lay_out_safetensors(state_file_name, tensors);
}

ValueCopies copy_values(const std::vector<Parameter*>& parameters) {
    const PurposeScope purpose(Purpose::workspace);
    ValueCopies copies;
    for (const Parameter* parameter : parameters) {
        Tensor& values = copies[parameter] = Tensor::empty(parameter->shape, DType::f32, parameter->value.place());
        copy(parameter->value, values);
    }
    return copies;
}

StateCopy copy_state(Optimizer& optimizer, const std::vector<ParameterSlice>& slices, const ValueCopies& copied) {
    const PurposeScope purpose(Purpose::workspace);
    StateCopy out;
    for (const ParameterSlice& slice : slices) {
        const std::size_t index = slice_around(optimizer, slice);
        const std::int64_t offset = slice.begin - optimizer.slices()[index].begin;
        const auto values = copied.find(slice.parameter);
        out.pieces.push_back({value_name(*slice.parameter), slice.begin,
                              values == copied.end() ? copy_of(slice.value()) : slice.part_of(values->second)});
        for (const auto& [state, tensor] : optimizer.state(index))
            out.pieces.push_back({state + "." + slice.parameter->name, slice.begin,
                                  copy_of(tensor.row_range(offset, offset + slice.elements()))});
    }
    return out;
}

WrittenRanges write_state(const std::filesystem::path& file, const SafetensorsLayout& layout, const StateCopy& copy,
                          bool write_head) {
    std::vector<const StateCopy::Piece*> in_order;
    for (const StateCopy::Piece& piece : copy.pieces) in_order.push_back(&piece);
    const auto place = [&](const StateCopy::Piece* piece) {
        return std::tuple(layout.at(piece->tensor).begin, piece->begin);
    };
    std::sort(in_order.begin(), in_order.end(), [&](auto* a, auto* b) { return place(a) < place(b); });
    SafetensorsRangeWriter writer(file, layout);
    if (write_head) writer.write_head();
    for (const StateCopy::Piece* piece : in_order) writer.write(piece->tensor, piece->begin, bytes_of(piece->values));
    return writer.finish();
}

void read_state(const std::filesystem::path& file, const std::vector<Parameter*>& trainable, Optimizer& optimizer) {
    const SafetensorsRangeReader reader(file);
    check_tensors(reader.file(), state_layout(trainable, optimizer.state_names()));
    for (Parameter* parameter : trainable) {
        reader.read(value_name(*parameter), 0, bytes_of(parameter->value));
        parameter->changed();
    }
    for (std::size_t i = 0; i < optimizer.slices().size(); ++i) {
        const ParameterSlice& slice = optimizer.slices()[i];
        for (const auto& [state, values] : optimizer.state(i))
            reader.read(state + "." + slice.parameter->name, slice.begin, bytes_of(values));
    }
}

}   // namespace trainer
