#include "models/group.h"

#include "autograd/ops/concat_columns.h"
#include "autograd/ops/scale_columns.h"
#include "autograd/quant/dense.h"
#include "autograd/quant/packed_weight.h"
#include "autograd/quant/row_view.h"
#include "configs/error.h"

namespace trainer {

namespace {

// The parameter that computes while adapters are on.
Parameter* in_use(Parameter* parameter) {
    return parameter && parameter->replacement ? parameter->replacement : parameter;
}

void append_low_rank(const LowRank& form, std::int64_t begin, std::int64_t end, std::vector<LowRankTerm>& terms) {
    terms.push_back({begin, end, form.a, form.b, form.scale, form.dropout, form.site});
    if (form.initial_a) terms.push_back({begin, end, form.initial_a, form.initial_b, -form.scale, 0, 0});
}

}   // namespace

LinearGroup::LinearGroup(const Scope& scope, std::int64_t in, const std::vector<LinearSpec>& members) {
    for (const LinearSpec& member : members)
        members_.push_back({std::make_unique<Linear>(scope / member.name, in, member.out, member.bias), {}, {}, {}});
}

void LinearGroup::prepare(Place place, DType compute) {
    const PurposeScope purpose(Purpose::weights);
    std::vector<Parameter*> weights;
    DType storage = compute;
    for (const Member& member : members_) {
        weights.push_back(member.linear->weight);
        if (member.linear->weight->trainable) storage = member.linear->weight->trained_dtype;
    }
    weight_ = make_weight(weights, storage, compute, place);

    bare_ = {weight_.get(), {}, {}};
    with_adapters_ = {weight_.get(), {}, {}};
    fused_ = true;
    std::int64_t row = 0;
    for (Member& member : members_) {
        Linear& linear = *member.linear;
        const std::int64_t end = row + linear.out_features;
        linear.rows = std::make_unique<RowView>(*weight_, row, end);
        fused_ = prepare_member(member, place, compute) && fused_;
        bare_.dense.push_back({row, end, linear.weight, linear.bias});
        with_adapters_.dense.push_back({row, end, linear.weight, in_use(linear.bias)});
        if (member.form)
            if (const auto* low = std::get_if<LowRank>(&*member.form))
                append_low_rank(*low, row, end, with_adapters_.low_rank);
        row = end;
    }
    if (fused_ && members_.front().replaced) with_adapters_ = members_.front().terms;   // the only member
}

bool LinearGroup::prepare_member(Member& member, Place place, DType compute) {
    Linear& linear = *member.linear;
    if (Parameter* bias = linear.bias) {
        bias->value = Tensor::empty(bias->shape, bias->trained_dtype, place);
        if (Parameter* other = bias->replacement)
            other->value = Tensor::empty(other->shape, other->trained_dtype, place);
    }
    if (Parameter* other = linear.weight->replacement)
        member.replaced =
            std::make_unique<DenseWeight>(std::vector<Parameter*>{other}, other->trained_dtype, compute, place);
    member.terms = {member.replaced ? member.replaced.get() : linear.rows.get(), {}, {}};
    member.terms.dense.push_back({0, linear.out_features, in_use(linear.weight), in_use(linear.bias)});
    member.form.reset();
    if (auto& replaced = linear.replaced_rows) {
        check(members_.size() == 1 && !linear.adapter, "{}: replaced rows beside others", linear.name);
        replaced->rows->value = Tensor::empty(replaced->rows->shape, DType::f32, place);
        member.terms.replaced = {*replaced};
        with_adapters_.replaced = {*replaced};
    }
    if (linear.adapter) {
        linear.adapter->prepare(place);
        member.form = linear.adapter->form();
        if (const auto* low = std::get_if<LowRank>(&*member.form))
            append_low_rank(*low, 0, linear.out_features, member.terms.low_rank);
    }
    return (!member.form || std::holds_alternative<LowRank>(*member.form)) &&
           (!member.replaced || members_.size() == 1);
}

Tensor LinearGroup::operator()(const Tensor& x, const ForwardContext& context) const {
    if (context.adapters && !fused_) return member_by_member(x, context);
    return linear(x, terms(context), context.layout, context.training);
}

const LinearTerms& LinearGroup::terms(const ForwardContext& context) const {
    if (!context.adapters) return bare_;
    check(fused_, "group of {}: an adapter that is not low-rank has no terms", members_.front().linear->name);
    return with_adapters_;
}

Tensor LinearGroup::run(const Member& member, const Tensor& x, const ForwardContext& context) const {
    const auto plain = [&](const Tensor& in) { return linear(in, member.terms, context.layout, context.training); };
    if (!member.form) return plain(x);
    if (const auto* form = std::get_if<InputTransform>(&*member.form)) return plain(form->apply(x, context));
    if (const auto* form = std::get_if<OutputScale>(&*member.form)) return scale_columns(plain(x), *form->scale);
    if (const auto* form = std::get_if<General>(&*member.form)) return form->apply(x, member.terms, context);
    return plain(x);
}

Tensor LinearGroup::member_by_member(const Tensor& x, const ForwardContext& context) const {
    if (members_.size() == 1) return run(members_.front(), x, context);
    std::vector<Tensor> outputs;
    for (const Member& member : members_) outputs.push_back(run(member, x, context));
    return concat_columns(outputs);
}

}   // namespace trainer
