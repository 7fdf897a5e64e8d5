#!/bin/bash
# Three hosts on one machine (network and host name namespaces on one bridge) under mpirun: the data arrives, and a rank
# that is killed, a host that is cut off and a launcher's daemon that is killed end all ranks with 82 in time.
#   hosts_test.sh PROGRAM      PROGRAM: rank_program (tests/support/ranks/rank_program.cpp)
# Exit codes: 0 all right · 1 not · 4 cannot be tried here (the reason is printed)
set -euo pipefail
program=$1
id=ranks$$
work=$(mktemp -d)
. "$(dirname "$(readlink -f "$0")")/../support/hosts.sh"
export RANK_RESULTS=$work/results

clean() {
    local process
    for process in $(left_behind); do kill -9 "$process" 2>/dev/null || true; done
    remove_hosts
    rm -rf "$work"
}

left_behind() { grep -laF "RANK_RESULTS=$RANK_RESULTS" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | grep -vx $$ || true; }

# Processes of rank_program that still live.
ranks_left() {
    local process
    for process in $(left_behind); do
        [ "$(readlink "/proc/$process/exe" 2>/dev/null)" = "$(readlink -f "$program")" ] && echo "$process"
    done
    true
}

# start SCENARIO… -- in the background; its process is $launcher.
start() {
    rm -rf "$RANK_RESULTS"
    mkdir "$RANK_RESULTS"
    run_on_hosts RANK_RESULTS "$program" "$@" >"$work/output" 2>&1 &
    launcher=$!
}

# Waits until the rank has reported, at most 15 s.
await_rank() {
    local tries=0
    until [ -e "$RANK_RESULTS/rank-$1" ]; do
        tries=$((tries + 1))
        [ $tries -le 150 ] || fail "rank $1 did not report"
        sleep 0.1
    done
}

await_ready() {
    local rank
    for rank in 3 4 5; do await_rank $rank; done
}

fail() {
    echo "FAILED: $*"
    tail -n +1 "$RANK_RESULTS"/rank-* "$work/output" 2>/dev/null || true
    exit 1
}

# expect_lost RANK BEGIN LIMIT WORDS: that rank ended with 82 and these words, at most LIMIT seconds after BEGIN.
expect_lost() {
    local code time message
    await_rank "$1"
    read -r code time message <"$RANK_RESULTS/rank-$1" || true
    [ "$code" = 82 ] || fail "rank $1 ended with $code"
    [[ $message == "$4"* ]] || fail "rank $1 says: $message; expected: $4"
    awk -v end="$time" -v begin="$2" -v limit="$3" 'BEGIN { exit !(end - begin <= limit) }' ||
        fail "rank $1 ended at $time, more than $3 s after $2"
}

expect_nobody_left() {
    local tries=0
    until [ -z "$(ranks_left)" ]; do
        tries=$((tries + 1))
        [ $tries -le 50 ] || fail "left behind: $(ranks_left)"
        sleep 0.1
    done
    kill -9 "$launcher" 2>/dev/null || true   # mpirun notices a lost host only after minutes
    wait "$launcher" 2>/dev/null || true
}

test_calls() {
    start collectives 7 2
    wait "$launcher" || fail "mpirun ended with $?"
    grep -q '^0 .* done$' "$RANK_RESULTS/rank-2" || fail "rank 2 did not end well"
}

test_killed_rank() {
    start fault kill 1 20 all_reduce 300
    await_rank 1
    local begin
    begin=$(cut -d' ' -f2 "$RANK_RESULTS/rank-1")
    expect_lost 0 "$begin" 3 "rank 1 (host-b, process"
    expect_lost 2 "$begin" 3 "rank 1 (host-b, process"
    expect_nobody_left
}

test_killed_daemon() {
    start fault delay 0 1 barrier 0
    await_ready
    local begin process
    begin=$(now)
    for process in $(ip netns pids "$id-c"); do
        if [ "$(cat "/proc/$process/comm")" = orted ]; then kill -9 "$process"; fi
    done
    expect_lost 0 "$begin" 3.5 "rank 2 (host-c, process"
    expect_lost 1 "$begin" 3.5 "rank 2 (host-c, process"
    expect_nobody_left
}

# The last: it leaves the host cut off.
test_cut_off_host() {
    start fault delay 0 1 all_gather 0
    await_ready
    local begin
    begin=$(now)
    ip -n "$id-bridge" link set port-c down
    expect_lost 0 "$begin" 3.5 "rank 2 (host-c, process"
    expect_lost 1 "$begin" 3.5 "rank 2 (host-c, process"
    expect_lost 2 "$begin" 3.5 "rank 0 (host-a, process"
    expect_nobody_left
}

trap clean EXIT
make_hosts_or_skip "$(dirname "$program")"
for test in test_calls test_killed_rank test_killed_daemon test_cut_off_host; do
    begin=$SECONDS
    "$test"
    echo "$test: right ($((SECONDS - begin)) s)"
done
