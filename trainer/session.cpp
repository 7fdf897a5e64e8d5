#include "trainer/session.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/load.h"
#include "models/registry.h"
#include "trainer/adapter_base_check.h"
#include "trainer/model_output.h"

namespace trainer {

namespace {

// What an adapter's folder says of its own: the template and the end of text it was trained with.
std::string template_of(const std::filesystem::path& adapter) {
    const std::filesystem::path own = adapter / "chat_template.jinja";
    return !adapter.empty() && std::filesystem::exists(own) ? own.string() : "tokenizer";
}

std::string end_of_text_of(const std::filesystem::path& adapter) {
    const std::filesystem::path own = adapter / "tokenizer_config.json";
    if (adapter.empty() || !std::filesystem::exists(own)) return "";
    const Node config = read_json(own);
    const Node* token = config.find("eos_token");
    if (!token || token->is_null()) return "";
    return token->is_map() ? token->at("content").as_string() : token->as_string();
}

// The first answer of an adapter that is not the usual one.
std::string first_own(const std::vector<NamedAdapter>& adapters,
                      const std::function<std::string(const std::filesystem::path&)>& ask, const std::string& usual) {
    for (const NamedAdapter& adapter : adapters)
        if (std::string own = ask(adapter.folder); own != usual) return own;
    return usual;
}

}   // namespace

BaseModel open_base_model(const std::string& model, const std::string& revision, const std::string& adapter) {
    return open_base_model(model, revision, Node(), template_of(adapter), end_of_text_of(adapter));
}

Session::Session(const std::string& model, const std::string& revision, const std::vector<NamedAdapter>& adapters,
                 bool other_base)
    : base_(open_base_model(model, revision, Node(), first_own(adapters, template_of, "tokenizer"),
                            first_own(adapters, end_of_text_of, ""))),
      model_(make_causal_lm(base_.snapshot.config)),
      adapters_(adapters) {
    adapters_.attach(model_->declarations());
    for (const NamedAdapter& adapter : adapters) check_base_of(adapter.folder, base_, {other_base, "--other-base"});
    const std::vector<std::string> notes = adapters_.notes();
    base_.warnings.insert(base_.warnings.end(), notes.begin(), notes.end());
}

std::vector<std::int32_t> Session::prompt_ids(const std::string& text) const { return tokenizer().ids(text, true); }

std::vector<std::int32_t> Session::chat_ids(const Node& messages) const {
    require(base_.chat != nullptr, Exit::bad_data, "{}: the model has no chat template; use --prompt",
            base_.snapshot.base);
    const ChatTemplate::Rendered rendered =
        base_.chat->render({messages, true, nullptr, nullptr, base_.special.variables});
    return tokenizer().ids(rendered.text, false);
}

std::vector<std::int32_t> Session::stop_ids() const {
    std::vector<std::int32_t> ids;
    if (base_.special.eos >= 0) ids.push_back(base_.special.eos);
    for (const Node* document : {&base_.snapshot.generation_config, &base_.snapshot.config}) {
        const Node* value = document->find("eos_token_id");
        if (!value || value->is_null()) continue;
        for (const Node& id : value->is_list() ? value->as_list() : Node::List{*value})
            ids.push_back(static_cast<std::int32_t>(id.as_integer()));
    }
    return ids;
}

void Session::load(std::int64_t capacity) {
    const DType compute = stored_dtype(base_.snapshot.config) == DType::bf16 ? DType::bf16 : DType::f32;
    model_->prepare(Place::cpu(), compute, capacity);
    load_parameters(model_->parameters(), *base_.snapshot.weights, base_.snapshot.base);
    adapters_.initialise();
    generator_ = std::make_unique<Generator>(*model_, stop_ids(), capacity);
}

}   // namespace trainer
