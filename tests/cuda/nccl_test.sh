#!/bin/bash
# nccl_test.sh TRAINER TINY_PROJECT [FAKES]: runs of several processes with device: cuda. Weights and losses are those of one
# process to the bit, however the ranks share the work, what their tensors travel through, and after a kill; what goes
# wrong ends in one error before the first step, or ends every rank. With FAKES, the folder above fake_nccl, on the
# emulator and the fake NCCL, which fails when it is told to; else on the GPUs that are there. Exit code 4 for fewer than two.
set -euo pipefail
trainer=$(realpath "$1")
tiny_project=$(realpath "$2")
fakes=${3:+$(realpath "$3")}
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "$fakes" ]; then
    gpus=4
    export EMULATED_GPUS=$gpus LD_LIBRARY_PATH=$fakes/fake_nccl
else
    gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)
    [ "$gpus" -ge 2 ] || { echo "there are $gpus GPUs"; exit 4; }
fi
"$tiny_project" "$work" >/dev/null
cd "$work"

fail() {
    printf 'nccl_test.sh: %s\n' "$*" >&2
    cat log >&2
    exit 1
}

# Short, for the emulator's sake.
short=(recipe.yaml device=cuda training.steps=3 training.batch=5 data.max_length=32 data.packing=false data.valid=null eval.every=100
    checkpoint.every=null)
start() { "$trainer" run "${short[@]}" "$@" >log 2>&1; }
run() { start "$@" || fail "$* ended with $?"; }

# refused CODE WORDS ARGUMENTS…
refused() {
    local code=$1 words=$2 found=0
    shift 2
    rm -rf refused
    start output=refused "$@" || found=$?
    [ $found = "$code" ] || fail "$* ended with $found instead of $code"
    grep -q "$words" log || fail "$* does not say \"$words\""
}
before_the_first_step() { [ ! -e refused/metrics.jsonl ] || fail "a step was taken"; }

said() { grep -q "$1" log || fail "it is not said: $1"; }

numbers() { sed -n 's/.*"loss": *\([^,]*\), "grad_norm": *\([^,]*\),.*/\1 \2/p' "$1/metrics.jsonl"; }
expect_same() {   # weights, and losses and norms of every step
    cmp "$1"/*model.safetensors "$2"/*model.safetensors || fail "the weights of $1 and $2 differ"
    [ "$(numbers "$1" | wc -l)" -ge 3 ] || fail "$1 has too few steps"
    cmp <(numbers "$1") <(numbers "$2") || fail "the steps of $1 and $2 differ"
}

# by_hand VARIABLES -- ARGUMENTS: two ranks; the first word is rank 0's environment, the second rank 1's.
by_hand() {
    local first=$1 second=$2 port=$((20000 + RANDOM % 10000)) other code=0
    shift 2
    export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port
    env $second RANK=1 "$trainer" run "${short[@]}" "$@" >other_log 2>&1 &
    other=$!
    env $first RANK=0 "$trainer" run "${short[@]}" "$@" >log 2>&1 || code=$?
    wait $other || code=$?
    unset WORLD_SIZE MASTER_ADDR MASTER_PORT
    [ $code = 0 ] || { cat other_log >&2; fail "$* by hand ended with $code"; }
}

test_same_bits() {
    local ranks sharding
    run output=alone
    for ((ranks = 2; ranks <= gpus && ranks <= 4; ++ranks)); do
        run output=ranks --nproc $ranks
        said '^exchanged through NCCL 2\.'
        expect_same ranks alone
        rm -rf ranks
    done
    run output=fast training.determinism=fast --nproc 2
    paste <(numbers fast) <(numbers alone) | awk '{ d = $1 / $3 - 1; if (d > 1e-5 || d < -1e-5) exit 1 }' ||
        fail "fast is another run"
    run output=full_alone peft=null training.determinism=strict
    for sharding in none optimizer gradients; do
        run output=full peft=null training.determinism=strict training.sharding=$sharding --nproc "$((gpus > 2 ? 3 : 2))"
        expect_same full full_alone
        rm -rf full
    done
    if [ -e "$(dirname "$trainer")/trainer_mpi.so" ] && command -v mpirun >/dev/null; then
        mpirun -np 2 --bind-to none "$trainer" run "${short[@]}" output=mpi >log 2>&1 || fail "under mpirun it ended with $?"
        said '^exchanged through NCCL 2\.'
        expect_same mpi alone
    fi
}

test_kill_and_resume() {
    local launcher code=0 steps=400
    [ -z "$fakes" ] || steps=8
    run output=long_alone training.steps=$steps
    "$trainer" run "${short[@]}" output=cut training.steps=$steps checkpoint.every=1 --nproc 2 >log 2>&1 &
    launcher=$!
    until [ -e cut/checkpoint-2 ]; do
        kill -0 $launcher || fail "it ended before it was killed"
        sleep 0.01
    done
    kill -KILL "$(pgrep -P $launcher | tail -n 1)"
    wait $launcher || code=$?
    [ $code = 82 ] || fail "the loss of a rank ended with $code instead of 82"
    run output=cut training.steps=$steps checkpoint.every=1 --resume
    said '^resuming from checkpoint-'
    expect_same cut long_alone
}

test_one_gpu_each() {
    refused 71 'rank 0 (.*) and rank [0-9]* (.*) would compute on one GPU, GPU-' --nproc "$((gpus + 1))"
    before_the_first_step
    CUDA_VISIBLE_DEVICES=1 refused 71 'would compute on one GPU, GPU-' --nproc 2
    before_the_first_step
    by_hand CUDA_VISIBLE_DEVICES=1 CUDA_VISIBLE_DEVICES=0 output=own
    expect_same own alone
}

test_auto() {
    start output=cpu device=cpu || fail "on the CPU it ended with $?"
    by_hand CUDA_VISIBLE_DEVICES=0 CUDA_VISIBLE_DEVICES= output=auto device=auto
    said '^computed on the CPU: rank 1 (.*): '
    expect_same auto cpu
    EMULATED_GPUS=2 run output=shared device=auto --nproc 3
    said '^computed on the CPU: rank 0 (.*) and rank 2 (.*) would compute on one GPU'
    expect_same shared cpu
    rm -rf auto
    run output=auto device=auto --nproc 2
    said '^computed on .*compute capability'
    expect_same auto alone
}

test_without_nccl() {
    if ! ldconfig -p | grep -q libnccl; then
        LD_LIBRARY_PATH='' run output=copied --nproc 3
        said "^exchanged through the host's memory.*libnccl.so.2 could not be opened"
        expect_same copied alone
        LD_LIBRARY_PATH='' run output=copied_full peft=null training.determinism=strict training.sharding=gradients --nproc 2
        expect_same copied_full full_alone
    fi
    by_hand "LD_LIBRARY_PATH=$LD_LIBRARY_PATH" "LD_LIBRARY_PATH=$fakes/fake_old_nccl" output=half
    said "^exchanged through the host's memory.*: rank 1 (.*): libnccl.so.2 has no"
    LD_LIBRARY_PATH=$fakes/fake_old_nccl run output=old --nproc 2
    said 'has no ncclGetLastError: it is too old'
    FAKE_NCCL_VERSION=1:22703 refused 71 'different versions of NCCL: rank 0 (.*) has 2\..*, rank 1 (.*) has 2.27.3' --nproc 2
    before_the_first_step
}

test_failures() {
    FAKE_NCCL_FAIL=ncclGetUniqueId:0:1 refused 71 'NCCL failed when the ranks were to meet: ' --nproc 2
    FAKE_NCCL_FAIL=ncclCommInitRank:1:1 refused 71 'NCCL failed when the ranks met: .*(told to fail)' --nproc 3
    FAKE_NCCL_FAIL=wrong:1:1 refused 71 'gives rank 1 (.*) other numbers than were sent' --nproc 2
    before_the_first_step
    FAKE_NCCL_FAIL=ncclGroupEnd:1:4 refused 71 'NCCL failed when tensors were ' --nproc 2
    FAKE_NCCL_FAIL=ncclAllReduce:1:3 refused 71 'NCCL failed when tensors were summed' training.determinism=fast --nproc 2
    FAKE_NCCL_FAIL=async:1:5 refused 82 'NCCL failed when tensors were on their way: .*network' --nproc 3
}

test_same_bits
test_kill_and_resume
test_one_gpu_each
if [ -n "$fakes" ]; then
    test_auto
    test_without_nccl
    test_failures
fi
echo "all well"
