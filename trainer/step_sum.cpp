#include "trainer/gradient_sum.h"

namespace trainer {

namespace {

// Gradients stay with their rank until the last leaf is done (Sharding none and optimizer).
class StepSum : public GradientSum {
public:
    StepSum(std::vector<std::vector<Parameter*>> units, DataPath& path, Determinism sums, bool sharded)
        : GradientSum(std::move(units), path, sharded), sums_(sums) {}

    std::vector<std::int64_t> leaves_of(std::int64_t leaves) const override {
        std::vector<std::int64_t> mine;
        const LeafRange range = leaves_of_rank(leaves, ranks_.rank(), ranks_.size());
        for (std::int64_t leaf = range.begin; leaf < range.end; ++leaf) mine.push_back(leaf);
        return mine;
    }

    void begin(std::int64_t leaves) override {
        leaves_ = leaves;
        next_leaf_ = leaves_of_rank(leaves, ranks_.rank(), ranks_.size()).begin;
    }

    void unit_done(std::size_t) override {}

    void add_leaf() override {
        if (sums_ == Determinism::strict) tree_.push({next_leaf_, 0}, take_gradients(parameters_));
        ++next_leaf_;
    }

    void finish() override {
        if (ranks_.size() == 1) {
            if (!tree_.empty()) give_back(tree_.finish());
        } else if (sums_ == Determinism::fast && !sharded_) {
            all_reduce();
        } else {
            exchange();
        }
        if (!sharded_)
            for (std::size_t i = 0; i < slices_.size(); ++i) gradients_[i] = slices_[i].gradient();
    }

private:
    struct Add {
        void operator()(Gradients& sum, Gradients& term) const {
            for (auto& [parameter, gradient] : term) AddTensors()(sum[parameter], gradient);
        }
    };

    static void give_back(Gradients sums) {
        for (auto& [parameter, sum] : sums) parameter->gradient = std::move(sum);
    }

    // The partial sums every rank comes with.
    std::vector<std::vector<LeafBlock>> blocks() const {
        std::vector<std::vector<LeafBlock>> all;
        for (int rank = 0; rank < ranks_.size(); ++rank) {
            const LeafRange range = leaves_of_rank(leaves_, rank, ranks_.size());
            if (sums_ == Determinism::strict)
                all.push_back(blocks_of(range));
            else
                all.push_back(range.size() > 0 ? std::vector<LeafBlock>{{rank, 0}} : std::vector<LeafBlock>{});
        }
        return all;
    }

    std::vector<PartialGradients> take_partials(const std::vector<LeafBlock>& mine) {
        std::vector<PartialGradients> partials;
        if (sums_ == Determinism::strict) {
            for (auto& [block, gradients] : tree_.take()) partials.push_back({block, std::move(gradients)});
        } else if (!mine.empty()) {
            partials.push_back({mine.front(), take_gradients(parameters_)});
        }
        return partials;
    }

    void exchange() {
        const auto all = blocks();
        const std::vector<PartialGradients> partials = take_partials(all[static_cast<std::size_t>(ranks_.rank())]);
        // A bucket's sums take the place of what this rank has sent of it.
        for (Parameter* parameter : parameters_) parameter->gradient = place_for_sums(*parameter, partials);
        for (std::size_t bucket = 0; bucket < layout_.buckets(); ++bucket) {
            LeafTree<Tensor, AddTensors> tree{AddTensors()};
            const PurposeScope purpose(Purpose::workspace);
            for (auto& [block, part] : exchange_.collect(bucket, partials, all)) tree.push(block, part);
            const Tensor sum = tree.finish();
            if (sharded_)
                keep(bucket, sum);
            else
                exchange_.distribute(bucket, sum, [](const ParameterSlice& slice) { return slice.gradient(); });
        }
    }

    // Undefined where a rank that keeps only its part had no gradient.
    Tensor place_for_sums(Parameter& parameter, const std::vector<PartialGradients>& partials) const {
        if (!partials.empty())
            if (const auto own = partials.front().by_parameter.find(&parameter);
                own != partials.front().by_parameter.end())
                return own->second;
        const PurposeScope purpose(Purpose::gradients);
        return sharded_ ? Tensor() : Tensor::empty(parameter.shape, DType::f32, path_.place());
    }

    void keep(std::size_t bucket, const Tensor& sum) {
        const PurposeScope purpose(Purpose::gradients);
        std::size_t slice = first_slice(bucket);
        std::int64_t offset = 0;
        for (const ParameterSlice& part : layout_.part(bucket, ranks_.rank())) {
            Tensor& kept = gradients_[slice++];
            kept = part.gradient();
            if (!kept.defined()) kept = Tensor::empty(part.elements(), DType::f32, path_.place());
            copy(sum.row_range(offset, offset + part.elements()), kept);
            offset += part.elements();
        }
    }

    // Small gradients, such as an adapter's, travel together.
    void all_reduce() {
        constexpr std::int64_t most_together = std::int64_t{8} << 20;   // elements
        std::vector<Parameter*> together;
        std::int64_t elements = 0;
        for (Parameter* parameter : parameters_) {
            if (!together.empty() && elements + parameter->shape.elements() > most_together) {
                all_reduce(whole_slices(together), elements);
                together.clear();
                elements = 0;
            }
            together.push_back(parameter);
            elements += parameter->shape.elements();
        }
        if (!together.empty()) all_reduce(whole_slices(together), elements);
    }

    void all_reduce(const std::vector<ParameterSlice>& whole, std::int64_t elements) {
        for (const ParameterSlice& slice : whole)
            if (Tensor& gradient = slice.parameter->gradient; !gradient.defined())
                gradient = slice.parameter->zeroed_gradient(path_.place());
        if (whole.size() == 1) return path_.all_reduce(whole.front().gradient());
        const PurposeScope purpose(Purpose::workspace);
        const Tensor flat = Tensor::empty(elements, DType::f32, path_.place());
        gather_slices(
            whole, [](const ParameterSlice& slice) { return slice.gradient(); }, flat);
        path_.all_reduce(flat);
        std::int64_t offset = 0;
        for (const ParameterSlice& slice : whole) {
            Tensor gradient = slice.gradient();
            copy(flat.row_range(offset, offset + slice.elements()), gradient);
            offset += slice.elements();
        }
    }

    Determinism sums_;
    std::int64_t leaves_ = 0;   // of the step
    std::int64_t next_leaf_ = 0;
    LeafTree<Gradients, Add> tree_{Add()};
};

}   // namespace

std::unique_ptr<GradientSum> make_step_sum(std::vector<std::vector<Parameter*>> units, DataPath& path, Determinism sums,
                                           bool sharded) {
    return std::make_unique<StepSum>(std::move(units), path, sums, sharded);
}

}   // namespace trainer
