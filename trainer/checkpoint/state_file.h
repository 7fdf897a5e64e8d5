#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "comm/parameter_slice.h"
#include "hub/safetensors_ranges.h"
#include "optim/optimizer.h"

namespace trainer {

inline constexpr const char* state_file_name = "optimizer.safetensors";

// optimizer.safetensors of a checkpoint: for every trainable parameter "value.<name>", its master, and for every
// state tensor of the optimizer "<state>.<name>", in the parameter's shape where it has an element for each of the
// parameter's, else one-dimensional. The layout knows no ranks.
SafetensorsLayout state_layout(const std::vector<Parameter*>& trainable, const Optimizer& optimizer);

// A copy of some slices with their state, and of whole parameters, taken at one moment, to be written while training
// goes on. Its memory is had when it is made, counts as workspace, and serves for one copy after the other.
class StateCopy {
public:
    // `slices` must lie in the optimizer's own. Values of parameters in `whole` are copied whole, others by slice. All
    // three must outlive the copying. What the optimizer keeps in a store is copied there.
    StateCopy(Optimizer& optimizer, const std::vector<ParameterSlice>& slices, const std::vector<Parameter*>& whole);

    // Asks the system for the memory before it is used, so that no copying waits for it. Does nothing where the system
    // cannot. May run while `take` does; ends early when `stop` is asked for.
    void populate(const std::stop_token& stop) const;
    // Copies everything as it is now. What reads the last copy must have ended.
    void take();

    struct Piece {
        std::string tensor;
        std::int64_t begin = 0;   // elements
        Tensor values;            // one-dimensional; without memory where `waiting` has them
        std::shared_ptr<Offloaded> waiting = {};
    };
    const std::vector<Piece>& pieces() const { return pieces_; }
    const Tensor& value_of(const Parameter& parameter) const;   // of one in `whole`
    // Shows a piece's values, in parts where they wait in a store.
    void show(const Piece& piece,
              const std::function<void(std::int64_t begin, std::span<const std::byte> values)>& see) const;

private:
    struct Source {
        ParameterSlice slice;
        std::size_t index;    // of the optimizer's slice that it lies in
        std::string state;    // "": the values
        std::int64_t begin;   // of that state's tensor, elements
        std::int64_t end;
        std::size_t piece;
    };
    void copy_values(const Source& source, Optimizer::State& state) const;

    Optimizer& optimizer_;
    std::map<const Parameter*, Tensor> whole_;
    std::vector<Piece> pieces_;
    std::vector<Source> sources_;   // of the pieces that no whole parameter holds
    Tensor part_;                   // bytes of a piece that is read back; undefined without a store
};

// The parameters that a rank copies whole: rank 0, which writes the model's files, all that are trained.
std::vector<Parameter*> copied_whole(const ParameterSet& parameters, int rank);

// Writes the pieces into the shared file; exactly one process writes its head. Errors: those of the range writer.
std::vector<WrittenRanges> write_state(const std::filesystem::path& file, const SafetensorsLayout& layout,
                                       const StateCopy& copy, bool write_head);

// Fills the values of all trainable parameters, and the state of the optimizer's slices. Error(bad_checkpoint) when
// tensors are missing or have another shape.
void read_state(const std::filesystem::path& file, const std::vector<Parameter*>& trainable, Optimizer& optimizer);

}   // namespace trainer
