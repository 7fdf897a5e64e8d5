// What tests/parity/schedules.py and tests/parity/optimizers.py need to see of the trainer's inside.
//
//   optimizer_driver schedule OPTIONS.json TOTAL [LOSSES.json]   the factor on the learning rate of every update, one a
//                                                                line; the losses are of evaluations before each
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "configs/error.h"
#include "configs/json.h"
#include "optim/schedule.h"

namespace trainer {

namespace {

void schedule(const char* options_file, std::int64_t total, const char* losses_file) {
    const auto options = read_fields<ScheduleOptions>(read_json(options_file));
    const Node losses = losses_file ? read_json(losses_file) : Node::list();
    PlateauState plateau;
    for (std::int64_t update = 0; update < total; ++update) {
        if (static_cast<std::size_t>(update) < losses.size())
            note_evaluation(options, losses.as_list()[static_cast<std::size_t>(update)].as_number(), plateau);
        std::printf("%.17g\n", schedule_factor(options, update, total, plateau));
    }
}

int main_of(int argc, char** argv) {
    if (argc >= 4 && std::strcmp(argv[1], "schedule") == 0) {
        schedule(argv[2], std::atoll(argv[3]), argc > 4 ? argv[4] : nullptr);
        return 0;
    }
    std::fputs("usage: optimizer_driver schedule OPTIONS.json TOTAL [LOSSES.json]\n", stderr);
    return 64;
}

}   // namespace

}   // namespace trainer

int main(int argc, char** argv) {
    try {
        return trainer::main_of(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 70;
    }
}
