#include "comm/gradient_exchange.h"

#include <algorithm>

#include "configs/error.h"

namespace trainer {

namespace {

Tensor gradient_in(const PartialGradients& gradients, const ParameterSlice& slice) {
    const auto found = gradients.by_parameter.find(slice.parameter);
    return found == gradients.by_parameter.end() ? Tensor() : slice.part_of(found->second);
}

}   // namespace

void gather_slices(const std::vector<ParameterSlice>& slices,
                   const std::function<Tensor(const ParameterSlice&)>& values, Tensor out) {
    std::int64_t offset = 0;
    for (const ParameterSlice& slice : slices) {
        Tensor target = out.row_range(offset, offset + slice.elements());
        if (const Tensor value = values(slice); value.defined())
            copy(value, target);
        else
            fill(target, -0.0f);
        offset += slice.elements();
    }
}

std::vector<std::pair<LeafBlock, Tensor>> GradientExchange::collect(std::size_t bucket,
                                                                    const std::vector<PartialGradients>& mine,
                                                                    const std::vector<std::vector<LeafBlock>>& blocks) {
    const int rank_here = path_.ranks().rank();
    const auto own = static_cast<std::size_t>(rank_here);
    check(blocks[own].size() == mine.size(), "exchange: {} blocks of gradients, {} announced", mine.size(),
          blocks[own].size());
    std::vector<Tensor> outgoing;
    std::vector<Tensor> incoming;
    const std::int64_t my_elements = layout_.elements(bucket, rank_here);
    for (std::size_t rank = 0; rank < blocks.size(); ++rank) {
        const auto& slices = layout_.part(bucket, static_cast<int>(rank));
        const std::int64_t elements = layout_.elements(bucket, static_cast<int>(rank));
        const auto count = static_cast<std::int64_t>(mine.size());
        const bool self = rank == own;
        if (!self && count == 1 && slices.size() == 1)   // lies together already
            if (const Tensor gradient = gradient_in(mine.front(), slices.front()); gradient.defined()) {
                outgoing.push_back(gradient);
                continue;
            }
        const PurposeScope purpose(self ? current_purpose() : Purpose::workspace);
        const Tensor& packed = outgoing.emplace_back(Tensor::empty(count * elements, DType::f32, path_.place()));
        for (std::int64_t i = 0; i < count; ++i)
            gather_slices(
                slices,
                [&](const ParameterSlice& slice) { return gradient_in(mine[static_cast<std::size_t>(i)], slice); },
                packed.row_range(i * elements, (i + 1) * elements));
    }
    for (std::size_t rank = 0; rank < blocks.size(); ++rank) {
        const auto theirs = static_cast<std::int64_t>(blocks[rank].size());
        incoming.push_back(rank == own ? outgoing[own]
                                       : Tensor::empty(theirs * my_elements, DType::f32, path_.place()));
    }
    path_.all_to_all(outgoing, incoming);

    std::vector<std::pair<LeafBlock, Tensor>> collected;
    for (std::size_t rank = 0; rank < blocks.size(); ++rank)
        for (std::size_t i = 0; i < blocks[rank].size(); ++i) {
            const std::int64_t begin = static_cast<std::int64_t>(i) * my_elements;
            collected.emplace_back(blocks[rank][i], incoming[rank].row_range(begin, begin + my_elements));
        }
    return collected;
}

void GradientExchange::distribute(std::size_t bucket, const Tensor& part,
                                  const std::function<Tensor(const ParameterSlice&)>& target) {
    const PurposeScope purpose(Purpose::workspace);
    const int ranks = layout_.ranks();
    std::vector<Tensor> incoming;
    for (int rank = 0; rank < ranks; ++rank) {
        const auto& slices = layout_.part(bucket, rank);
        incoming.push_back(slices.size() == 1
                               ? target(slices.front())
                               : Tensor::empty(layout_.elements(bucket, rank), part.dtype(), path_.place()));
    }
    path_.all_gather(part, incoming);
    for (int rank = 0; rank < ranks; ++rank) {
        const auto& slices = layout_.part(bucket, rank);
        std::int64_t offset = 0;
        for (std::size_t i = 0; i < slices.size() && slices.size() > 1; ++i) {
            Tensor out = target(slices[i]);
            copy(incoming[static_cast<std::size_t>(rank)].row_range(offset, offset + slices[i].elements()), out);
            offset += slices[i].elements();
        }
    }
}

}   // namespace trainer
