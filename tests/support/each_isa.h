#pragma once

#include <gtest/gtest.h>

#include <string>

#include "autograd/cpu/isa.h"

namespace trainer::cases {

// Calls check() under every instruction set of this machine.
template <typename Check>
void on_each_isa(const Check& check) {
    for (Isa isa : {Isa::v2, Isa::v3, Isa::v4, Isa::v4bf16, Isa::v4amx}) {
        if (isa > supported_isa()) break;
        SCOPED_TRACE(std::string(name_of(isa)));
        force_isa(isa);
        check();
    }
    force_isa(supported_isa());
}

}   // namespace trainer::cases
