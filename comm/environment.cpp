#include "comm/environment.h"

#include <charconv>
#include <cstdlib>

#include "configs/error.h"

namespace trainer {

namespace {

constexpr int most_ranks = 65536;

std::optional<std::string> variable(const char* name) {
    const char* value = std::getenv(name);
    if (!value || !*value) return std::nullopt;
    return value;
}

int number_of(const char* name, const std::string& text, int least, int most) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    require(error == std::errc() && end == text.data() + text.size() && value >= least && value <= most, Exit::usage,
            "the environment variable {} is \"{}\"; expected a whole number from {} to {}", name, text, least, most);
    return value;
}

std::optional<int> number(const char* name, int least, int most) {
    const auto text = variable(name);
    if (!text) return std::nullopt;
    return number_of(name, *text, least, most);
}

int needed(const char* name, const char* because, int least, int most) {
    const auto value = number(name, least, most);
    require(value.has_value(), Exit::usage,
            "the environment variable {} is set but {} is not; a launcher sets both: unset the first or set the second",
            because, name);
    return *value;
}

// Rank and size from two variables of one launcher.
Launched numbered(const char* rank_name, const char* size_name) {
    Launched launched;
    const bool has_rank = variable(rank_name).has_value();
    launched.size = has_rank ? needed(size_name, rank_name, 1, most_ranks) : number(size_name, 1, most_ranks).value();
    launched.rank = needed(rank_name, size_name, 0, most_ranks - 1);
    require(launched.rank < launched.size, Exit::usage,
            "the environment variable {} is {} but {} is {}; ranks are numbered from 0 to {}", rank_name, launched.rank,
            size_name, launched.size, launched.size - 1);
    return launched;
}

// Some scripts copy mpirun's numbers into torchrun's variables: welcome as long as they are the same.
void expect_the_same(const Launched& launched, const char* rank_name, const char* size_name) {
    const int rank = number("RANK", 0, most_ranks - 1).value_or(launched.rank);
    const int size = number("WORLD_SIZE", 1, most_ranks).value_or(launched.size);
    require(rank == launched.rank && size == launched.size, Exit::usage,
            "the environment names two launchers: {} {} of {} {}, but RANK {} of WORLD_SIZE {}; unset one pair",
            rank_name, launched.rank, size_name, launched.size, rank, size);
}

Launched by_mpirun() {
    Launched launched = numbered("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
    launched.by = Launched::By::mpi;
    launched.local_rank = number("OMPI_COMM_WORLD_LOCAL_RANK", 0, most_ranks).value_or(0);
    expect_the_same(launched, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
    return launched;
}

Launched by_torchrun() {
    Launched launched = numbered("RANK", "WORLD_SIZE");
    launched.local_rank = number("LOCAL_RANK", 0, most_ranks).value_or(0);
    launched.key = variable("TRAINER_JOIN_KEY").value_or(variable("TORCHELASTIC_RUN_ID").value_or(""));
    if (launched.size == 1) return launched;
    const auto address = variable("MASTER_ADDR");
    require(
        address.has_value(), Exit::usage,
        "the environment variables RANK and WORLD_SIZE are set but MASTER_ADDR is not; set it to the host of rank 0");
    launched.address = *address;
    launched.port = needed("MASTER_PORT", "MASTER_ADDR", 1, 65535);
    // torchrun's own agent listens at MASTER_PORT.
    if (variable("TORCHELASTIC_USE_AGENT_STORE") == "True") launched.port += launched.port < 65535 ? 1 : -1;
    launched.listener = number("TRAINER_LISTEN_FD", 0, 1 << 20).value_or(-1);
    return launched;
}

// The first name of Slurm's list: "a,b", "node[03-08,11]" or "node7".
std::string first_host(const std::string& list) {
    const std::size_t end = list.find_first_of(",[");
    const std::string prefix = list.substr(0, end);
    if (end == std::string::npos || list[end] == ',') return prefix;
    const std::size_t close = list.find(']', end);
    const std::size_t number_end = list.find_first_of("-,]", end);
    require(
        close != std::string::npos && (close + 1 == list.size() || list[close + 1] == ','), Exit::usage,
        "the host of rank 0 cannot be read from SLURM_STEP_NODELIST \"{}\"; use srun --mpi=pmix, or set MASTER_ADDR",
        list);
    return prefix + list.substr(end + 1, number_end - end - 1);
}

Launched by_srun() {
    Launched launched = numbered("SLURM_PROCID", "SLURM_STEP_NUM_TASKS");
    launched.local_rank = number("SLURM_LOCALID", 0, most_ranks).value_or(0);
    if (variable("PMIX_RANK")) {
        launched.by = Launched::By::mpi;
        return launched;
    }
    const std::string job = variable("SLURM_JOB_ID").value_or("0");
    const std::string step = variable("SLURM_STEP_ID").value_or("0");
    launched.key = job + "." + step;
    if (launched.size == 1) return launched;
    if (const auto address = variable("MASTER_ADDR")) {
        launched.address = *address;
    } else {
        const auto hosts = variable("SLURM_STEP_NODELIST");
        require(
            hosts.has_value(), Exit::usage,
            "srun started this process but SLURM_STEP_NODELIST is not set; use srun --mpi=pmix, or set MASTER_ADDR");
        launched.address = first_host(*hosts);
    }
    // Below the ports that systems give away themselves, and different for neighbouring jobs and steps.
    const int derived = 15000 + (number_of("SLURM_JOB_ID", job, 0, 2147483647) % 1500) * 10 +
                        number_of("SLURM_STEP_ID", step, 0, 2147483647) % 10;
    launched.port = number("MASTER_PORT", 1, 65535).value_or(derived);
    return launched;
}

}   // namespace

std::optional<Launched> launched_from_environment() {
    if (variable("OMPI_COMM_WORLD_SIZE") || variable("OMPI_COMM_WORLD_RANK")) return by_mpirun();
    if (variable("RANK") || variable("WORLD_SIZE")) return by_torchrun();
    // Inside a batch script Slurm sets SLURM_NTASKS too, but this only for what srun starts.
    if (variable("SLURM_STEP_NUM_TASKS")) {
        const Launched launched = by_srun();
        if (launched.size > 1) return launched;
        return std::nullopt;
    }
    return std::nullopt;
}

}   // namespace trainer
