#pragma once

#include <memory>
#include <string>

#include "data/encoder.h"
#include "data/template.h"
#include "tests/data/tokenizer_fixture.h"

namespace trainer::test {

inline constexpr const char* chat_ml =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}";

// A byte-level tokenizer with the merge " x" and the special tokens <|im_start|>, <|im_end|>, <s>, </s>;
// `add_bos`: plain text gets <s> in front.
inline std::unique_ptr<Tokenizer> chat_tokenizer(bool add_bos = false) {
    Node document = byte_document({{byte_level::letter(' '), "x"}});
    Node added = Node::list();
    int id = 257;
    for (const char* content : {"<|im_start|>", "<|im_end|>", "<s>", "</s>"}) {
        Node token = json(R"({"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true})");
        token.set("id", id++);
        token.set("content", content);
        added.push_back(std::move(token));
    }
    document.set("added_tokens", std::move(added));
    if (add_bos)
        document.set("post_processor", json(R"({"type":"TemplateProcessing",
            "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
            "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
            "special_tokens":{"<s>":{"id":"<s>","ids":[259],"tokens":["<s>"]}}})"));
    return make_tokenizer(document);
}

// A tokenizer, a template and options together.
class ChatWorld {
public:
    explicit ChatWorld(const std::string& source = chat_ml, EncodeOptions options = {}, bool add_bos = false)
        : tokenizer(chat_tokenizer(add_bos)), chat(source, "chat"), options_(std::move(options)) {
        special.bos = tokenizer->id_of("<s>");
        special.eos = tokenizer->id_of("</s>");
        special.variables = json(R"({"bos_token": "<s>", "eos_token": "</s>"})");
    }

    Encoder encoder() const { return Encoder(*tokenizer, &chat, special, options_); }

    EncodedRow encode(const std::string& format, const std::string& row) const {
        return encoder().encode(data_formats().at(format)(json(row)));
    }

    // The row's tokens joined, runs of trained ones in «».
    std::string marked(const EncodedRow& row) const {
        std::string out;
        for (std::size_t i = 0; i < row.ids.size(); ++i) {
            const bool before = i > 0 && row.trained[i - 1];
            if (row.trained[i] && !before) out += "«";
            if (!row.trained[i] && before) out += "»";
            out += tokenizer->bytes_of(row.ids[i], false);
        }
        return out + (!row.trained.empty() && row.trained.back() ? "»" : "");
    }
    std::string marked(const std::string& row, const std::string& format = "messages") const {
        return marked(encode(format, row));
    }

    std::unique_ptr<Tokenizer> tokenizer;
    ChatTemplate chat;
    Encoder::Special special;

private:
    EncodeOptions options_;
};

inline EncodeOptions train_on(TrainOn which) {
    EncodeOptions options;
    options.train_on = which;
    return options;
}

}   // namespace trainer::test
