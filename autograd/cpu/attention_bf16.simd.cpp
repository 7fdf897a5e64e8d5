// Compiled for v4bf16 only (cmake/Room.cmake).
#include "autograd/cpu/attention_backward.h"
#include "autograd/cpu/attention_decode.h"

namespace trainer::TRAINER_ISA {

void attention_forward_block(const AttentionForward& task, std::int64_t begin, std::int64_t end, float* scratch) {
    decodes(task.head) ? decode<bf16>(task, scratch) : forward<Paired>(task, begin, end, scratch);
}

void attention_backward_begin(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                              float* scratch) {
    backward_begin<Paired>(task, key_begin, key_end, scratch);
}

void attention_backward_step(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                             std::int64_t begin, std::int64_t end, bool last, float* scratch) {
    backward_step<Paired>(task, key_begin, key_end, begin, end, last, scratch);
}

void attention_backward_finish(const AttentionBackward& task, std::int64_t key_begin, std::int64_t key_end,
                               float* scratch) {
    backward_finish<Paired>(task, key_begin, key_end, scratch);
}

}   // namespace trainer::TRAINER_ISA
