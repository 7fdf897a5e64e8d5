#include "autograd/cpu/isa.h"

#include <gtest/gtest.h>

#include "configs/error.h"

namespace trainer {
namespace {

TEST(Isa, TheHighestSupportedIsTakenUnlessALowerOneIsWanted) {
    EXPECT_EQ(choose_isa("", Isa::v4), Isa::v4);
    EXPECT_EQ(choose_isa("v2", Isa::v4bf16), Isa::v2);
    EXPECT_EQ(choose_isa("v3", Isa::v3), Isa::v3);
    EXPECT_EQ(choose_isa("v4bf16", Isa::v4amx), Isa::v4bf16);
    EXPECT_EQ(choose_isa("v4amx", Isa::v4amx), Isa::v4amx);
}

TEST(Isa, WhatTheMachineLacksIsAUsageError) {
    for (const char* wanted : {"v4", "v5", "avx2", "V2", " v2"}) {
        try {
            choose_isa(wanted, Isa::v3);
            FAIL() << wanted;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::usage);
            EXPECT_NE(std::string(error.what()).find("TRAINER_ISA=" + std::string(wanted)), std::string::npos);
        }
    }
}

TEST(Isa, IsDetectedAsTheCompilerDoes) {
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool v4 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
    EXPECT_EQ(supported_isa() >= Isa::v3, v3);
    EXPECT_EQ(supported_isa() >= Isa::v4, v4);
}

int which(Isa isa) {
    static int v2 = 2;
    static int v3 = 3;
    static int v4 = 4;
    const Isa before = trainer::isa();
    force_isa(isa);
    const int picked = pick_variant(v2, v3, v4);
    force_isa(before);
    return picked;
}

TEST(Isa, VariantsArePickedByTheSetInUse) {
    EXPECT_EQ(which(Isa::v2), 2);
    if (supported_isa() >= Isa::v3) {
        EXPECT_EQ(which(Isa::v3), 3);
    }
    if (supported_isa() >= Isa::v4) {
        EXPECT_EQ(which(Isa::v4), 4);
    }
    if (supported_isa() >= Isa::v4bf16) {
        EXPECT_EQ(which(Isa::v4bf16), 4);
    } else {
        EXPECT_THROW(force_isa(Isa::v4bf16), Error);
    }
    EXPECT_EQ(isa_name(), name_of(isa()));
}

}   // namespace
}   // namespace trainer
