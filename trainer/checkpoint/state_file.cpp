#include "trainer/checkpoint/state_file.h"

#include <algorithm>
#include <span>
#include <tuple>

#include "configs/error.h"

namespace trainer {

namespace {

// No longer than a few milliseconds, in which others who want memory may have to wait.
constexpr std::size_t populated_at_once = 8 << 20;
constexpr std::size_t read_back_at_once = 16 << 20;

std::string value_name(const Parameter& parameter) { return "value." + parameter.name; }

std::string state_name(const StateTensor& state, const Parameter& parameter) {
    return state.name + "." + parameter.name;
}

TensorSpec spec_of(const StateTensor& state, const Parameter& parameter) {
    const ParameterSlice whole{nullptr, 0, parameter.shape.elements()};
    return {state_name(state, parameter), file_dtype(state.dtype),
            state.grain == 1 ? parameter.shape.sizes() : FileShape{state.end(whole)}};
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

// Tensors of a file that are read together, by way of the host where they are on a device.
class ReadTensors {
public:
    explicit ReadTensors(const SafetensorsRangeReader& reader) : reader_(reader) {}

    void add(const std::string& name, std::int64_t begin, const Tensor& to) {
        const Tensor here = to.place().is_cpu() ? to : Tensor::empty(to.shape(), to.dtype());
        parts_.push_back({name, begin, bytes_of(here)});
        tensors_.emplace_back(here, to);
    }
    void read() {
        reader_.read(parts_);
        for (auto& [here, to] : tensors_)
            if (!to.place().is_cpu()) copy(here, to);
        parts_.clear();
        tensors_.clear();
    }

private:
    const SafetensorsRangeReader& reader_;
    std::vector<SafetensorsRangeReader::Part> parts_;
    std::vector<std::pair<Tensor, Tensor>> tensors_;
};

}   // namespace

SafetensorsLayout state_layout(const std::vector<Parameter*>& trainable, const Optimizer& optimizer) {
    std::vector<TensorSpec> tensors;
    for (const Parameter* parameter : trainable) {
        tensors.push_back({value_name(*parameter), file_dtype(parameter->value.dtype()), parameter->shape.sizes()});
        for (const StateTensor& state : optimizer.state_tensors(*parameter))
            tensors.push_back(spec_of(state, *parameter));
    }
    return lay_out_safetensors(state_file_name, tensors);
}

StateCopy::StateCopy(Optimizer& optimizer, const std::vector<ParameterSlice>& slices,
                     const std::vector<Parameter*>& whole)
    : optimizer_(optimizer) {
    const PurposeScope purpose(Purpose::workspace);
    for (const Parameter* parameter : whole)
        whole_[parameter] = Tensor::empty(parameter->shape, parameter->value.dtype(), parameter->value.place().host());
    std::size_t largest = 0;   // piece that waits in a store
    for (const ParameterSlice& slice : slices) {
        const auto add = [&](const Source& source, const std::string& name, std::int64_t begin, std::int64_t elements,
                             DType dtype) {
            pieces_.push_back({name, begin, Tensor::empty(elements, dtype, slice.parameter->value.place().host())});
            sources_.push_back(source);
        };
        const std::size_t index = slice_around(optimizer, slice);
        const std::string name = value_name(*slice.parameter);
        if (const auto values = whole_.find(slice.parameter); values != whole_.end())
            pieces_.push_back({name, slice.begin, slice.part_of(values->second)});
        else
            add({slice, index, "", 0, 0, pieces_.size()}, name, slice.begin, slice.elements(),
                slice.parameter->value.dtype());
        for (const StateTensor& state : optimizer.state_tensors(*slice.parameter)) {
            if (state.grain == 0 && slice.begin > 0) continue;   // goes with the beginning of the parameter
            const std::int64_t begin = state.begin(slice);
            const std::int64_t end = state.end(slice);
            const std::int64_t held = state.begin(optimizer.slices()[index]);
            add({slice, index, state.name, begin - held, end - held, pieces_.size()},
                state_name(state, *slice.parameter), begin, end - begin, state.dtype);
            // On a device the copy is the host's in any case.
            if (!optimizer.store() || slice.parameter->value.place().on_device()) continue;
            Piece& piece = pieces_.back();
            piece.waiting = std::make_shared<Offloaded>(*optimizer.store(), piece.values);
            piece.values.give_memory_back();
            largest = std::max<std::size_t>(largest, piece.waiting->bytes());
        }
    }
    if (largest > 0)
        part_ = Tensor::empty(static_cast<std::int64_t>(std::min(largest, read_back_at_once)), DType::u8,
                              pieces_.front().values.place());
}

void StateCopy::copy_values(const Source& source, Optimizer::State& state) const {
    Piece piece = pieces_[source.piece];
    const Tensor values =
        source.state.empty() ? source.slice.value() : state.at(source.state).row_range(source.begin, source.end);
    if (piece.waiting)
        piece.waiting->write(values);
    else
        copy(values, piece.values);
}

void StateCopy::take() {
    for (auto& [parameter, values] : whole_) copy(parameter->value, values);
    for (auto first = sources_.begin(); first != sources_.end();) {
        const auto last =
            std::find_if(first, sources_.end(), [&](const Source& one) { return one.index != first->index; });
        optimizer_.with_state(first->index, Optimizer::Access::read, [&](Optimizer::State& state) {
            for (; first != last; ++first) copy_values(*first, state);
        });
    }
}

void StateCopy::show(const Piece& piece,
                     const std::function<void(std::int64_t begin, std::span<const std::byte> values)>& see) const {
    if (!piece.waiting) return see(piece.begin, bytes_of(piece.values));
    const auto size = static_cast<std::int64_t>(size_of(piece.values.dtype()));
    const auto all = static_cast<std::int64_t>(piece.waiting->bytes());
    for (std::int64_t begin = 0; begin < all; begin += part_.elements()) {
        Tensor part = part_.row_range(0, std::min(part_.elements(), all - begin));
        piece.waiting->read(part, static_cast<std::uint64_t>(begin));
        see(piece.begin + begin / size, bytes_of(part));
    }
}

void StateCopy::populate(const std::stop_token& stop) const {
    const auto all = [&](const Tensor& values) {
        for (std::span<std::byte> rest = bytes_of(values); !rest.empty() && !stop.stop_requested();) {
            const std::span<std::byte> part = rest.first(std::min(rest.size(), populated_at_once));
            populate_memory(part);
            rest = rest.subspan(part.size());
        }
    };
    for (const auto& [parameter, values] : whole_) all(values);
    for (const Source& source : sources_)
        if (!pieces_[source.piece].waiting) all(pieces_[source.piece].values);
}

const Tensor& StateCopy::value_of(const Parameter& parameter) const { return whole_.at(&parameter); }

std::vector<Parameter*> copied_whole(const ParameterSet& parameters, int rank) {
    return rank == 0 ? parameters.trainable() : std::vector<Parameter*>();
}

std::vector<WrittenRanges> write_state(const std::filesystem::path& file, const SafetensorsLayout& layout,
                                       const StateCopy& copy, bool write_head) {
    std::vector<const StateCopy::Piece*> in_order;
    for (const StateCopy::Piece& piece : copy.pieces()) in_order.push_back(&piece);
    const auto place = [&](const StateCopy::Piece* piece) {
        return std::tuple(layout.at(piece->tensor).begin, piece->begin);
    };
    std::sort(in_order.begin(), in_order.end(), [&](auto* a, auto* b) { return place(a) < place(b); });
    SafetensorsRangeWriter writer(file, layout);
    if (write_head) writer.write_head();
    for (const StateCopy::Piece* piece : in_order)
        copy.show(*piece, [&](std::int64_t begin, std::span<const std::byte> values) {
            writer.write(piece->tensor, begin, values);
        });
    return writer.finish();
}

void read_state(const std::filesystem::path& file, const std::vector<Parameter*>& trainable, Optimizer& optimizer) {
    const SafetensorsRangeReader reader(file);
    check_tensors(reader.file(), state_layout(trainable, optimizer));
    ReadTensors tensors(reader);
    for (const Parameter* parameter : trainable) tensors.add(value_name(*parameter), 0, parameter->value);
    tensors.read();
    for (std::size_t i = 0; i < optimizer.slices().size(); ++i) {
        const ParameterSlice& slice = optimizer.slices()[i];
        optimizer.with_state(i, Optimizer::Access::change, [&](Optimizer::State& state) {
            for (const StateTensor& one : optimizer.state_tensors(*slice.parameter))
                tensors.add(state_name(one, *slice.parameter), one.begin(slice), state.at(one.name));
            tensors.read();
        });
    }
    for (Parameter* parameter : trainable) parameter->changed();
}

}   // namespace trainer
