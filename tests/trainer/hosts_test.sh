#!/bin/bash
# Training on three hosts of one machine (tests/support/hosts.sh) under mpirun: the result is that of one process to the
# byte; a rank that is killed at a random moment ends the others within 3 s, and --resume comes to the same result.
#   hosts_test.sh TRAINER TINY_PROJECT      HOST_KILLS=N: so many kills (3); HOST_TIMES=FILE: seconds each took
# Exit codes: 0 all right · 1 not · 4 cannot be tried here (the reason is printed)
set -euo pipefail
trainer=$1
tiny_project=$2
id=train$$
work=$(mktemp -d)
. "$(dirname "$(readlink -f "$0")")/../support/hosts.sh"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

clean() {
    pkill -9 -f "output=$work" 2>/dev/null || true
    remove_hosts
    rm -rf "$work"
}

fail() {
    echo "FAILED: $*"
    cat "$work/output"
    pgrep -af "$work" || true
    exit 1
}

train() { run_on_hosts OMP_NUM_THREADS "$trainer" run "$work/recipe.yaml" "output=$work/$1" "${@:2}" >"$work/output" 2>&1; }

# Processes of the program itself, not of mpirun and its daemons.
ranks() {
    local process
    for process in $(pgrep -f "run $work/recipe.yaml" || true); do
        [ "$(readlink "/proc/$process/exe" 2>/dev/null)" = "$trainer" ] && echo "$process"
    done
    true
}

digest() { cat "$work/$1/adapter_model.safetensors" "$work/$1/checkpoint-30/optimizer.safetensors" | sha256sum; }

test_same_result() {
    "$trainer" run "$work/recipe.yaml" "output=$work/alone" >"$work/output" 2>&1 || fail "one process ended with $?"
    train three || fail "three hosts ended with $?"
    grep -q 'rank 2 (host-c, process' "$work/output" || fail "the ranks are not named"
    [ "$(digest three)" = "$(digest alone)" ] || fail "three hosts and one process differ"
}

# kill_one NAME: starts, kills one rank after a random while, and waits for the end of the others.
kill_one() {
    local begin victims
    train "$1" --resume &
    local launcher=$!
    until [ "$(ranks | wc -l)" -ge 3 ]; do
        kill -0 $launcher || fail "three hosts ended before they were killed"
        sleep 0.05
    done
    sleep "$((RANDOM % 2)).$((RANDOM % 10))"
    mapfile -t victims < <(ranks)
    [ ${#victims[@]} -eq 0 ] || kill -9 "${victims[$((RANDOM % ${#victims[@]}))]}" 2>/dev/null || true
    begin=$(now)
    while [ -n "$(ranks)" ]; do
        awk -v end="$(now)" -v begin="$begin" 'BEGIN { exit !(end - begin <= 3) }' || fail "ranks are left after 3 s"
        sleep 0.05
    done
    [ -z "${HOST_TIMES:-}" ] || awk -v end="$(now)" -v begin="$begin" 'BEGIN { print end - begin }' >>"$HOST_TIMES"
    kill -9 $launcher 2>/dev/null || true
    wait $launcher 2>/dev/null || true
    pkill -9 -f "output=$work/$1" 2>/dev/null || true
}

test_kills() {
    local kill
    for ((kill = 1; kill <= ${HOST_KILLS:-3}; kill++)); do
        kill_one "killed-$kill"
        train "killed-$kill" --resume || fail "resuming after kill $kill ended with $?"
        [ "$(digest "killed-$kill")" = "$(digest alone)" ] || fail "kill $kill changed the result"
        rm -rf "$work/killed-$kill"
    done
}

trap clean EXIT
make_hosts_or_skip "$(dirname "$trainer")"
"$tiny_project" "$work"
sed -i "s|base: model|base: $work/model|; s|path: |path: $work/|g" "$work/recipe.yaml"
for test in test_same_result test_kills; do
    begin=$SECONDS
    "$test"
    echo "$test: right ($((SECONDS - begin)) s)"
done
