#!/usr/bin/env bash
# Shows Popshift at work on Debian 12: builds it; runs a small committed network as generated C; then trains LeNet5 on Fashion-MNIST
# in float and with two-bit weights and activations, and runs the result on every engine. What is run is printed first, to be repeated
# from the repository's root.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/packages.sh

usage() {
  cat <<'END'
usage: tools/demo.sh [--yes] [--quick] [--resume RUN] [--data DIR] [--build DIR] [--out DIR]
  --yes         install missing packages without asking
  --quick       the first minute only: no training
  --resume RUN  go on with an interrupted training in folder RUN
  --data DIR    Fashion-MNIST's four .gz files (default: /usr/share/datasets/fashion-mnist, package dataset-fashion-mnist)
  --build DIR   use the popshift that lies in DIR instead of building one (so does POPSHIFT=FILE in the environment)
  --out DIR     where results go (default: build/demo)
END
}
absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
inside() { echo "${1#"$PWD"/}"; } # shorter, where it lies below the root

debian_data=/usr/share/datasets/fashion-mnist
yes=0 quick=0 run='' out=build/demo data=$debian_data popshift=${POPSHIFT:-}
while [ $# -gt 0 ]; do
  case $1 in
    --yes) yes=1 ;;
    --quick) quick=1 ;;
    -h | --help) usage; exit 0 ;;
    --resume | --data | --build | --out)
      [ $# -ge 2 ] || { echo "demo.sh: $1 needs a folder" >&2; usage >&2; exit 2; }
      at=$(inside "$(absolute "$2")")
      case $1 in --resume) run=$at ;; --data) data=$at ;; --build) popshift=$at/popshift ;; --out) out=$at ;; esac
      shift ;;
    *) echo "demo.sh: unknown '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
[ -z "$popshift" ] || popshift=$(inside "$(absolute "$popshift")")
resume=()
[ -z "$run" ] || resume=(--resume)
[ -z "$run" ] || [ -e "$run/checkpoint.ckpt" ] || { echo "demo.sh: there is no checkpoint.ckpt in $run" >&2; exit 2; }

# Printing and running

bold='' plain='' dim=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
start=$SECONDS eval_pid='' told=''
step() { printf '\n%s== %s%s  (%d:%02d since the start)\n' "$bold" "$*" "$plain" $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)); }
words() { # as the shell reads them, quoted where that is needed; $run and $data where they have been told
  local w text='' name
  for w in "$@"; do
    for name in $told; do case $w in "${!name}" | "${!name}"/*) text+=" \"\$$name\"${w#"${!name}"}"; continue 2 ;; esac; done
    case $w in *[!A-Za-z0-9_./=:,@%+-]* | '') printf -v w %q "$w" ;; esac
    text+=" $w"
  done
  echo "$text"
}
tell() { # NAME...: variables that the commands from here on speak of
  local name text=''
  for name in "$@"; do text+=$(words "$name=${!name}"); done
  printf '\n%s$%s%s\n' "$bold" "$text" "$plain"
  told+=" $*"
}
took() { local us=$((${EPOCHREALTIME/[.,]/} - $1)); printf '%s   %d.%01d s%s\n' "$dim" $((us / 1000000)) $((us / 100000 % 10)) "$plain"; }
say() { printf '\n%s$%s%s%s\n' "$bold" "$(words "${@:2}")" "$1" "$plain"; }
timed() { # COMMAND...
  local since=${EPOCHREALTIME/[.,]/} rc=0
  "$@" || rc=$?
  if [ $rc = 0 ]; then took "$since" >&3; else echo "demo.sh: that failed with exit code $rc" >&2; fi
  return $rc
}
run() { say '' "$@"; timed "$@" 3>&1; }
run_to() { say " >$(words "$1")" "${@:2}"; timed "${@:2}" 3>&1 >"$1"; } # FILE COMMAND...: standard output goes to FILE
stop() { printf '\ndemo.sh: %s\n' "$*" >&2; exit 1; }
resume_hint() { # how to go on, where there is something to go on from
  local more=()
  told=''
  [ "$data" = "$debian_data" ] || more+=(--data "$data")
  [ -n "$run" ] && [ -e "$run/checkpoint.ckpt" ] || return 0
  printf '\nTo go on from here:%s%s\n' "$([ "$here" = "$PWD" ] || echo "$(words cd "$PWD") &&")" "$(words tools/demo.sh --resume "$run" "${more[@]}")" >&2
}
trap 'resume_hint; exit 130' INT TERM
trap '[ -z "$eval_pid" ] || kill "$eval_pid" 2>/dev/null || :' EXIT

# The value of the last KEY in a JSON file.
json() { grep -o "\"$2\": [^,}]*" "$1" | tail -n 1 | sed 's/^[^:]*: //; s/^"\(.*\)"$/\1/'; }
percent() { awk -v v="$1" 'BEGIN { printf "%.2f %%", 100 * v }'; }
# cmp of predictions, loud where they differ: same OURS TRAINER'S WHOSE
same() { cmp -s "$1" "$2" || stop "$3: predictions differ from the trainer's (diff$(words "$1" "$2"))"; }

# Steps

build() {
  step "Packages"
  local more=()
  [ $quick = 1 ] || [ -e "$data/t10k-images-idx3-ubyte.gz" ] || more=(dataset-fashion-mnist)
  install_packages $yes "${more[@]}" || stop "packages are missing$([ ${#more[@]} = 0 ] || echo "; without dataset-fashion-mnist there is --quick, or --data DIR")"
  step "Build"
  popshift=build/release/popshift
  run_to /dev/null cmake --preset release
  run cmake --build --preset release -j "$(nproc)" --target popshift
}

first_minute() {
  local net=docs/first-minute to=$out/first-minute
  mkdir -p "$to"
  step "The first minute: a network of two-bit weights and activations that this trainer made"
  run "$popshift" inspect $net/fashion.onnx --dim N=1
  run "$popshift" compile $net/fashion.onnx --dim N=1 -o "$to/fashion.c"
  run cc -std=c99 -Wall -Wextra -Werror -O3 -I "$to" $net/main.c "$to/fashion.c" -o "$to/fashion"
  run "$to/fashion" $net/images.idx $net/labels.idx "$to/c.predictions"
  echo "The same images on every engine: the plain evaluation, the interpreter, the generated C, the JIT compiler, and HLS code simulated in C++."
  run "$popshift" score $net/fashion.onnx --dim N=1 --inputs $net/images.idx --labels $net/labels.idx --engine all --predictions "$to/engines.predictions"
  run cmp "$to/c.predictions" $net/predictions
  run cmp "$to/engines.predictions" $net/predictions
  echo "Five engines and your own program predict what the trainer predicts, on all $(wc -l <$net/predictions) images."
}

train() {
  local rc=0
  step "Training: LeNet5 on 60 000 images, six epochs in float, six with two bits (some minutes)"
  [ ${#resume[@]} -gt 0 ] || run=$out/run-$(date +%Y%m%d-%H%M%S)
  mkdir -p "$run"
  tell data run
  run_to "$run/train.json" "$popshift" train --recipe trainer/recipes/lenet5-fashion.yaml --data "$data" -o "$run" --json "${resume[@]}" || rc=$?
  [ $rc = 0 ] || { resume_hint; exit $rc; }
}

# as_c NAME: the network in RUN/NAME.onnx becomes a program that classifies the test images; what it says goes to RUN/NAME.txt.
as_c() {
  local to=$run/$1-c
  mkdir -p "$to"
  run "$popshift" compile "$run/$1.onnx" --dim N=1 --name fashion -o "$to/fashion.c"
  run cc -std=c99 -Wall -Wextra -Werror -O3 -I "$to" docs/first-minute/main.c "$to/fashion.c" -o "$to/fashion"
  run_to "$to/says.txt" "$to/fashion" "$run/images.idx" "$run/labels.idx" "$to/predictions"
  tail -n 2 "$to/says.txt"
}

score_args() { # ENGINE
  args=(score "$run/w2a2.onnx" --dim N=1 --inputs "$run/images.idx" --labels "$run/labels.idx" --engine "$1" --predictions "$run/$1.predictions" --json)
}

engines() {
  local args e since
  step "Generated C of both networks, on the 10 000 test images"
  run_to "$run/images.idx" gzip -dc "$data/t10k-images-idx3-ubyte.gz"
  run_to "$run/labels.idx" gzip -dc "$data/t10k-labels-idx1-ubyte.gz"
  as_c float
  as_c w2a2
  same "$run/w2a2-c/predictions" "$run/w2a2.predictions" "generated C"

  step "Every engine, on the same images"
  for e in c jit; do score_args $e; run_to "$run/$e.json" "$popshift" "${args[@]}"; done
  echo "eval, the plain reference, takes about a minute; HLS code is compiled by g++ and simulated beside it, on a part of the images."
  score_args eval
  say " >$(words "$run/eval.json") &" "$popshift" "${args[@]}"
  since=${EPOCHREALTIME/[.,]/}
  "$popshift" "${args[@]}" >"$run/eval.json" 2>"$run/eval.err" &
  eval_pid=$!
  score_args hls
  run_to "$run/hls.json" "$popshift" "${args[@]}" --samples "$hls_samples"
  say '' wait
  wait "$eval_pid" || { cat "$run/eval.err"; stop "eval failed"; }
  eval_pid=''
  took "$since"
  for e in eval c jit; do same "$run/$e.predictions" "$run/w2a2.predictions" $e; done
  head -n "$hls_samples" "$run/w2a2.predictions" | same "$run/hls.predictions" - hls
}

row() { printf '%-34s %10s %10s   %s\n' "$@"; }
# From what the C program of a network says: its accuracy; the number before a word.
accuracy() { sed -n 's/.*right: //p' "$run/$1-c/says.txt"; }
number() { grep -oE "[0-9.]+ $2" "$run/$1-c/says.txt" | tail -n 1 | sed 's/ .*//'; }

table() {
  local float w2a2 frozen fbytes wbytes e line note
  grep '"phase": "float"' "$run/log.jsonl" | tail -n 1 >"$run/float.json"
  float=$(json "$run/float.json" test_accuracy)
  w2a2=$(json "$run/train.json" test_accuracy) frozen=$(json "$run/train.json" frozen_accuracy)
  fbytes=$(json "$run/train.json" float_bytes) wbytes=$(json "$run/train.json" weight_bytes)
  printf -v line '%.0s-' {1..100}
  step "LeNet5 on Fashion-MNIST"
  row "" "float" "W2A2" ""
  echo "$line"
  row "trainer, 10000 test images" "$(percent "$float")" "$(percent "$w2a2")" ""
  row "trainer, frozen to exact integers" "" "$(percent "$frozen")" "the reference of the rows below"
  row "generated C, built by cc" "$(accuracy float)" "$(accuracy w2a2)" "the same 10000 predictions"
  for e in eval c jit hls; do
    note="the same $(json "$run/$e.json" samples) predictions"
    [ $e != hls ] || note="the same predictions on the first $hls_samples images"
    row "score --engine $e" "" "$(awk -v v="$(json "$run/$e.json" value)" 'BEGIN { printf "%.2f %%", v }')" "$note"
  done
  row "weights, packed, bytes" "$fbytes" "$wbytes" "$(awk "BEGIN { printf \"%.1f\", $fbytes / $wbytes }") times fewer"
  row "constants in the C, bytes" "$(number float 'bytes of constants')" "$(number w2a2 'bytes of constants')" "a byte a weight here; --force bitserial packs"
  row "workspace of the C, bytes" "$(number float 'bytes of workspace')" "$(number w2a2 'bytes of workspace')" "all the memory that it needs"
  row "C, microseconds an image" "$(number float microseconds)" "$(number w2a2 microseconds)" "one core, cc -O3 without -march"
  row "jit, microseconds an image" "" "$(awk "BEGIN { printf \"%.1f\", 1e6 / $(json "$run/jit.json" per_second) }")" "one core, this processor's instructions"
  echo "$line"
  echo "models    $run/float.onnx  $run/w2a2.onnx"
  echo "curves    $run/curves.svg  $run/curves.html"
  awk -v f="$float" -v q="$frozen" 'BEGIN { exit !(q >= 0.88 && q >= f - 0.02) }' || stop "W2A2 should have at least 88 % and at most 2 points less than float"
}

your_own() {
  step "Now your own model"
  cat <<END
  $popshift inspect yours.onnx                  # layers, bits, MACs, bytes
  $popshift compile yours.onnx -o yours.c       # yours.c and yours.h: C99, no dependencies (docs/GENERATED_C.md)
  cc -std=c99 -O3 -c yours.c
  $popshift verify yours.onnx --engine all      # every engine gives the same bits
  $popshift train --recipe trainer/recipes/lenet5-fashion.yaml --data DIR -o run   # docs/TRAINING.md
END
  [ $quick = 0 ] || echo "The whole path, with training: tools/demo.sh (under ten minutes on two cores)"
}

hls_samples=200
if [ -n "$popshift" ]; then
  [ -x "$popshift" ] || stop "there is no command $popshift"
  echo "using $popshift"
else
  build
fi
if [ ${#resume[@]} = 0 ]; then first_minute; fi
if [ $quick = 0 ]; then
  for f in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
    [ -e "$data/$f-ubyte.gz" ] || stop "$data/$f-ubyte.gz is not there: apt-get install dataset-fashion-mnist, or --data DIR; --quick needs no data"
  done
  train
  engines
  table
fi
your_own
