# Averaged weights (ema): tests use them, the exported network is theirs, the next phase and --init begin with them, and a run that is killed
# goes on with them. With an average that hardly moves all of this is told from the trained weights without doubt: those learn, it does not.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
. "$TESTS/toy_data.sh"
cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4, norm: false}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039}
batch: 32
phases:
  - {name: float, lr: constant(0.05), epochs: 3}
R
train() { local out=$1; shift; expect 0 "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads 1 -o "$out" "$@"; }
# logged RUN EPOCH: test accuracy of the log; score RUN PHASE: accuracy of the exported network
logged() { sed -n "$2p" "$1/log.jsonl" | grep -oE '"test_accuracy": [0-9.]+' | sed 's/.*: //'; }
score() { expect 0 "$POPSHIFT" score "$1/$2.onnx" --inputs test-images --labels test-labels --engine eval --predictions "$1/$2.got"; awk '$1 == (NR - 1) % 4 { n++ } END { print n / NR }' "$1/$2.got"; }
close() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d * d < 1e-8) }' || fail "$3: $1 and $2"; }

train plain
train begun --set phases.0.epochs=0
train still --set phases.0.ema=0.999999
awk -v a="$(logged plain 3)" 'BEGIN { exit !(a > 0.9) }' || fail "without averages nothing is learned: $(logged plain 3)"
grep -oE '"accuracy": [0-9.]+' still/log.jsonl | tail -1 | awk '{ exit !($2 > 0.9) }' || fail "with averages training itself does not learn"
score begun float >start
close "$(logged still 3)" "$(cat start)" "accuracy of an average that stays where it began, and of the start"
awk -v a="$(cat start)" 'BEGIN { exit !(a < 0.6) }' || fail "the start is no worse than chance allows: $(cat start)"
cmp -s begun/float.got <(score still float >/dev/null; cat still/float.got) || fail "the exported network is not the average's"

# An average that follows: what is logged is what the file does, and it is not the network without.
train follow --set phases.0.ema=0.98
close "$(logged follow 3)" "$(score follow float)" "logged accuracy and that of the exported network"
cmp -s plain/float.onnx follow/float.onnx && fail "an average changes nothing"
# What follows begins with the averages: a next phase at rate 0, and another run.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 -o next --set phases.0.ema=0.98 --set 'phases.1={name: rest, lr: constant(0), momentum: 0, epochs: 1}'
cmp -s next/float.onnx follow/float.onnx || fail "a phase more changes the one before"
cmp -s next/float.onnx next/rest.onnx || fail "the next phase does not begin with the averages"
expect 0 "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 -o init --init follow --set 'phases.0={name: rest, lr: constant(0), momentum: 0, epochs: 1}'
cmp -s init/rest.onnx follow/float.onnx || fail "--init does not begin with the averages"

# Killed in the middle, and at the phase's end.
start=$(date +%s%N); train again --set phases.0.ema=0.98; ms=$((($(date +%s%N) - start) / 1000000))
cmp -s again/float.onnx follow/float.onnx || fail "two runs differ"
for part in 400 600 800 950; do
  { timeout --foreground --preserve-status -s KILL "$(awk -v ms=$ms -v p=$part 'BEGIN { print ms * p / 1000000 }')" \
      "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads 1 -o k$part --set phases.0.ema=0.98 >out 2>err || true; } 2>shell
  resume=; [ -e k$part/checkpoint.ckpt ] && resume=--resume
  train k$part $resume --set phases.0.ema=0.98
  cmp -s k$part/float.onnx follow/float.onnx || fail "killed after $part/1000 and resumed, the averages differ"
  [ "$(logged k$part 3)" = "$(logged follow 3)" ] || fail "killed after $part/1000 and resumed, the log differs"
done
