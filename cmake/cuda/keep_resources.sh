#!/bin/bash
# keep_resources.sh COMMAND… -o OBJECT …: runs the compiler; what ptxas says of each kernel (-Xptxas=-v) goes to
# OBJECT.ptxas instead of the terminal, for bench/kernel_resources.sh.
words=("$@")
object=
for ((i = 0; i + 1 < ${#words[@]}; ++i)); do
    if [ "${words[i]}" = -o ]; then object=${words[i + 1]}; fi
done
said=$(mktemp)
trap 'rm -f "$said"' EXIT
"$@" 2>"$said"
status=$?
resources='^ptxas info|^ +[0-9]+ bytes stack frame'
grep -Ev "$resources" "$said" >&2
[ -z "$object" ] || grep -E "$resources" "$said" >"$object.ptxas"
exit $status
