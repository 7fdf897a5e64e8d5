#!/bin/bash
# run_test.sh TRAINER TINY_PROJECT: whole runs with device: cuda, on a GPU or the emulator. Losses are the CPU's to rounding;
# two runs, and one that is killed and resumed, give the same bytes; what a GPU does not offer is refused before the first
# step. Exit code 4 where there is no GPU.
set -euo pipefail
trainer=$(realpath "$1")
tiny_project=$(realpath "$2")
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$tiny_project" "$work" >/dev/null
cd "$work"

fail() {
    printf 'run_test.sh: %s\n' "$*" >&2
    exit 1
}

# Short, for the emulator's sake.
short=(training.steps=5 training.batch=3 checkpoint.every=1 eval.every=4)
run() {
    "$trainer" run recipe.yaml "${short[@]}" "$@" >log 2>&1 || {
        local code=$?
        cat log >&2
        fail "$* ended with $code"
    }
}

# refused CODE WORDS ARGUMENTS…
refused() {
    local code=$1 words=$2 found=0
    shift 2
    "$trainer" run recipe.yaml output=refused "$@" >log 2>&1 || found=$?
    [ $found = "$code" ] || fail "$* ended with $found instead of $code: $(tail -n 1 log)"
    grep -q "$words" log || fail "$* does not say \"$words\": $(tail -n 1 log)"
    [ ! -e refused/metrics.jsonl ] || fail "$* took a step"
    rm -rf refused
}

losses() { sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p' "$1/metrics.jsonl"; }

# expect_close FOLDER FOLDER BOUND: losses step by step, relative.
expect_close() {
    paste <(losses "$1") <(losses "$2") | awk -v bound="$3" -v names="$1 $2" '
        { d = ($1 - $2) / $2; if (d < 0) d = -d; if (d > worst) worst = d }
        END { printf "%s: %d losses, at most %.1e apart\n", names, NR, worst
              if (NR < 5 || worst > bound) { print "more than " bound " apart, or too few"; exit 1 } }'
}

"$trainer" check recipe.yaml device=auto >log 2>&1 || { cat log >&2; fail "check failed"; }
code=0
"$trainer" run recipe.yaml "${short[@]}" device=cuda output=first >log 2>&1 || code=$?
if [ $code = 71 ] && grep -q 'device: cuda, but' log; then
    cat log
    refused 78 'f16 is computed on a GPU only' device=auto training.precision=f16
    exit 4
fi
[ $code = 0 ] || { cat log >&2; fail "the first run ended with $code"; }
grep -q 'computed on' log || fail "the run does not say where it computes"

run device=cpu output=cpu
expect_close first cpu 1e-4
run device=cuda output=second
cmp first/adapter_model.safetensors second/adapter_model.safetensors

"$trainer" run recipe.yaml "${short[@]}" device=cuda output=cut >log 2>&1 &
process=$!
until [ -e cut/checkpoint-2 ] || ! kill -0 $process 2>/dev/null; do sleep 0.01; done
kill -KILL $process 2>/dev/null || true
wait $process 2>/dev/null || true
if [ -e cut/receipt.json ]; then   # too quick to be killed: what is finished is taken away
    rm -rf cut/receipt.json cut/checkpoint-[345]
fi
run device=cuda output=cut --resume
grep -q '^resuming from checkpoint-' log || fail "nothing was resumed"
cmp first/adapter_model.safetensors cut/adapter_model.safetensors

run device=cpu training.precision=bf16 output=cpu_bf16
run device=cuda training.precision=bf16 output=bf16
expect_close bf16 cpu_bf16 2e-2
if grep -q ', cuDNN 9\.' log && [[ $trainer == *-emulated ]]; then   # whose library says what it is told to
    FAKE_CUDNN_VERSION=90100 run device=cuda training.precision=bf16 output=old_cudnn
    grep -q 'attention by own kernels, without cuDNN: it is 9\.1\.0' log || fail "nothing is said of an old cuDNN"
    expect_close old_cudnn cpu_bf16 2e-2
    rm -rf old_cudnn/receipt.json old_cudnn/checkpoint-5
    code=0
    "$trainer" run recipe.yaml "${short[@]}" device=cuda training.precision=bf16 output=old_cudnn --resume >log 2>&1 || code=$?
    [ $code = 85 ] || fail "a run of one cuDNN was resumed with another ($code)"
fi
run device=cuda training.recompute=block output=again
cmp first/adapter_model.safetensors again/adapter_model.safetensors

for options in 'model.quantize=nf4 peft.method=dora' 'model.quantize=int8 peft={"method":"oft"}'; do
    # shellcheck disable=SC2086  # two options
    run device=cpu output=cpu_other $options
    # shellcheck disable=SC2086
    run device=cuda output=other $options
    expect_close other cpu_other 1e-4
    rm -rf other cpu_other
done

# What waits in the host's memory gives the same bytes.
run device=cuda training.offload=optimizer output=waiting
cmp first/adapter_model.safetensors waiting/adapter_model.safetensors
rm -rf waiting/receipt.json waiting/checkpoint-5   # and what a checkpoint has of it
run device=cuda training.offload=optimizer output=waiting --resume
grep -q '^resuming from checkpoint-' log || fail "nothing was resumed beside an offloaded optimizer"
cmp first/adapter_model.safetensors waiting/adapter_model.safetensors
run device=cuda training.offload=activations training.recompute=block output=waiting2
cmp first/adapter_model.safetensors waiting2/adapter_model.safetensors

# f16: the loss scale begins where gradients do not fit, and falls until they do. Killed behind a step that was skipped.
run device=cuda training.precision=f16 output=f16
expect_close f16 first 2e-3
brief=(training.batch=2 data.max_length=40 data.valid=null)
halves=("${short[@]}" "${brief[@]}" training.steps=7 device=cuda training.precision=f16 training.loss_scale=1048576)
skipped() { grep -c '"skipped": *true' "$1/metrics.jsonl"; }
run "${halves[@]}" output=halved
[ "$(skipped halved)" -ge 2 ] && [ "$(skipped halved)" -le 5 ] || fail "$(skipped halved) steps were skipped"
grep -q 'step 1: .*loss scale of 1048576 too large for f16, the step is skipped and the scale halved' log ||
    fail "nothing was said of a skipped step"
grep -q '"step": *2,.*"loss_scale": *524288' halved/metrics.jsonl || fail "the scale was not halved"
tail -n 1 halved/metrics.jsonl | grep -q skipped && fail "the scale did not fall far enough"
"$trainer" run recipe.yaml "${halves[@]}" output=cut_halved >log 2>&1 &
process=$!
until [ -e cut_halved/checkpoint-1 ] || ! kill -0 $process 2>/dev/null; do sleep 0.01; done
kill -KILL $process 2>/dev/null || true
wait $process 2>/dev/null || true
if [ -e cut_halved/receipt.json ]; then rm -rf cut_halved/receipt.json cut_halved/checkpoint-[2-7]; fi
run "${halves[@]}" output=cut_halved --resume
grep -q '^resuming from checkpoint-' log || fail "nothing was resumed in f16"
cmp halved/adapter_model.safetensors cut_halved/adapter_model.safetensors
cmp halved/checkpoint-7/training_state.json cut_halved/checkpoint-7/training_state.json
run "${brief[@]}" device=cpu training.precision=f32 model.quantize=nf4 peft.method=dora output=cpu_other
run "${brief[@]}" device=cuda training.precision=f16 model.quantize=nf4 peft.method=dora output=other
expect_close other cpu_other 2e-3

refused 78 'f16 is computed on a GPU only' device=cpu training.precision=f16
# What the fastest products were is found once, kept, and used again; a damaged list is said and made again.
export XDG_CACHE_HOME=$work/cache
fast=(device=cuda training.determinism=fast training.tf32=true training.precision=f32)
run device=cpu training.tf32=true training.precision=f32 output=cpu_exact
grep -q 'warning: training.tf32: this run is computed on the CPU' log || fail "the CPU does not say that it has no tf32"
run "${fast[@]}" output=fast
grep -q 'f32 products in tf32, algorithms chosen by time' log || fail "the run does not say how it multiplies"
expect_close fast cpu_exact 1e-3
choices=$XDG_CACHE_HOME/trainer/gemm_choices.json
[ "$(grep -c ' tf32": ' "$choices")" -gt 8 ] || fail "no choices were kept"
truncate -s 40 "$choices"
run "${fast[@]}" training.steps=1 output=fast_again
grep -q 'warning: choices of earlier runs are ignored' log || fail "a damaged list of choices is not said"
[ "$(grep -c ' tf32": ' "$choices")" -gt 8 ] || fail "a damaged list of choices was not made again"
unset XDG_CACHE_HOME

echo "all well"
