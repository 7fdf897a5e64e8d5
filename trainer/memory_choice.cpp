#include "trainer/memory_choice.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "comm/collective.h"
#include "comm/machine.h"
#include "comm/together.h"
#include "configs/error.h"

namespace trainer {

namespace {

constexpr std::size_t beside_tensors = 64 << 20;

std::string plan_text(const MemoryPlan& plan) {
    std::string text;
    for (std::size_t i = 0; i < purpose_count; ++i) {
        const auto purpose = static_cast<Purpose>(i);
        if (purpose != Purpose::offloaded && plan.use.peak_bytes[i] > 0)
            text += format("{}{} {}", text.empty() ? "" : ", ", name_of(purpose), bytes_text(plan.use.peak_bytes[i]));
    }
    return text;
}

// `needed`: what the plan was measured with.
[[noreturn]] void refuse(const MemoryPlan& plan, std::size_t needed, const Recipe& recipe, const MemoryLeft& left) {
    const std::string margin =
        needed > plan.total() ? format(", with the margin {}", bytes_text(needed + left.set_apart)) : "";
    fail(Exit::out_of_memory,
         "out of memory: with recompute: {} and micro_batch: {} the plan needs {} ({}){}, and {} leaves {}",
         enum_name(recipe.training.recompute), recipe.training.micro_batch.rows, bytes_text(plan.total()),
         plan_text(plan), margin, left.bound, bytes_text(left.bytes));
}

class Choice {
public:
    Choice(Inputs& inputs, Communicator& ranks, const MemoryLeft& left, int as_ranks)
        : inputs_(inputs), ranks_(ranks), left_(left), most_rows_(rows_of_full_step(inputs) / as_ranks) {}

    // Whether it fits at every rank; the recipe and `plan()` are those of this try afterwards.
    bool fits_everywhere(Recompute recompute, std::int64_t micro_batch) {
        inputs_.recipe.training.recompute = recompute;
        set_micro_batch(inputs_, micro_batch);
        plan_ = plan_memory(inputs_, ranks_);
        return !any(ranks_, needed_for(plan_) > left_.usable());
    }

    // The largest micro_batch that fits, or nothing. Sums over leaves need more memory the more leaves a rank has, by
    // powers of two; where their number stays the same, a larger micro_batch mostly needs more. With rows that are not
    // packed it may need less, and then a larger one may be missed; what is found fits.
    bool find_micro_batch(Recompute recompute) {
        for (std::int64_t high = most_rows_; high > 0;) {
            const std::int64_t low = smallest_with_as_many_sums(high);
            if (fits_everywhere(recompute, low)) return search(recompute, low, high);
            high = low - 1;
        }
        return false;
    }

    const MemoryPlan& plan() const { return plan_; }

private:
    int sums(std::int64_t micro_batch) const {
        const std::int64_t leaves = leaves_of_full_step(inputs_, micro_batch);
        const std::int64_t most = (leaves + ranks_.size() - 1) / ranks_.size();
        return std::bit_width(static_cast<std::uint64_t>(most));
    }

    std::int64_t smallest_with_as_many_sums(std::int64_t high) const {
        std::int64_t low = high;
        while (low > 1 && sums(low - 1) == sums(high)) --low;
        return low;
    }

    // `low` fits and has been tried last.
    bool search(Recompute recompute, std::int64_t low, std::int64_t high) {
        std::int64_t tried = low;
        while (low < high) {
            const std::int64_t middle = low + (high - low + 1) / 2;
            tried = middle;
            if (fits_everywhere(recompute, middle))
                low = middle;
            else
                high = middle - 1;
        }
        return tried == low || fits_everywhere(recompute, low);
    }

    Inputs& inputs_;
    Communicator& ranks_;
    const MemoryLeft& left_;
    std::int64_t most_rows_;
    MemoryPlan plan_;
};

}   // namespace

MemoryLeft memory_left_for(Communicator& ranks, const std::filesystem::path& root) {
    return memory_left(neighbourhood(ranks, root).size, root);
}

std::size_t needed_for(const MemoryPlan& plan) { return plan.held() + beside_tensors; }

MemoryPlan choose_memory(Inputs& inputs, Communicator& ranks, const MemoryLeft& left, int as_ranks) {
    const TrainingOptions& training = inputs.recipe.training;
    together(ranks, [&] { check_ranks(inputs, ranks.size()); });
    if (!leaves_memory_open(inputs.recipe)) {
        const MemoryPlan plan = plan_memory(inputs, ranks);
        together(ranks, [&] {
            const std::size_t needed = plan.total() + (left.set_apart > 0 ? beside_tensors : 0);
            if (needed > left.usable()) refuse(plan, needed, inputs.recipe, left);
        });
        return plan;
    }
    const bool choose_rows = training.micro_batch.automatic();
    const std::vector<Recompute> tries = training.recompute == Recompute::automatic
                                             ? std::vector{Recompute::none, Recompute::norms, Recompute::block}
                                             : std::vector{training.recompute};
    const std::int64_t rows = training.micro_batch.rows;
    Choice choice(inputs, ranks, left, std::max(as_ranks, ranks.size()));
    for (const Recompute recompute : tries)
        if (choose_rows ? choice.find_micro_batch(recompute) : choice.fits_everywhere(recompute, rows))
            return choice.plan();
    together(ranks, [&] {
        const std::size_t needed = needed_for(choice.plan());
        if (needed > left.usable()) refuse(choice.plan(), needed, inputs.recipe, left);
    });
    fail(Exit::internal, "nothing fits, but every rank has room");
}

void keep_pool_within(const MemoryLeft& left) { limit_pool(left.usable() - std::min(left.usable(), beside_tensors)); }

bool leaves_memory_open(const Recipe& recipe) {
    return recipe.training.micro_batch.automatic() || recipe.training.recompute == Recompute::automatic;
}

std::string memory_choice_text(const Recipe& recipe) {
    return format("recompute {}, micro_batch {}", enum_name(recipe.training.recompute),
                  recipe.training.micro_batch.rows);
}

}   // namespace trainer
