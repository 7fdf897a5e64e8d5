#include "autograd/cpu/isa.h"

#include <cpuid.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "configs/error.h"

namespace trainer {

namespace {

constexpr std::array all{Isa::v2, Isa::v3, Isa::v4, Isa::v4bf16, Isa::v4amx};

struct Registers {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
    Registers r;
    __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

bool has(unsigned word, std::initializer_list<int> bits) {
    for (int bit : bits)
        if ((word >> bit & 1u) == 0) return false;
    return true;
}

// Which register files the operating system saves (XCR0).
std::uint64_t saved_state() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (std::uint64_t{high} << 32) | low;
}

Isa& chosen() {
    static Isa isa = [] {
        const char* wanted = std::getenv("TRAINER_ISA");
        return choose_isa(wanted ? wanted : "", supported_isa());
    }();
    return isa;
}

}   // namespace

std::string_view name_of(Isa isa) {
    constexpr std::string_view names[] = {"v2", "v3", "v4", "v4bf16", "v4amx"};
    return names[static_cast<std::size_t>(isa)];
}

// Bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CPUID.
Isa supported_isa() {
    const Registers basic = cpuid(1, 0);
    const Registers extended = cpuid(7, 0);
    const Registers amd = cpuid(0x80000001u, 0);
    if (!has(basic.ecx, {27})) return Isa::v2;   // OSXSAVE
    const std::uint64_t state = saved_state();
    const bool v3 = has(basic.ecx, {12, 22, 28, 29})   // FMA, MOVBE, AVX, F16C
                    && has(extended.ebx, {3, 5, 8})    // BMI1, AVX2, BMI2
                    && has(amd.ecx, {5})               // LZCNT
                    && (state & 0x6u) == 0x6u;
    if (!v3) return Isa::v2;
    const bool v4 = has(extended.ebx, {16, 17, 28, 30, 31})   // AVX512 F, DQ, CD, BW, VL
                    && (state & 0xE6u) == 0xE6u;
    if (!v4) return Isa::v3;
    if (!has(cpuid(7, 1).eax, {5})) return Isa::v4;
    const bool amx = has(extended.edx, {22, 24, 25}) && (state & 0x60000u) == 0x60000u;   // AMX BF16, TILE, INT8
    return amx ? Isa::v4amx : Isa::v4bf16;
}

Isa choose_isa(std::string_view wanted, Isa supported) {
    if (wanted.empty()) return supported;
    for (Isa isa : all) {
        if (name_of(isa) != wanted) continue;
        require(isa <= supported, Exit::usage, "TRAINER_ISA={}: this machine supports up to {}", wanted,
                name_of(supported));
        return isa;
    }
    fail(Exit::usage, "TRAINER_ISA={}: expected v2, v3, v4, v4bf16 or v4amx", wanted);
}

Isa isa() { return chosen(); }
std::string isa_name() { return std::string(name_of(isa())); }

void force_isa(Isa isa) {
    check(isa <= supported_isa(), "isa {} is not supported by this machine", name_of(isa));
    chosen() = isa;
}

}   // namespace trainer
