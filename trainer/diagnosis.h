#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "trainer/inputs.h"
#include "trainer/objectives/objective.h"

namespace trainer {

// A step that was not applied: the weights are still those it ran with. What is given must outlive the diagnosis.
struct FailedStep {
    const Inputs& inputs;
    CausalLm& model;
    const Objective& objective;
    Communicator& ranks;
    std::int64_t index = 0;             // in the plan, from 0
    std::vector<std::int64_t> leaves;   // that this rank computed, ascending
    double loss_scale = 1;
};

struct Diagnosis {
    std::string summary;   // sentences for the message
    Node document;         // the reproduction file (docs/formats.md); the same at every rank
};

// Runs the step's leaves again, forward and backward, and looks at every number that an op makes, and at the weights.
// The first number that is not finite in the lowest leaf of all ranks counts. Collective.
Diagnosis diagnose(const FailedStep& step);

// "nonfinite-step-12.json"; `step` counts from 1.
std::string reproduction_name(std::int64_t step);

}   // namespace trainer
