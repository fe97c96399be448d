#!/usr/bin/env bash
# Kills a short training with SIGKILL at random moments, resumes it each time, and compares what it ends with, byte for byte, with an
# undisturbed run: kill9.sh [--kills N] [--seed S] [--threads MOST]. Needs POPSHIFT (the command). A run is killed again and again until it
# gets to its end, then another begins, until there were N kills (default 100). Every checkpoint that a kill left is read back whole.
# 100 kills take about two minutes on one core.
set -u
kills=100 seed=1 most=3
while [ $# -gt 0 ]; do
  case $1 in
    --kills) kills=$2 ;; --seed) seed=$2 ;; --threads) most=$2 ;;
    *) echo "kill9.sh [--kills N] [--seed S] [--threads MOST]"; exit 2 ;;
  esac
  shift 2
done
POPSHIFT=$(realpath "${POPSHIFT:?the command}")
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
. "$here/../toy_data.sh"
cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, mean: [0.3], augment: {crop: 1, cutout: 2}}
batch: 32
quant:
  - {match: first|last, weight: uniq/8, act: uniq/8}
  - {match: "*", weight: uniq/2, act: uniq/2}
phases:
  - {name: float, lr: cosine(0.05), weight_decay: 1e-4, epochs: 3}
  - {name: low, quant: true, optimizer: adam, lr: constant(0.002), epochs: 3, calibrate: 2}
R
train() { local out=$1 threads=$2; shift 2; "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads "$threads" -o "$out" "$@"; }
bad() { echo "kill9: $*"; exit 1; }

start=$(date +%s%N)
train whole 1 || bad "the undisturbed run failed"
ms=$((($(date +%s%N) - start) / 1000000))
RANDOM=$seed
killed=0 runs=0 checked=0 early=0 between=0
while [ $killed -lt "$kills" ]; do
  run=run$runs
  while :; do
    after=$(awk -v ms="$ms" -v r=$RANDOM 'BEGIN { printf "%.4f", (0.02 + 0.8 * r / 32767) * ms / 1000 }')
    threads=$((RANDOM % most + 1)) rc=0
    resume=()
    [ -e $run/checkpoint.ckpt ] && resume=(--resume)
    # the shell says of every process that was killed that it was: to a file
    { timeout --foreground --preserve-status -s KILL "$after" "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads $threads -o $run "${resume[@]}" >out 2>err || rc=$?; } 2>shell
    [ $rc = 0 ] && break
    [ $rc = 137 ] || bad "$run: exit $rc after $killed kills: $(tail -3 err)"
    killed=$((killed + 1))
    if [ ! -e $run/checkpoint.ckpt ]; then # the last kill of all may be one of these
      early=$((early + 1))
      [ $killed -lt "$kills" ] && continue
      train $run 2 || bad "$run: starting anew failed"
      break
    fi
    [ -e $run/checkpoint.ckpt.tmp ] && between=$((between + 1)) # killed while it wrote
    # Whole: magic, checksum and all entries, which resuming checks before it trains; other recipes are refused only after that.
    train $run 1 --resume --set seed=12345 >out 2>err && bad "$run: resumed with another recipe"
    grep -q "another recipe" err || bad "$run: the checkpoint is torn: $(cat err)"
    checked=$((checked + 1))
    [ $killed -lt "$kills" ] || { train $run 2 --resume || bad "$run: resuming failed"; break; }
  done
  for f in float.ir float.onnx low.ir low.onnx low.predictions; do cmp -s "whole/$f" "$run/$f" || bad "$run/$f differs from that of the undisturbed run"; done
  diff <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' whole/log.jsonl) <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' $run/log.jsonl) >/dev/null || bad "$run/log.jsonl has other rows"
  diff <(sed -E '/"run"|"model"|images_per_second/d' whole/result.json) <(sed -E '/"run"|"model"|images_per_second/d' $run/result.json) || bad "$run/result.json differs"
  cmp -s <(tail -c 8 whole/checkpoint.ckpt) <(tail -c 8 $run/checkpoint.ckpt) || bad "$run: the last checkpoint has another checksum: other weights"
  rm -rf $run
  runs=$((runs + 1))
done
echo "$killed kills over $runs runs ($early before the first checkpoint, $between within a write): all ended with the undisturbed run's bytes; $checked checkpoints read back whole"
