#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/safetensors.h"

namespace trainer {

// A tensor that a file will hold.
struct TensorSpec {
    std::string name;
    FileDType dtype = FileDType::f32;
    FileShape shape;
};

// Where every byte of a safetensors file lies, known from names, types and shapes before anything is written.
struct SafetensorsLayout {
    std::string head;                  // the first bytes of the file: length and JSON header; then the data
    std::vector<FileTensor> tensors;   // in the order of the data; begin and end relative to it

    std::uint64_t data_begin() const { return head.size(); }
    std::uint64_t file_size() const { return head.size() + (tensors.empty() ? 0 : tensors.back().end); }
    const FileTensor& at(std::string_view name) const;   // Error(internal) when absent
};

// The layout of the reference writer for these tensors. `file` is for messages. Error(internal) when names repeat, are
// reserved or a shape has no size in bytes.
SafetensorsLayout lay_out_safetensors(const std::string& file, const std::vector<TensorSpec>& tensors,
                                      const FileMetadata& metadata = {{"format", "pt"}});

}   // namespace trainer
