#include "hub/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <tuple>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/convert.h"
#include "hub/output_file.h"
#include "hub/safetensors_layout.h"

static_assert(std::endian::native == std::endian::little, "files are little-endian and read in place");

namespace trainer {

namespace {

struct DTypeEntry {
    std::string_view name;
    int bits;
};

constexpr std::array<DTypeEntry, 22> dtypes = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

// A header number: written as a plain non-negative integer.
std::uint64_t natural(const Node& node, const std::string& where) {
    require(node.kind() == Node::Kind::integer && node.as_integer() >= 0, Exit::bad_data,
            "{}: expected a non-negative integer, found {}", where, node.describe());
    return static_cast<std::uint64_t>(node.as_integer());
}

FileTensor read_entry(const std::string& file, const std::string& name, const Node& node) {
    const std::string where = format("{}: tensor {}", file, name);
    require(!name.empty(), Exit::bad_data, "{}: a tensor has an empty name", file);
    require(name.find('\0') == std::string::npos, Exit::bad_data, "{}: a tensor name holds a NUL character", file);
    require(node.is_map(), Exit::bad_data, "{}: expected a map, found {}", where, node.describe());
    for (const char* key : {"dtype", "shape", "data_offsets"})
        require(node.contains(key), Exit::bad_data, "{}: key \"{}\" is missing", where, key);
    FileTensor tensor;
    tensor.name = name;

    const Node& dtype = node.at("dtype");
    require(dtype.is_string(), Exit::bad_data, "{}: dtype: expected a string, found {}", where, dtype.describe());
    const auto known = file_dtype(dtype.as_string());
    require(known.has_value(), Exit::bad_data, "{}: unknown dtype \"{}\"", where, dtype.as_string());
    tensor.dtype = *known;

    const Node& shape = node.at("shape");
    require(shape.is_list(), Exit::bad_data, "{}: shape: expected a list, found {}", where, shape.describe());
    for (const Node& size : shape.as_list())
        tensor.shape.push_back(static_cast<std::int64_t>(natural(size, where + ": shape")));

    const Node& offsets = node.at("data_offsets");
    require(offsets.is_list() && offsets.size() == 2, Exit::bad_data,
            "{}: data_offsets: expected a list of two integers, found {}", where, offsets.describe());
    tensor.begin = natural(offsets.as_list()[0], where + ": data_offsets");
    tensor.end = natural(offsets.as_list()[1], where + ": data_offsets");
    return tensor;
}

// The tensors cover the data without gap and overlap, and each has the size its shape says.
void check_layout(const std::string& file, const std::vector<FileTensor>& tensors, std::uint64_t data_size) {
    std::uint64_t position = 0;
    for (const FileTensor& tensor : tensors) {
        require(tensor.begin <= tensor.end, Exit::bad_data, "{}: tensor {}: ends at byte {} before it begins at {}",
                file, tensor.name, tensor.end, tensor.begin);
        require(tensor.begin == position, Exit::bad_data,
                "{}: tensor {}: {} the data before it: begins at byte {}, expected {}", file, tensor.name,
                tensor.begin < position ? "overlaps" : "leaves a hole after", tensor.begin, position);
        const auto bytes = byte_count(tensor.dtype, tensor.shape);
        require(bytes.has_value(), Exit::bad_data, "{}: tensor {}: shape {} of {} has no valid size in bytes", file,
                tensor.name, shape_text(tensor.shape), name_of(tensor.dtype));
        require(*bytes == tensor.end - tensor.begin, Exit::bad_data,
                "{}: tensor {}: shape {} of {} needs {} bytes, the header gives it {}", file, tensor.name,
                shape_text(tensor.shape), name_of(tensor.dtype), *bytes, tensor.end - tensor.begin);
        position = tensor.end;
    }
    require(position <= data_size, Exit::bad_data,
            "{}: the file is truncated: its tensors need {} bytes of data, it has {}", file, position, data_size);
    require(position == data_size, Exit::bad_data, "{}: {} bytes follow the last tensor", file, data_size - position);
}

FileMetadata read_metadata(const std::string& file, const Node& node) {
    FileMetadata metadata;
    if (node.is_null()) return metadata;
    require(node.is_map(), Exit::bad_data, "{}: __metadata__: expected a map, found {}", file, node.describe());
    for (const auto& entry : node.as_map()) {
        require(entry.value.is_string(), Exit::bad_data, "{}: __metadata__: {}: expected a string, found {}", file,
                entry.key, entry.value.describe());
        metadata[entry.key] = entry.value.as_string();
    }
    return metadata;
}

}   // namespace

std::string_view name_of(FileDType dtype) { return dtypes[static_cast<std::size_t>(dtype)].name; }
int bits_of(FileDType dtype) { return dtypes[static_cast<std::size_t>(dtype)].bits; }

std::optional<FileDType> file_dtype(std::string_view name) {
    for (std::size_t i = 0; i < dtypes.size(); ++i)
        if (dtypes[i].name == name) return static_cast<FileDType>(i);
    return {};
}

FileDType file_dtype(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return FileDType::f32;
        case DType::bf16:
            return FileDType::bf16;
        case DType::f16:
            return FileDType::f16;
        case DType::i32:
            return FileDType::i32;
        case DType::u8:
            return FileDType::u8;
        case DType::u64:
            return FileDType::u64;
    }
    fail(Exit::internal, "file_dtype: unknown dtype");
}

std::optional<std::uint64_t> byte_count(FileDType dtype, const FileShape& shape) {
    std::uint64_t elements = 1;
    for (const std::int64_t size : shape)
        if (__builtin_mul_overflow(elements, static_cast<std::uint64_t>(size), &elements)) return {};
    std::uint64_t bits = 0;
    if (__builtin_mul_overflow(elements, static_cast<std::uint64_t>(bits_of(dtype)), &bits)) return {};
    if (bits % 8 != 0) return {};
    return bits / 8;
}

std::string shape_text(const FileShape& shape) {
    std::vector<std::string> sizes;
    for (const std::int64_t size : shape) sizes.push_back(std::to_string(size));
    return "[" + join(sizes) + "]";
}

std::int64_t element_count(const FileShape& shape) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    return count;
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path) : file_(std::move(path)) {
    const std::string name = file_.path().string();
    const auto bytes = file_.bytes();
    require(bytes.size() >= 8, Exit::bad_data, "{}: {} bytes are too few for a safetensors file", name, bytes.size());
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    require(length <= largest_safetensors_header, Exit::bad_data,
            "{}: the header claims {} bytes, more than the limit of {}", name, length, largest_safetensors_header);
    require(length <= bytes.size() - 8, Exit::bad_data,
            "{}: the file is truncated: its header claims {} bytes, only {} follow", name, length, bytes.size() - 8);
    data_offset_ = 8 + static_cast<std::size_t>(length);

    const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, static_cast<std::size_t>(length));
    const Node header = parse_json(text, name + " (header)");
    require(header.is_map(), Exit::bad_data, "{}: the header is not a map but {}", name, header.describe());
    for (const auto& entry : header.as_map()) {
        if (entry.key == "__metadata__") {
            metadata_ = read_metadata(name, entry.value);
        } else {
            tensors_.push_back(read_entry(name, entry.key, entry.value));
        }
    }
    std::stable_sort(tensors_.begin(), tensors_.end(), [](const FileTensor& a, const FileTensor& b) {
        return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
    });
    check_layout(name, tensors_, bytes.size() - data_offset_);
    for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const FileTensor* SafetensorsFile::find(std::string_view name) const {
    const auto found = index_.find(std::string(name));
    return found == index_.end() ? nullptr : &tensors_[found->second];
}

const FileTensor& SafetensorsFile::at(std::string_view name) const {
    const FileTensor* tensor = find(name);
    require(tensor != nullptr, Exit::bad_data, "{}: tensor {} is missing", path().string(), name);
    return *tensor;
}

std::span<const std::byte> SafetensorsFile::bytes(const FileTensor& tensor) const {
    return file_.bytes().subspan(data_offset_ + tensor.begin, tensor.end - tensor.begin);
}

void SafetensorsFile::read(const FileTensor& tensor, DType target, void* destination) const {
    require(can_convert(tensor.dtype), Exit::bad_data, "{}: tensor {} has dtype {}, which cannot be read as {}",
            path().string(), tensor.name, name_of(tensor.dtype), name_of(target));
    constexpr std::int64_t piece = 1 << 18;
    const auto source = bytes(tensor);
    const std::int64_t count = element_count(tensor.shape);
    const std::int64_t width = bits_of(tensor.dtype) / 8;
    const auto target_width = static_cast<std::int64_t>(size_of(target));
#pragma omp parallel for schedule(dynamic) if (count > 4 * piece)
    for (std::int64_t begin = 0; begin < count; begin += piece) {
        const std::int64_t size = std::min(piece, count - begin);
        const std::byte* in = source.data() + begin * width;
        convert_from_file(tensor.dtype, in, size, target, static_cast<std::byte*>(destination) + begin * target_width);
        file_.release({in, static_cast<std::size_t>(size * width)});
    }
}

TensorToWrite tensor_in_memory(std::string name, FileDType dtype, FileShape shape, const Tensor& tensor) {
    TensorToWrite out;
    out.name = std::move(name);
    out.dtype = dtype;
    out.shape = std::move(shape);
    out.bytes = {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()};
    return out;
}

std::uint64_t TensorToWrite::byte_count() const {
    const auto count = trainer::byte_count(dtype, shape);
    check(count.has_value(), "safetensors: tensor {}: shape {} of {} has no valid size", name, shape_text(shape),
          trainer::name_of(dtype));
    return *count;
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const FileMetadata& metadata) {
    std::vector<TensorSpec> specs;
    std::unordered_map<std::string_view, const TensorToWrite*> by_name;
    for (const TensorToWrite& tensor : tensors) {
        specs.push_back({tensor.name, tensor.dtype, tensor.shape});
        by_name.emplace(tensor.name, &tensor);
    }
    const SafetensorsLayout layout = lay_out_safetensors(path.string(), specs, metadata);

    OutputFile file(path);
    file.write(layout.head);
    for (const FileTensor& place : layout.tensors) {
        const TensorToWrite& tensor = *by_name.at(place.name);
        const std::uint64_t begin = file.size();
        if (tensor.produce) {
            tensor.produce([&file](std::span<const std::byte> part) { file.write(part); });
        } else {
            file.write(tensor.bytes);
        }
        check(file.size() - begin == place.end - place.begin, "safetensors: tensor {} has {} bytes, its shape needs {}",
              tensor.name, file.size() - begin, place.end - place.begin);
    }
    file.commit();
}

}   // namespace trainer
