#pragma once

#include <filesystem>
#include <string>

#include "comm/communicator.h"

namespace trainer {

// What tells this machine from others: its boot, or where /proc does not say that, its name.
std::string machine_name(const std::filesystem::path& root = "/");

// This rank's place among those of the same machine, and how many they are. Collective.
struct Neighbourhood {
    int place = 0;   // from 0, in the order of the ranks
    int size = 1;
};
Neighbourhood neighbourhood(Communicator& ranks, const std::filesystem::path& root = "/");

}   // namespace trainer
