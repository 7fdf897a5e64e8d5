#!/bin/bash
# Registers, spills, stack and shared memory of every kernel, as ptxas reported them when BUILD was built.
#   kernel_resources.sh BUILD FOLDER      writes FOLDER/kernel_resources_sm_X.txt for each architecture that is in it
#   kernel_resources.sh --check BUILD     fails where a kernel spills more, or has a larger stack, than
#                                         bench/results/kernel_resources_sm_X.txt says, or does and is not there; exit
#                                         code 4 where there is nothing to compare
# Spills and a stack frame mean that registers went to memory. What a kernel takes as shared memory when it starts is not
# known here.
set -euo pipefail
export LC_ALL=C
checked=$(dirname "$(readlink -f "$0")")/results

# "architecture TAB file, registers, spilled bytes, stack bytes, shared bytes, kernel" of all.
rows() {
    find "$1" -name '*.cu.o.ptxas' -printf '%p\n' | sort | while read -r file; do
        source=$(basename "${file%.cu.o.ptxas}")
        c++filt <"$file" | awk -v source="$source" '
            /Compiling entry function/ {
                name = $0
                sub(/.*entry function ./, "", name)
                architecture = name
                sub(/.* for .sm_/, "", architecture)
                sub(/.$/, "", architecture)
                sub(/. for .sm_.*/, "", name)
                sub(/^void /, "", name)
                gsub(/trainer::|cuda::|\(anonymous namespace\)::|_GLOBAL__N__[0-9a-zA-Z_]*::/, "", name)
                sub(/\(.*/, "", name)
            }
            /stack frame/ { stack = $1; spilled = $5 }
            /Used [0-9]+ registers/ {
                shared = 0
                for (i = 1; i <= NF; ++i) {
                    if ($i ~ /^registers/) registers = $(i - 1)
                    if ($i ~ /^smem/) shared = $(i - 2)
                }
                printf "%s\t%4d %5d %5d %5d  %s: %s\n", architecture, registers, spilled, stack, shared, source, name
            }'
    done | sort -u -t: -k1,1 -k2
}

if [ "${1:-}" = --check ]; then build=$2; else build=$1; fi
all=$(rows "$build")
architectures=$(cut -f1 <<<"$all" | sort -u | grep . || true)
if [ "$1" != --check ]; then
    for architecture in $architectures; do
        {
            echo "# registers, spilled bytes (stores), stack bytes, shared bytes, file: kernel; bench/kernel_resources.sh"
            awk -F'\t' -v wanted="$architecture" '$1 == wanted {print $2}' <<<"$all" | sort -k5
        } >"$2/kernel_resources_sm_$architecture.txt"
    done
    exit
fi
compared=0 worse=0
for architecture in $architectures; do
    before=$checked/kernel_resources_sm_$architecture.txt
    [ -e "$before" ] || continue
    compared=1
    awk -F'\t' -v wanted="$architecture" '$1 == wanted {print $2}' <<<"$all" | awk -v before="$before" '
        function kernel(line) { sub(/^ *[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+  /, "", line); return line }
        BEGIN { while ((getline line <before) > 0) { split(line, part, " "); name = kernel(line); spilled[name] = part[2]; stack[name] = part[3] } }
        { name = kernel($0) }
        $2 > spilled[name] + 0 || $3 > stack[name] + 0 {
            printf "spills %d bytes and has a stack of %d, before %d and %d: %s\n", $2, $3, spilled[name], stack[name], name
            bad = 1
        }
        END { exit bad }' || worse=1
done
if [ $compared = 0 ]; then
    echo "no architecture of this build has a report in bench/results"
    exit 4
fi
[ $worse = 0 ] || echo "write the report anew (bench/kernel_resources.sh BUILD bench/results) if that is wanted"
exit $worse
