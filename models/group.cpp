#include "models/group.h"

#include "autograd/ops/concat_columns.h"
#include "autograd/quant/packed_weight.h"
#include "autograd/quant/row_view.h"
#include "configs/error.h"

namespace trainer {

LinearGroup::LinearGroup(const Scope& scope, std::int64_t in, const std::vector<LinearSpec>& members) {
    for (const LinearSpec& member : members)
        members_.push_back(std::make_unique<Linear>(scope / member.name, in, member.out, member.bias));
}

void LinearGroup::prepare(Place place, DType compute) {
    std::vector<Parameter*> weights;
    bool trainable = false;
    for (const auto& member : members_) {
        weights.push_back(member->weight);
        trainable = trainable || member->weight->trainable;
    }
    {
        const PurposeScope purpose(Purpose::weights);
        weight_ = make_weight(weights, trainable ? DType::f32 : compute, compute, place);
        for (const auto& member : members_)
            if (member->bias) member->bias->value = Tensor::empty(member->bias->shape, DType::f32, place);
        for (const auto& member : members_)
            if (member->adapter) member->adapter->prepare(place);
    }

    bare_ = {};
    bare_.weight = weight_.get();
    with_adapters_ = {};
    general_.assign(members_.size(), {});
    member_terms_.clear();
    views_.clear();
    bool fused = true;
    std::int64_t row = 0;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        const Linear& member = *members_[i];
        const std::int64_t end = row + member.out_features;
        bare_.dense.push_back({row, end, member.weight, member.bias});

        views_.push_back(std::make_unique<RowView>(*weight_, row, end));
        LinearTerms alone;
        alone.weight = views_.back().get();
        alone.dense.push_back({0, member.out_features, member.weight, member.bias});
        if (member.adapter) {
            const AdapterForm form = member.adapter->form();
            if (const auto* low = std::get_if<LowRank>(&form)) {
                with_adapters_.low_rank.push_back({row, end, low->a, low->b, low->scale, low->dropout, low->site});
                alone.low_rank.push_back({0, member.out_features, low->a, low->b, low->scale, low->dropout, low->site});
            } else {
                general_[i] = std::get<General>(form);
                fused = false;
            }
        }
        member_terms_.push_back(std::move(alone));
        row = end;
    }
    with_adapters_.weight = bare_.weight;
    with_adapters_.dense = bare_.dense;
    if (fused) {   // nothing needs the members one by one
        member_terms_.clear();
        views_.clear();
        general_.clear();
    }
}

Tensor LinearGroup::operator()(const Tensor& x, const ForwardContext& context) const {
    if (context.adapters && !general_.empty()) return member_by_member(x, context);
    return linear(x, terms(context), context.layout, context.training);
}

const LinearTerms& LinearGroup::terms(const ForwardContext& context) const {
    if (!context.adapters) return bare_;
    check(general_.empty(), "group of {}: an adapter that is not low-rank has no terms", members_.front()->name);
    return with_adapters_;
}

Tensor LinearGroup::member_by_member(const Tensor& x, const ForwardContext& context) const {
    std::vector<Tensor> outputs;
    for (std::size_t i = 0; i < members_.size(); ++i) {
        Tensor y = linear(x, member_terms_[i], context.layout, context.training);
        outputs.push_back(general_[i].apply ? general_[i].apply(x, y, context) : y);
    }
    return concat_columns(outputs);
}

}   // namespace trainer
