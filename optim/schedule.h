#pragma once

#include <cstdint>

#include "optim/options.h"

namespace trainer {

// Factor on the learning rate for update `update` (0 … total-1), as transformers' schedules: linear warm-up from 0
// over W updates (`warmup` below 1 is a fraction of total, rounded up; else a count), then constant, linear to 0 or
// half a cosine to 0; the part after warm-up is lifted to f·(1 − m) + m with m = min_lr_ratio.
double schedule_factor(const ScheduleOptions& options, std::int64_t update, std::int64_t total);

// W of the above.
std::int64_t warmup_updates(const ScheduleOptions& options, std::int64_t total);

}   // namespace trainer
