#!/bin/bash
# kernel_resources.sh [ARCHITECTURE…]: registers, spills, stack and static shared memory of every kernel, as ptxas reports
# them (80 90a 100). Needs nvcc, no GPU. A stack frame or spills mean that registers went to memory.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
nvcc=$(./setup.sh --find-nvcc)
"$nvcc" --version | tail -n 1
for architecture in "${@:-80 90a 100}"; do
    for architecture in $architecture; do
        echo "sm_$architecture: registers, spilled bytes (stores), stack bytes, shared bytes, kernel"
        for source in $(git ls-files '*.cu'); do
            "$nvcc" -std=c++20 --expt-relaxed-constexpr --extended-lambda -arch="sm_$architecture" -I. -Xptxas=-v \
                -c "$source" -o /dev/null 2>&1
        done | c++filt | awk '
            /Compiling entry function/ { name = $0; sub(/.*function .(void )?/, "", name); sub(/. for .sm_.*/, "", name)
                gsub(/trainer::|cuda::|\(anonymous namespace\)::|_GLOBAL__N__[0-9a-zA-Z_]*::/, "", name)
                sub(/\(.*/, "", name) }
            /stack frame/ { stack = $1; spilled = $5 }
            /Used [0-9]+ registers/ { registers = $5; for (i = 1; i <= NF; ++i) if ($i == "registers,") registers = $(i - 1)
                shared = 0; for (i = 1; i <= NF; ++i) if ($i == "smem,") shared = $(i - 2)
                printf "%4d %5d %5d %5d  %s\n", registers, spilled, stack, shared, name }' | sort -u -k5
    done
done
