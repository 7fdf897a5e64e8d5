#pragma once

#include "configs/node.h"
#include "hub/gguf.h"

namespace trainer {

// The tokenizer in a GGUF file as the hub's documents. Supported: byte-level BPE (`tokenizer.ggml.model` gpt2) with
// pre-tokenizers smollm, gpt-2, llama-bpe, qwen2 and default. Error(bad_data) names what is not supported.

// Equal in meaning to tokenizer.json: the same ids for every text.
Node gguf_tokenizer(const GgufFile& file);

// tokenizer_config.json: special tokens, chat_template (when there is one), model_max_length. Its class is the generic
// one, so that transformers takes tokenizer.json as it is.
Node gguf_tokenizer_config(const GgufFile& file);

}   // namespace trainer
