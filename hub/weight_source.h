#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/dtype.h"
#include "autograd/quant/packed_matrix.h"
#include "hub/gguf.h"
#include "hub/safetensors.h"

namespace trainer {

// The weights of a model under their hub names, wherever they are stored. Nothing is held in memory: `read` converts
// from the mapped file into the caller's memory. Reading different tensors from several threads is allowed, but each
// read is itself parallel.
//
// Names that carry no weights (rotary tables, position ids, stored causal masks) are left out; a missing base prefix
// ("model.") is added; of a tied pair only the embedding remains.
class WeightSource {
public:
    virtual ~WeightSource() = default;

    virtual const std::vector<std::string>& names() const = 0;   // sorted
    virtual bool contains(const std::string& name) const = 0;
    // The following: Error(bad_data) when the tensor is absent.
    virtual FileShape shape(const std::string& name) const = 0;
    virtual std::string stored_type(const std::string& name) const = 0;   // "BF16", "Q4_1"; for messages and reports
    virtual std::span<const std::byte> bytes(const std::string& name) const = 0;   // as they lie in the file
    // Target f32, bf16 or f16; `destination` holds all elements, rows in hub order.
    virtual void read(const std::string& name, DType target, void* destination) const = 0;

    // The compressed format in which a matrix is stored, not yet prepared; null when it is stored as plain numbers.
    // Unpacked values are rounded to `dtype` unless the file says what it was compressed from.
    virtual std::shared_ptr<PackedMatrix> packed(const std::string& name, DType dtype) const = 0;
    // Fills a prepared matrix with what is stored; false, and nothing done, when that has another format.
    virtual bool read_packed(const std::string& name, PackedMatrix& matrix) const = 0;
};

// `folder` holds model.safetensors or model.safetensors.index.json. `config` is read for the base prefix and for
// tie_word_embeddings; where the file holds a different head although the config ties, the config is set to untied and
// a note is appended. Error(no_input) when the folder has no safetensors; refused when it has only pickles.
std::unique_ptr<WeightSource> open_safetensors_weights(const std::filesystem::path& folder, Node& config,
                                                       std::vector<std::string>& notes);

// The files that hold the weights of a folder: one file, or the index and its shards.
std::vector<std::filesystem::path> weight_files(const std::filesystem::path& folder);

std::unique_ptr<WeightSource> open_gguf_weights(std::shared_ptr<const GgufFile> file);

}   // namespace trainer
