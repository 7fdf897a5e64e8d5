#include "hub/convert.h"

#include <cstring>
#include <type_traits>

#include "configs/error.h"

namespace trainer {

namespace {

template <typename Element>
Element load(const std::byte* in, std::int64_t i) {
    Element value;
    std::memcpy(&value, in + i * static_cast<std::int64_t>(sizeof(Element)), sizeof(Element));
    return value;
}

template <typename Element, typename Target>
void convert(const std::byte* in, std::int64_t count, Target* out) {
    if constexpr (std::is_same_v<Element, Target>) {
        std::memcpy(out, in, static_cast<std::size_t>(count) * sizeof(Element));
    } else {
        for (std::int64_t i = 0; i < count; ++i) out[i] = Target(static_cast<float>(load<Element>(in, i)));
    }
}

template <typename Target>
bool convert(FileDType from, const std::byte* in, std::int64_t count, Target* out) {
    switch (from) {
        case FileDType::f32:
            convert<float>(in, count, out);
            return true;
        case FileDType::bf16:
            convert<bf16>(in, count, out);
            return true;
        case FileDType::f16:
            convert<f16>(in, count, out);
            return true;
        case FileDType::f64:
            convert<double>(in, count, out);
            return true;
        case FileDType::boolean:
        case FileDType::u8:
            convert<std::uint8_t>(in, count, out);
            return true;
        case FileDType::i8:
            convert<std::int8_t>(in, count, out);
            return true;
        case FileDType::i16:
            convert<std::int16_t>(in, count, out);
            return true;
        case FileDType::u16:
            convert<std::uint16_t>(in, count, out);
            return true;
        case FileDType::i32:
            convert<std::int32_t>(in, count, out);
            return true;
        case FileDType::u32:
            convert<std::uint32_t>(in, count, out);
            return true;
        case FileDType::i64:
            convert<std::int64_t>(in, count, out);
            return true;
        case FileDType::u64:
            convert<std::uint64_t>(in, count, out);
            return true;
        default:
            return false;
    }
}

}   // namespace

bool convert_from_file(FileDType from, const std::byte* in, std::int64_t count, DType target, void* out) {
    switch (target) {
        case DType::f32:
            return convert(from, in, count, static_cast<float*>(out));
        case DType::bf16:
            return convert(from, in, count, static_cast<bf16*>(out));
        case DType::f16:
            return convert(from, in, count, static_cast<f16*>(out));
        default:
            fail(Exit::internal, "convert_from_file: target {}, expected f32, bf16 or f16", name_of(target));
    }
}

bool can_convert(FileDType from) {
    const std::byte nothing{};
    float unused = 0;
    return convert_from_file(from, &nothing, 0, DType::f32, &unused);
}

void convert_to_file(const float* in, std::int64_t count, FileDType to, std::byte* out) {
    switch (to) {
        case FileDType::f32:
            std::memcpy(out, in, static_cast<std::size_t>(count) * sizeof(float));
            return;
        case FileDType::bf16:
            for (std::int64_t i = 0; i < count; ++i) {
                const bf16 value(in[i]);
                std::memcpy(out + 2 * i, &value, sizeof value);
            }
            return;
        case FileDType::f16:
            for (std::int64_t i = 0; i < count; ++i) {
                const f16 value(in[i]);
                std::memcpy(out + 2 * i, &value, sizeof value);
            }
            return;
        default:
            fail(Exit::internal, "convert_to_file: {} is not written", name_of(to));
    }
}

}   // namespace trainer
