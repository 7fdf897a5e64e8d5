#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace trainer {

// Small agreements built on all_gather. Collective, as everything of the communicator.

// Every rank's text, at every rank.
std::vector<std::string> gather_texts(Communicator& ranks, const std::string& text);
// Every rank's values, at every rank, rank after rank.
std::vector<double> gather_values(Communicator& ranks, const std::vector<double>& values);
// The same where every rank knows how many each has.
std::vector<double> gather_values(Communicator& ranks, const std::vector<double>& values,
                                  const std::vector<std::uint64_t>& counts);
bool any(Communicator& ranks, bool value);
std::int64_t sum(Communicator& ranks, std::int64_t value);

}   // namespace trainer
