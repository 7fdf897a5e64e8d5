#include "hub/gguf.h"

#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "configs/error.h"
#include "configs/utf8.h"

namespace trainer {

namespace {

struct TypeEntry {
    GgufType type;
    std::string_view name;
    std::int64_t elements;   // of a block
    std::int64_t bytes;
};

constexpr TypeEntry types[] = {
    {GgufType::f32, "F32", 1, 4},
    {GgufType::f16, "F16", 1, 2},
    {GgufType::q4_0, "Q4_0", 32, 18},
    {GgufType::q4_1, "Q4_1", 32, 20},
    {GgufType::q5_0, "Q5_0", 32, 22},
    {GgufType::q5_1, "Q5_1", 32, 24},
    {GgufType::q8_0, "Q8_0", 32, 34},
    {GgufType::q8_1, "Q8_1", 32, 36},
    {GgufType::q2_k, "Q2_K", 256, 84},
    {GgufType::q3_k, "Q3_K", 256, 110},
    {GgufType::q4_k, "Q4_K", 256, 144},
    {GgufType::q5_k, "Q5_K", 256, 176},
    {GgufType::q6_k, "Q6_K", 256, 210},
    {GgufType::q8_k, "Q8_K", 256, 292},
    {GgufType::iq2_xxs, "IQ2_XXS", 256, 66},
    {GgufType::iq2_xs, "IQ2_XS", 256, 74},
    {GgufType::iq3_xxs, "IQ3_XXS", 256, 98},
    {GgufType::iq1_s, "IQ1_S", 256, 50},
    {GgufType::iq4_nl, "IQ4_NL", 32, 18},
    {GgufType::iq3_s, "IQ3_S", 256, 110},
    {GgufType::iq2_s, "IQ2_S", 256, 82},
    {GgufType::iq4_xs, "IQ4_XS", 256, 136},
    {GgufType::i8, "I8", 1, 1},
    {GgufType::i16, "I16", 1, 2},
    {GgufType::i32, "I32", 1, 4},
    {GgufType::i64, "I64", 1, 8},
    {GgufType::f64, "F64", 1, 8},
    {GgufType::iq1_m, "IQ1_M", 256, 56},
    {GgufType::bf16, "BF16", 1, 2},
    {GgufType::tq1_0, "TQ1_0", 256, 54},
    {GgufType::tq2_0, "TQ2_0", 256, 66},
    {GgufType::mxfp4, "MXFP4", 32, 17},
};

const TypeEntry* find_type(GgufType type) {
    for (const TypeEntry& entry : types)
        if (entry.type == type) return &entry;
    return nullptr;
}

// Value types of metadata.
enum class Value : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
constexpr std::uint32_t value_kinds = 13;
constexpr std::array<std::size_t, value_kinds> value_bytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};   // at least

// A float as the double of its shortest decimal text: 9.99999975e-06f was written as 1e-05 and is read as that.
double widened(float value) {
    std::array<char, 32> text;
    const auto written = std::to_chars(text.data(), text.data() + text.size(), value);
    double result = 0;
    const auto read = std::from_chars(text.data(), written.ptr, result);
    return read.ec == std::errc() ? result : static_cast<double>(value);
}

// Reads forward, never past the end.
class Cursor {
public:
    Cursor(const std::string& file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

    std::size_t position() const { return position_; }
    std::size_t left() const { return bytes_.size() - position_; }

    template <typename Number>
    Number number(std::string_view what) {
        Number value;
        std::memcpy(&value, take(sizeof(Number), what).data(), sizeof(Number));
        return value;
    }

    std::string string(std::string_view what) {
        const auto length = number<std::uint64_t>(what);
        require(length <= left(), Exit::bad_data, "{}: {} claims {} bytes of text, only {} follow", file_, what, length,
                left());
        const auto bytes = take(static_cast<std::size_t>(length), what);
        std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        require(first_invalid_utf8(text) == text.size(), Exit::bad_data, "{}: {} is not valid UTF-8", file_, what);
        return text;
    }

private:
    std::span<const std::byte> take(std::size_t count, std::string_view what) {
        require(count <= left(), Exit::bad_data, "{}: the file ends inside {}", file_, what);
        const auto part = bytes_.subspan(position_, count);
        position_ += count;
        return part;
    }

    const std::string& file_;
    std::span<const std::byte> bytes_;
    std::size_t position_ = 0;
};

Node read_value(Cursor& cursor, const std::string& file, Value kind, const std::string& what) {
    switch (kind) {
        case Value::u8:
            return Node(static_cast<std::int64_t>(cursor.number<std::uint8_t>(what)));
        case Value::i8:
            return Node(static_cast<std::int64_t>(cursor.number<std::int8_t>(what)));
        case Value::u16:
            return Node(static_cast<std::int64_t>(cursor.number<std::uint16_t>(what)));
        case Value::i16:
            return Node(static_cast<std::int64_t>(cursor.number<std::int16_t>(what)));
        case Value::u32:
            return Node(static_cast<std::int64_t>(cursor.number<std::uint32_t>(what)));
        case Value::i32:
            return Node(static_cast<std::int64_t>(cursor.number<std::int32_t>(what)));
        case Value::i64:
            return Node(cursor.number<std::int64_t>(what));
        case Value::f32:
            return Node(widened(cursor.number<float>(what)));
        case Value::f64:
            return Node(cursor.number<double>(what));
        case Value::string:
            return Node(cursor.string(what));
        case Value::boolean: {
            const auto value = cursor.number<std::uint8_t>(what);
            require(value <= 1, Exit::bad_data, "{}: {} is a boolean of value {}", file, what, value);
            return Node(value == 1);
        }
        case Value::u64: {
            const auto value = cursor.number<std::uint64_t>(what);
            require(value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()), Exit::bad_data,
                    "{}: {} is {}, which is too large", file, what, value);
            return Node(static_cast<std::int64_t>(value));
        }
        case Value::array:
            break;
    }
    const auto element = cursor.number<std::uint32_t>(what);
    require(element < value_kinds, Exit::bad_data, "{}: {} is an array of the unknown type {}", file, what, element);
    require(static_cast<Value>(element) != Value::array, Exit::bad_data, "{}: {} is an array of arrays", file, what);
    const auto count = cursor.number<std::uint64_t>(what);
    require(count <= cursor.left() / value_bytes[element], Exit::bad_data,
            "{}: {} claims {} elements, only {} bytes follow", file, what, count, cursor.left());
    Node::List list;
    list.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i)
        list.push_back(read_value(cursor, file, static_cast<Value>(element), what));
    return Node(std::move(list));
}

Node read_metadata(Cursor& cursor, const std::string& file, std::uint64_t count) {
    Node::Map metadata;
    std::unordered_set<std::string> keys;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::string key = cursor.string(format("metadata key {}", i + 1));
        require(!key.empty(), Exit::bad_data, "{}: metadata key {} is empty", file, i + 1);
        require(keys.insert(key).second, Exit::bad_data, "{}: metadata key {} is there twice", file, key);
        const auto kind = cursor.number<std::uint32_t>(key);
        require(kind < value_kinds, Exit::bad_data, "{}: {} has the unknown type {}", file, key, kind);
        Node value = read_value(cursor, file, static_cast<Value>(kind), key);
        metadata.push_back({std::move(key), std::move(value), {}});
    }
    return Node(std::move(metadata));
}

struct Placed {
    GgufTensor tensor;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
};

Placed read_tensor_info(Cursor& cursor, const std::string& file, std::uint64_t number) {
    Placed placed;
    GgufTensor& tensor = placed.tensor;
    tensor.name = cursor.string(format("the name of tensor {}", number));
    require(!tensor.name.empty() && tensor.name.size() < 64, Exit::bad_data,
            "{}: the name of tensor {} has {} bytes, expected 1 to 63", file, number, tensor.name.size());
    const std::string what = "tensor " + tensor.name;
    const auto dimensions = cursor.number<std::uint32_t>(what);
    require(dimensions <= 4, Exit::bad_data, "{}: {} has {} dimensions, expected at most 4", file, what, dimensions);
    tensor.shape.resize(dimensions);
    std::int64_t elements = 1;
    for (std::size_t i = dimensions; i-- > 0;) {
        const auto size = cursor.number<std::int64_t>(what);
        require(size > 0, Exit::bad_data, "{}: {} has a dimension of size {}", file, what,
                static_cast<std::uint64_t>(size));
        require(!__builtin_mul_overflow(elements, size, &elements), Exit::bad_data,
                "{}: {} has more elements than 64 bits can count", file, what);
        tensor.shape[i] = size;
    }
    const auto type = cursor.number<std::uint32_t>(what);
    const TypeEntry* entry = find_type(static_cast<GgufType>(type));
    require(entry != nullptr, Exit::bad_data, "{}: {} has the unknown type {}", file, what, type);
    tensor.type = entry->type;
    require(tensor.row_length() % entry->elements == 0, Exit::bad_data,
            "{}: {} has rows of {} elements, {} needs a multiple of {}", file, what, tensor.row_length(), entry->name,
            entry->elements);
    std::int64_t size = 0;
    require(!__builtin_mul_overflow(elements / entry->elements, entry->bytes, &size), Exit::bad_data,
            "{}: {} has more bytes than 64 bits can count", file, what);
    placed.size = static_cast<std::uint64_t>(size);
    placed.offset = cursor.number<std::uint64_t>(what);
    return placed;
}

std::uint64_t read_alignment(const std::string& file, const Node& metadata) {
    const Node* node = metadata.find("general.alignment");
    if (!node) return 32;
    require(node->is_integer() && node->as_integer() > 0 && (node->as_integer() & (node->as_integer() - 1)) == 0 &&
                node->as_integer() <= (1 << 30),
            Exit::bad_data, "{}: general.alignment: expected a power of two, found {}", file, node->describe());
    return static_cast<std::uint64_t>(node->as_integer());
}

std::uint64_t padded(std::uint64_t size, std::uint64_t alignment) {
    return (size + alignment - 1) / alignment * alignment;
}

}   // namespace

std::int64_t GgufTensor::rows() const {
    std::int64_t count = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) count *= shape[i];
    return count;
}

std::string_view name_of(GgufType type) { return find_type(type)->name; }
std::int64_t block_elements(GgufType type) { return find_type(type)->elements; }
std::int64_t block_bytes(GgufType type) { return find_type(type)->bytes; }

GgufFile::GgufFile(std::filesystem::path path) : file_(std::move(path)) {
    const std::string name = file_.path().string();
    const auto bytes = file_.bytes();
    Cursor cursor(name, bytes);
    require(bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0, Exit::bad_data,
            "{}: is not a GGUF file: it does not begin with \"GGUF\"", name);
    cursor.number<std::uint32_t>("the header");
    version_ = cursor.number<std::uint32_t>("the header");
    require(version_ != 0x02000000 && version_ != 0x03000000, Exit::bad_data,
            "{}: is a big-endian GGUF file; convert it to little-endian", name);
    require(version_ == 2 || version_ == 3, Exit::bad_data, "{}: GGUF version {}, expected 2 or 3", name, version_);
    const auto tensor_count = cursor.number<std::uint64_t>("the header");
    const auto key_count = cursor.number<std::uint64_t>("the header");
    constexpr std::size_t smallest_key = 13, smallest_tensor = 24;   // bytes of a key with value, of a tensor's entry
    require(key_count <= cursor.left() / smallest_key, Exit::bad_data,
            "{}: the header claims {} metadata keys, only {} bytes follow", name, key_count, cursor.left());
    metadata_ = read_metadata(cursor, name, key_count);
    require(tensor_count <= cursor.left() / smallest_tensor, Exit::bad_data,
            "{}: the header claims {} tensors, only {} bytes follow", name, tensor_count, cursor.left());
    const std::uint64_t alignment = read_alignment(name, metadata_);

    std::vector<Placed> placed;
    for (std::uint64_t i = 0; i < tensor_count; ++i) {
        placed.push_back(read_tensor_info(cursor, name, i + 1));
        require(index_.emplace(placed.back().tensor.name, i).second, Exit::bad_data, "{}: tensor {} is there twice",
                name, placed.back().tensor.name);
    }
    const std::uint64_t data_begin = padded(cursor.position(), alignment);
    const std::uint64_t available = bytes.size() > data_begin ? bytes.size() - data_begin : 0;
    std::uint64_t expected = 0;
    for (Placed& entry : placed) {
        require(entry.offset == expected, Exit::bad_data, "{}: tensor {} lies at offset {}, expected {}", name,
                entry.tensor.name, entry.offset, expected);
        require(entry.offset <= available && entry.size <= available - entry.offset, Exit::bad_data,
                "{}: the file is truncated: tensor {} needs {} bytes at offset {}, the data has {}", name,
                entry.tensor.name, entry.size, entry.offset, available);
        entry.tensor.bytes = bytes.subspan(data_begin + entry.offset, entry.size);
        expected = padded(entry.offset + entry.size, alignment);
        tensors_.push_back(std::move(entry.tensor));
    }
}

const GgufTensor* GgufFile::find(std::string_view name) const {
    const auto found = index_.find(std::string(name));
    return found == index_.end() ? nullptr : &tensors_[found->second];
}

const GgufTensor& GgufFile::at(std::string_view name) const {
    const GgufTensor* tensor = find(name);
    require(tensor != nullptr, Exit::bad_data, "{}: tensor {} is missing", path().string(), name);
    return *tensor;
}

}   // namespace trainer
