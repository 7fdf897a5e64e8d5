#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trainer {

std::int64_t warmup_updates(const ScheduleOptions& options, std::int64_t total) {
    if (options.warmup >= 1) return static_cast<std::int64_t>(options.warmup);
    return static_cast<std::int64_t>(std::ceil(options.warmup * static_cast<double>(total)));
}

double schedule_factor(const ScheduleOptions& options, std::int64_t update, std::int64_t total) {
    const std::int64_t warmup = warmup_updates(options, total);
    if (update < warmup) return static_cast<double>(update) / static_cast<double>(std::max<std::int64_t>(1, warmup));
    const double progress =
        static_cast<double>(update - warmup) / static_cast<double>(std::max<std::int64_t>(1, total - warmup));
    double factor = 1;
    switch (options.name) {
        case ScheduleKind::constant:
            return 1;
        case ScheduleKind::linear:
            factor = std::max(0.0, 1 - progress);
            break;
        case ScheduleKind::cosine:
            factor = std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
            break;
    }
    return factor * (1 - options.min_lr_ratio) + options.min_lr_ratio;
}

}   // namespace trainer
