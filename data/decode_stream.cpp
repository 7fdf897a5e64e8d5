#include "data/decode_stream.h"

#include "data/unicode.h"

namespace trainer {

std::string DecodeStream::push(std::int32_t id) {
    if (skip_special_tokens_ && tokenizer_.is_special(id)) return "";
    const std::string bytes = tokenizer_.bytes_of(id, first_);
    if (bytes.empty()) return "";
    first_ = false;
    waiting_ += bytes;
    const std::size_t ready = waiting_.size() - unicode::incomplete_suffix(waiting_);
    std::string text = unicode::lossy(std::string_view(waiting_).substr(0, ready));
    waiting_.erase(0, ready);
    return text;
}

std::string DecodeStream::finish() {
    std::string text = unicode::lossy(waiting_);
    waiting_.clear();
    first_ = true;
    return text;
}

}   // namespace trainer
