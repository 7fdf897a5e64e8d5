#include "models/group.h"

#include <algorithm>

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

// Those of the forms that are low-rank.
void append_low_rank(const std::vector<AdapterForm>& forms, std::int64_t begin, std::int64_t end,
                     std::vector<LowRankTerm>& terms) {
    for (const AdapterForm& form : forms) {
        const auto* low = std::get_if<LowRank>(&form);
        if (!low) continue;
        terms.push_back({begin, end, low->a, low->b, low->scale, low->dropout, low->site});
        if (low->initial_a) terms.push_back({begin, end, low->initial_a, low->initial_b, -low->scale, 0, 0});
    }
}

bool all_low_rank(const std::vector<AdapterForm>& forms) {
    return std::all_of(forms.begin(), forms.end(),
                       [](const AdapterForm& form) { return std::holds_alternative<LowRank>(form); });
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

    stack_biases(place, compute);
    bare_ = {weight_.get(), {}, {}, {}, biases_};
    with_adapters_ = {weight_.get(), {}, {}, {}, biases_};
    fused_ = true;
    std::int64_t row = 0;
    for (Member& member : members_) {
        Linear& linear = *member.linear;
        const std::int64_t end = row + linear.out_features;
        linear.rows = std::make_unique<RowView>(*weight_, row, end);
        fused_ = prepare_member(member, place, compute) && fused_;
        bare_.dense.push_back({row, end, linear.weight, linear.bias});
        with_adapters_.dense.push_back({row, end, linear.weight, in_use(linear.bias)});
        append_low_rank(member.forms, row, end, with_adapters_.low_rank);
        row = end;
    }
    if (fused_ && members_.front().replaced) with_adapters_ = members_.front().terms;   // the only member
}

// On a device frozen biases lie side by side in the type of what they are added to, so that the product adds them.
void LinearGroup::stack_biases(Place place, DType compute) {
    biases_ = Tensor();
    std::int64_t width = 0;
    for (const Member& member : members_) {
        const Parameter* bias = member.linear->bias;
        if (!place.on_device() || !bias || bias->trainable || bias->replacement) return;
        width += bias->shape.elements();
    }
    biases_ = Tensor::empty(width, compute, place);
    std::int64_t begin = 0;
    for (const Member& member : members_) {
        Parameter& bias = *member.linear->bias;
        bias.value = biases_.row_range(begin, begin + bias.shape.elements());
        begin += bias.shape.elements();
    }
}

bool LinearGroup::prepare_member(Member& member, Place place, DType compute) {
    Linear& linear = *member.linear;
    if (Parameter* bias = linear.bias; bias && !biases_.defined()) {
        bias->value = Tensor::empty(bias->shape, bias->trained_dtype, place);
        if (Parameter* other = bias->replacement)
            other->value = Tensor::empty(other->shape, other->trained_dtype, place);
    }
    if (Parameter* other = linear.weight->replacement)
        member.replaced =
            std::make_unique<DenseWeight>(std::vector<Parameter*>{other}, other->trained_dtype, compute, place);
    member.terms = {member.replaced ? member.replaced.get() : linear.rows.get(), {}, {}};
    member.terms.dense.push_back({0, linear.out_features, in_use(linear.weight), in_use(linear.bias)});
    if (auto& replaced = linear.replaced_rows) {
        check(members_.size() == 1 && linear.adapters.empty(), "{}: replaced rows beside others", linear.name);
        replaced->rows->value = Tensor::empty(replaced->rows->shape, replaced->rows->trained_dtype, place);
        member.terms.replaced = {*replaced};
        with_adapters_.replaced = {*replaced};
    }
    member.forms.clear();
    for (const auto& adapter : linear.adapters) {
        adapter->prepare(place);
        member.forms.push_back(adapter->form());
        check(linear.adapters.size() == 1 || !std::holds_alternative<General>(member.forms.back()),
              "{}: an adapter of a general form beside others", linear.name);
    }
    append_low_rank(member.forms, 0, linear.out_features, member.terms.low_rank);
    return all_low_rank(member.forms) && (!member.replaced || members_.size() == 1);
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
    if (member.forms.size() == 1)
        if (const auto* form = std::get_if<General>(&member.forms.front()))
            return form->apply(x, member.terms, context);
    Tensor input = x;
    for (const AdapterForm& form : member.forms)
        if (const auto* transform = std::get_if<InputTransform>(&form)) input = transform->apply(input, context);
    Tensor y = linear(input, member.terms, context.layout, context.training);
    for (const AdapterForm& form : member.forms)
        if (const auto* output = std::get_if<OutputScale>(&form)) y = scale_columns(y, *output->scale);
    return y;
}

Tensor LinearGroup::member_by_member(const Tensor& x, const ForwardContext& context) const {
    if (members_.size() == 1) return run(members_.front(), x, context);
    std::vector<Tensor> outputs;
    for (const Member& member : members_) outputs.push_back(run(member, x, context));
    return concat_columns(outputs);
}

}   // namespace trainer
