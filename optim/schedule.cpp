#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trainer {

namespace {

// Below 1 a fraction of `total`, rounded up; else a count.
std::int64_t updates_of(double value, std::int64_t total) {
    if (value >= 1) return static_cast<std::int64_t>(value);
    return static_cast<std::int64_t>(std::ceil(value * static_cast<double>(total)));
}

double share(std::int64_t done, std::int64_t all) {
    return static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(1, all));
}

double half_cosine(double progress) { return 0.5 * (1 + std::cos(std::numbers::pi * progress)); }

double restarted_cosine(std::int64_t cycles, double progress) {
    if (progress >= 1) return 0;
    return half_cosine(std::fmod(static_cast<double>(cycles) * progress, 1.0));
}

double decayed(DecayShape shape, double progress) {
    switch (shape) {
        case DecayShape::linear:
            return 1 - progress;
        case DecayShape::cosine:
            return half_cosine(progress);
        case DecayShape::one_minus_sqrt:
            return 1 - std::sqrt(progress);
    }
    return 1;
}

double inverse_root(const ScheduleOptions& options, std::int64_t update, std::int64_t warmup) {
    const std::int64_t timescale = options.timescale.value_or(warmup > 0 ? warmup : 10'000);
    return 1 / std::sqrt(static_cast<double>(update + timescale - warmup) / static_cast<double>(timescale));
}

double lifted(double factor, double floor) { return std::max(0.0, factor) * (1 - floor) + floor; }

}   // namespace

std::int64_t warmup_updates(const ScheduleOptions& options, std::int64_t total) {
    return updates_of(options.warmup, total);
}

std::int64_t most_cycles(const ScheduleOptions& options, std::int64_t total) {
    return std::max<std::int64_t>(1, (total - warmup_updates(options, total)) / 2);
}

std::int64_t decay_updates(const ScheduleOptions& options, std::int64_t total) {
    return updates_of(options.decay, total);
}

double schedule_factor(const ScheduleOptions& options, std::int64_t update, std::int64_t total,
                       const PlateauState& plateau) {
    const std::int64_t warmup = warmup_updates(options, total);
    if (update < warmup) return share(update, warmup);
    const double progress = share(update - warmup, total - warmup);
    switch (options.name) {
        case ScheduleKind::constant:
            break;
        case ScheduleKind::linear:
            return lifted(1 - progress, options.min_lr_ratio);
        case ScheduleKind::cosine:
            return lifted(restarted_cosine(options.cycles, progress), options.min_lr_ratio);
        case ScheduleKind::polynomial:
            return lifted(std::pow(std::max(0.0, 1 - progress), options.power), options.min_lr_ratio);
        case ScheduleKind::inverse_sqrt:
            return inverse_root(options, update, warmup);
        case ScheduleKind::wsd: {
            const std::int64_t decay = decay_updates(options, total);
            if (update < total - decay) return 1;
            return lifted(decayed(options.decay_shape, std::min(1.0, share(update - (total - decay), decay))),
                          options.min_lr_ratio);
        }
        case ScheduleKind::reduce_on_plateau:
            return plateau.factor;
    }
    return 1;
}

void note_evaluation(const ScheduleOptions& options, double loss, PlateauState& plateau) {
    if (options.name != ScheduleKind::reduce_on_plateau) return;
    if (std::isfinite(loss) && (!plateau.lowest_loss || loss < *plateau.lowest_loss * (1 - options.threshold))) {
        plateau.lowest_loss = loss;
        plateau.without_lower = 0;
    } else {
        ++plateau.without_lower;
    }
    if (plateau.cooldown > 0) {
        --plateau.cooldown;
        plateau.without_lower = 0;
    }
    if (plateau.without_lower > options.patience) {
        plateau.factor = std::max(plateau.factor * options.factor, options.lowest_ratio);
        plateau.cooldown = options.cooldown;
        plateau.without_lower = 0;
    }
}

}   // namespace trainer
