#!/bin/bash
# The real srun and torchrun on one machine: the result is that of `--nproc` to the byte, and Slurm's warning
# stops a job with a checkpoint and 75, from where the next turn goes on.
#   launchers_test.sh TRAINER TINY_PROJECT      TORCHRUN=FILE: where torchrun is; Slurm: slurm-wlm, munge (Debian), as root
# Exit codes: 0 all right, what is not installed left out · 1 not · 4 nothing can be tried here
set -euo pipefail
trainer=$1
tiny_project=$2
work=$(mktemp -d)
slurm=$(mktemp -d)
daemons=()
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive SLURM_CONF=$slurm/slurm.conf

# Slurm's processes for steps of jobs, which outlive its daemons.
steps() {
    local process
    for process in $(pgrep -x slurmstepd || true); do
        if grep -qaF "SLURM_CONF=$SLURM_CONF" "/proc/$process/environ" 2>/dev/null; then echo "$process"; fi
    done
}

clean() {
    local daemon tries
    if [ -e "$slurm/slurmctld.pid" ]; then
        scancel --user=root 2>/dev/null || true
        for tries in $(seq 100); do
            if [ -z "$(steps)" ]; then break; fi
            sleep 0.1
        done
    fi
    daemons+=($(steps) $(cat "$slurm"/*.pid 2>/dev/null || true))
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
    sleep 1
    for daemon in "${daemons[@]}"; do kill -9 "$daemon" 2>/dev/null || true; done
    rm -rf "$work" "$slurm"
}

fail() {
    echo "FAILED: $*"
    tail -n 20 "$work/output" "$slurm"/*.log 2>/dev/null || true
    exit 1
}

digest() { cat "$work/$1/adapter_model.safetensors" "$work/$1/checkpoint-30/optimizer.safetensors" | sha256sum; }
expect_the_same() { [ "$(digest "$1")" = "$(digest nproc)" ] || fail "$1 and --nproc differ"; }

# --- torchrun

test_torchrun() {
    "$torchrun" --no-python --nproc-per-node 3 "$trainer" run recipe.yaml output=torchrun >output 2>&1 || fail "torchrun: $?"
    expect_the_same torchrun
}

# Both ways of starting several nodes; two agents on this machine.
test_torchrun_nodes() {
    local port=$((20000 + RANDOM % 10000)) node
    for node in 0 1; do
        "$torchrun" --no-python --nproc-per-node 2 --nnodes 2 --node-rank $node --rdzv-backend c10d --rdzv-id "job$$" \
            --rdzv-endpoint "127.0.0.1:$port" "$trainer" run recipe.yaml output=rendezvous >"output.$node" 2>&1 &
    done
    wait
    expect_the_same rendezvous
    for node in 0 1; do
        "$torchrun" --no-python --nproc-per-node 2 --nnodes 2 --node-rank $node --master-addr 127.0.0.1 \
            --master-port $((port + 10)) "$trainer" run recipe.yaml output=master >"output.$node" 2>&1 &
    done
    wait
    expect_the_same master
}

# --- Slurm: a controller, one node, and keys of our own

start_slurm() {
    local port=$((30000 + RANDOM % 10000))
    chmod 755 "$slurm"
    mkdir -m 700 "$slurm/munge"
    head -c 128 /dev/urandom >"$slurm/munge/key"
    chmod 600 "$slurm/munge/key"
    mkdir -m 755 "$slurm/socket"
    munged --foreground --force --key-file="$slurm/munge/key" --socket="$slurm/socket/munge" --pid-file="$slurm/munge/pid" \
        --log-file="$slurm/munge/log" --seed-file="$slurm/munge/seed" >/dev/null 2>&1 &
    daemons+=($!)
    cat >"$SLURM_CONF" <<EOF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/socket/munge
CredType=cred/munge
FirstJobId=$((RANDOM + 1))
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/linear
MpiDefault=none
NodeName=localhost NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
    mkdir "$slurm/state" "$slurm/spool"
    slurmctld -f "$SLURM_CONF" && slurmd -f "$SLURM_CONF" -N localhost || return 1
    local tries
    for tries in $(seq 100); do
        if sinfo -h -o %t 2>/dev/null | grep -q idle; then return 0; fi
        sleep 0.2
    done
    return 1
}

test_srun() {
    srun -n 3 -O "$trainer" run recipe.yaml output=srun >output 2>&1 || fail "srun: $?"
    expect_the_same srun
}

# until_steps FOLDER: eight steps are made, or half a minute is over.
until_steps() {
    local tries
    for tries in $(seq 300); do
        if [ "$(cat "$1/metrics.jsonl" 2>/dev/null | wc -l)" -ge 8 ]; then return; fi
        sleep 0.1
    done
    fail "$1 made no steps"
}

# job OUTPUT: three ranks; their code comes into OUTPUT.code.
job() {
    cat >job.sh <<EOF
#!/bin/bash
srun -O "$trainer" run recipe.yaml output=$1 --resume
echo \$? >$1.code
EOF
    rm -f "$1.code"
    number=$(sbatch --parsable -n 3 -O -o output job.sh)
}

await_code() {
    local tries
    for tries in $(seq 900); do
        if [ -s "$1.code" ]; then break; fi
        sleep 0.1
    done
    cat "$1.code" || fail "job $1 did not end"
}

test_warned_job() {
    job warned
    until_steps warned
    scancel --signal=USR1 "$number"
    local code
    code=$(await_code warned)
    [ "$code" = 75 ] || [ "$code" = 0 ] || fail "the warned job ended with $code"   # 0: it was done before
    job warned
    [ "$(await_code warned)" = 0 ] || fail "the second turn did not end well"
    expect_the_same warned
}

try() {
    local begin=$SECONDS
    "$1"
    echo "$1: right ($((SECONDS - begin)) s)"
}

trap clean EXIT
torchrun=${TORCHRUN:-$(command -v torchrun || true)}
has_slurm=no
if [ "$(id -u)" = 0 ] && command -v slurmctld slurmd srun munged >/dev/null; then has_slurm=yes; fi
if [ -z "$torchrun" ] && [ $has_slurm = no ]; then
    echo "SKIPPED: there is neither torchrun nor (as root) Slurm"
    exit 4
fi
"$tiny_project" "$work"
cd "$work"
"$trainer" run recipe.yaml output=nproc --nproc 3 >output 2>&1 || fail "--nproc: $?"
if [ -n "$torchrun" ]; then
    try test_torchrun
    try test_torchrun_nodes
fi
if [ $has_slurm = yes ]; then
    start_slurm || fail "Slurm does not start"
    try test_srun
    try test_warned_job
fi
