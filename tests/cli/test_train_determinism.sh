# The same final weights on any number of threads, and after kill -9 or Ctrl-C at several moments and --resume on another number of
# threads.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"

. "$TESTS/toy_data.sh"
[ "$(stat -c %s train-images)" = $((16 + 960 * 64)) ] || fail "the data are not as long as they should be"

cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, mean: [0.3], std: [0.2], augment: {crop: 1, flip: true}}
batch: 32
quant:
  - {match: first|last, weight: uniq/8, act: uniq/8, grain: kernel}
  - {match: "*", weight: uniq/2, act: uniq/2}
phases:
  - {name: float, optimizer: sgd, lr: cosine(0.05), momentum: 0.9, weight_decay: 1e-4, epochs: 2}
  - {name: low, quant: true, optimizer: radam, lr: constant(0.002), ema: 0.9, epochs: 2, calibrate: 2, statistics: 3}
R
train() { local out=$1 threads=$2; shift 2; "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads "$threads" -o "$out" "$@"; }
# same RUN: its networks, predictions and log are those of one thread.
same() {
  local f
  for f in float.ir float.onnx low.ir low.onnx low.predictions; do cmp -s "one/$f" "$1/$f" || fail "$1/$f differs from that of one undisturbed thread"; done
  # speeds and times differ
  diff <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' one/log.jsonl) <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' "$1/log.jsonl") >/dev/null ||
    fail "$1/log.jsonl has other rows than that of one undisturbed thread"
}
# go_on RUN THREADS: resumes, or starts where nothing was saved yet.
go_on() { if [ -e "$1/checkpoint.ckpt" ]; then expect 0 train "$1" "$2" --resume; else expect 0 train "$1" "$2"; fi; }
# stop SIGNAL THOUSANDTHS RUN THREADS [--resume]: sends the signal after that part of the time that the whole run took; counts in stopped.
stop() {
  local signal=$1 after rc=0
  after=$(awk -v ms="$ms" -v p="$2" 'BEGIN { print ms * p / 1000000 }')
  { timeout --foreground --preserve-status -s "$signal" "$after" "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads "$4" -o "$3" ${5-} >out 2>err || rc=$?; } 2>shell
  case $signal$rc in
    KILL137) stopped=$((stopped + 1)) ;;
    INT130) stopped=$((stopped + 1)); [ ! -e "$3/checkpoint.ckpt" ] || says err "E0602" ;; # before that the program was not yet loaded
    *0) [ "$rc" = 0 ] || fail "$3: exit $rc" ;;
    *) fail "$3: exit $rc"; tail -3 err ;;
  esac
}

ms=1000000 # of a whole run: the least of three, since machines are loaded
for _ in 1 2 3; do
  rm -rf one
  start=$(date +%s%N)
  expect 0 train one 1
  took=$((($(date +%s%N) - start) / 1000000))
  [ $took -gt $ms ] || ms=$took
done
[ "$(wc -l <one/log.jsonl)" = 4 ] || fail "the log has not a line for each of the 4 epochs"
awk 'NR % 4 == ($1 + 1) % 4 { right++ } END { exit !(NR == 96 && right > 72) }' one/low.predictions || fail "three quarters of the test images are not right: nothing was learned"
for t in 2 3 4; do expect 0 train t$t $t; same t$t; done

# Stopped, then resumed on another number of threads.
stopped=0 threads=1
for moment in KILL:150 KILL:250 INT:330 KILL:400 KILL:500 INT:570 KILL:640 KILL:730 INT:810 KILL:890 KILL:960; do
  threads=$((threads % 4 + 1)) run=${moment/:/}
  stop ${moment/:/ } "$run" $threads
  go_on "$run" $((threads % 3 + 1))
  same "$run"
done
# Stopped again and again, each time resumed.
for part in 300 400 500 400 300 500 400; do
  resume=; [ -e again/checkpoint.ckpt ] && resume=--resume
  stop KILL $part again $((part / 100)) $resume
done
go_on again 2
same again
[ $stopped -gt 4 ] || fail "only $stopped runs were stopped before their end"

# Interrupted while it tests, which here takes nearly all of the time: the epoch's steps are not done again, and the end is the same.
many=20; [ "$HOSTILE" = 1 ] && many=2
{ printf "\\0\\0\\10\\3\\0\\0\\$(printf %o $((960 * many / 256)))\\$(printf %o $((960 * many % 256)))"; head -c 16 train-images | tail -c 8; for _ in $(seq $many); do tail -c +17 train-images; done; } >many-images
{ printf "\\0\\0\\10\\1\\0\\0\\$(printf %o $((960 * many / 256)))\\$(printf %o $((960 * many % 256)))"; for _ in $(seq $many); do tail -c +9 train-labels; done; } >many-labels
small() { local out=$1; shift; "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 -o "$out" --set net='{builtin: resnet8, classes: 4, width: 0.25}' --set data.samples=32 --set 'data.test=[many-images, many-labels]' --set phases.1.epochs=1 "$@"; }
start=$(date +%s%N)
expect 0 small slow
ms=$((($(date +%s%N) - start) / 1000000)) tested=0
for part in 350 550 750; do
  rc=0
  { timeout --foreground --preserve-status -s INT "$(awk -v ms="$ms" -v p=$part 'BEGIN { print ms * p / 1000000 }')" "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 -o i$part \
      --set net='{builtin: resnet8, classes: 4, width: 0.25}' --set data.samples=32 --set 'data.test=[many-images, many-labels]' --set phases.1.epochs=1 >out 2>err || rc=$?; } 2>shell
  grep -q 'interrupted while testing' err && tested=$((tested + 1))
  [ $rc = 0 ] || [ $rc = 130 ] || fail "interrupted: exit $rc"
  expect 0 small i$part $([ -e i$part/checkpoint.ckpt ] && echo --resume)
  cmp -s slow/low.onnx i$part/low.onnx || fail "interrupted while testing and resumed, other bits"
  [ "$(grep -c . i$part/log.jsonl)" = 3 ] || fail "interrupted while testing and resumed, the log has not 3 epochs"
done
[ $tested -gt 0 ] || fail "no run was interrupted while it tested"

# A finished run resumed is the same run; what does not fit is refused and leaves the folder as it is.
expect 0 train one2 1; expect 0 train one2 3 --resume; same one2
expect 2 train one2 1 --resume --set seed=2; says err 'another recipe'
cp one2/checkpoint.ckpt whole
for n in 0 10 40 1000 $(($(stat -c %s whole) - 1)); do
  head -c "$n" whole >one2/checkpoint.ckpt
  expect 1 train one2 1 --resume; says err 'checkpoint.ckpt: error E0106'
done
cp whole one2/checkpoint.ckpt
same one2

# A phase with rows of its own, and one that goes on with them: so does its last step, resumed.
own() { "$POPSHIFT" train --recipe recipe.yaml --threads 1 -o "$@" --set 'phases=[{name: float, lr: constant(0.01), epochs: 1}, {name: four, quant: [{match: "*", weight: uniq/4}], lr: constant(0.01), epochs: 1}, {name: low, quant: true, lr: constant(0.01), epochs: 1}]'; }
expect 0 own rows; cp rows/low.onnx low.onnx; rm rows/low.onnx rows/result.json
expect 0 own rows --resume
cmp -s low.onnx rows/low.onnx || fail "resumed, a phase that goes on has other quantizers"

# Anew where a run was: it is said.
expect 0 own rows; says err 'begins anew'
expect 2 own -; says err 'a run is a folder'

# Without kept phases there are curves, and a result.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -q --json -o none --set 'phases=[{name: float, lr: constant(0.01), epochs: 1, keep: false}]'
[ -s none/curves.html ] && says out '"phases": \[\]' || fail "a run without kept phases: $(cat out)"

# Statistics taken anew: pixels of another scale and mean are normalized as before, where otherwise the network fails.
percent() { sed -n "s/.*\"$1\": \([01][.0-9]*\).*/\1/p" out | tail -1; }
for n in 0 30; do
  expect 0 "$POPSHIFT" train --recipe recipe.yaml -q --json -o other$n --init one --set data.scale=0.0624 --set "data.mean=[-6]" --set "phases=[{name: float, lr: constant(0), epochs: 0, statistics: $n}]"
  eval "accuracy$n=$(percent test_accuracy)"
done
awk -v without="$accuracy0" -v with="$accuracy30" 'BEGIN { exit !(with > 0.8 && with > without + 0.2) }' || fail "other pixels: $accuracy0 right, $accuracy30 with statistics of their own"

# A second run in a folder that one is using; wrong recipes are told before anything is trained.
"$POPSHIFT" train --recipe recipe.yaml -o busy -q --set phases.0.epochs=2000 & pid=$!
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e busy/checkpoint.ckpt ] && break; sleep 0.2; done
expect 5 "$POPSHIFT" train --recipe recipe.yaml -o busy; says err 'another run is using'
kill -9 $pid; wait $pid 2>/dev/null || true
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set "phases.1.name='../evil'"; says err 'begin file names'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set 'quant=[{match: zzz, weight: uniq/2}]'; says err "quant.0.match: there is no layer 'zzz'"
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o anew --resume --set phases.0.epochs=1 --set phases.1.epochs=0; says err 'starts anew'
