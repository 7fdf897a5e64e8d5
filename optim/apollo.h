#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

// What one factor is taken for.
enum class ApolloScaling { channel, tensor };

template <>
struct EnumTable<ApolloScaling> {
    static constexpr std::pair<std::string_view, ApolloScaling> names[] = {{"channel", ApolloScaling::channel},
                                                                           {"tensor", ApolloScaling::tensor}};
};

struct ApolloOptions {
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-6;
    std::int64_t rank = 256;
    ApolloScaling scaling = ApolloScaling::channel;
    double scale = 1;
    std::int64_t renew_every = 200;
    double largest_growth = 1.01;
    std::string adamw_for = R"(.*(embed|lm_head|wte|wpe).*)";

    template <typename Visitor>
    void fields(Visitor& field) {
        field("betas", betas, "decay of the running means of the projected gradient and of its square", at_least(0),
              below(1));
        field("eps", eps, "added to the root of the second mean", above(0));
        field("rank", rank, "rows that the shorter side of a gradient is projected to, at most its own length",
              between(1, 65536));
        field("scaling", scaling, "a factor for each row or column of the longer side, or one for the whole matrix");
        field("scale", scale, "its root multiplies every update", above(0));
        field("renew_every", renew_every, "updates after which another projection is drawn", between(1, 1e9));
        field("largest_growth", largest_growth,
              "of the norm of a scaled gradient from one update to the next; 0: no limit", at_least(0));
        field("adamw_for", adamw_for,
              "regular expression of the matrices that AdamW updates, as it does all that is no matrix");
    }
};

// The published APOLLO-Mini: rank 1, one factor for a matrix.
struct ApolloMiniOptions : ApolloOptions {
    ApolloMiniOptions() {
        rank = 1;
        scaling = ApolloScaling::tensor;
        scale = 128;
    }
};

// APOLLO (Zhu et al., 2024) for matrices: AdamW's means of a random projection R of the gradient G say by how much
// each channel of G, or all of it, is to be scaled; AdamW for the rest. With P drawn from N(0, 1/rank), R = Pᵀ G for
// more columns than rows, else G Pᵀ:
//   m ← β₁ m + (1 − β₁) R,  v ← β₂ v + (1 − β₂) R²,  N = m / (√v + eps)
//   U = G · ‖N‖ / (‖R‖ + 1e-8), the norms of channels or of all;  U ← U / max(1, ‖U‖ / (largest_growth ‖U before‖))
//   p ← p (1 − lr·wd) − lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) · √scale · U
std::unique_ptr<Optimizer> make_apollo(const ApolloOptions& options, const std::vector<UpdatedSlice>& slices);
std::unique_ptr<Optimizer> make_apollo_mini(const ApolloMiniOptions& options, const std::vector<UpdatedSlice>& slices);

// P of a matrix in its `renewal`-th use from 0: (shorter side, rank) for more columns than rows, else its transpose.
Tensor apollo_projection(const ApolloOptions& options, const Parameter& parameter, std::uint64_t seed,
                         std::int64_t renewal);

}   // namespace trainer
