#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "comm/parameter_slice.h"
#include "hub/safetensors_ranges.h"
#include "optim/optimizer.h"

namespace trainer {

inline constexpr const char* state_file_name = "optimizer.safetensors";

// optimizer.safetensors of a checkpoint: for every trainable parameter "value.<name>", its f32 master, and for every
// state tensor of the optimizer "<state>.<name>", all in the parameter's shape. The layout knows no ranks.
SafetensorsLayout state_layout(const std::vector<Parameter*>& trainable, const std::vector<std::string>& state_names);

// The values of parameters at one moment, in f32.
using ValueCopies = std::map<const Parameter*, Tensor>;
ValueCopies copy_values(const std::vector<Parameter*>& parameters);

// A copy of some slices with their state, taken at one moment, to be written while training goes on.
struct StateCopy {
    struct Piece {
        std::string tensor;
        std::int64_t begin = 0;   // elements
        Tensor values;            // f32, one-dimensional
    };
    std::vector<Piece> pieces;
};

// `slices` must lie in the optimizer's own. Values that `copied` holds are shared with it.
StateCopy copy_state(Optimizer& optimizer, const std::vector<ParameterSlice>& slices, const ValueCopies& copied);

// Writes the pieces into the shared file; exactly one process writes its head. Errors: those of the range writer.
WrittenRanges write_state(const std::filesystem::path& file, const SafetensorsLayout& layout, const StateCopy& copy,
                          bool write_head);

// Fills the values of all trainable parameters, and the state of the optimizer's slices. Error(bad_checkpoint) when
// tensors are missing or have another shape.
void read_state(const std::filesystem::path& file, const std::vector<Parameter*>& trainable, Optimizer& optimizer);

}   // namespace trainer
