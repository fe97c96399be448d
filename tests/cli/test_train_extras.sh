# The auxiliary module and stochastic precision on Fashion-MNIST: what is exported is the network alone, and predicts in C and jit what the
# trainer's frozen network predicts, with each quantizer that they are compared on; bits depend neither on threads nor on a kill.
data=/usr/share/datasets/fashion-mnist
need $data/train-images-idx3-ubyte.gz
# N images and labels of a set: headers with the new count.
some() { # SET N
  local count
  count=$(printf '\\0\\0\\%03o\\%03o' $(($2 / 256)) $(($2 % 256)))
  { printf "\\0\\0\\10\\3$count\\0\\0\\0\\34\\0\\0\\0\\34"; zcat $data/$1-images-idx3-ubyte.gz | tail -c +17 | head -c $(($2 * 784)); } >$1.images
  { printf "\\0\\0\\10\\1$count"; zcat $data/$1-labels-idx1-ubyte.gz | tail -c +9 | head -c $2; } >$1.labels
}
n=300
[ "$HOSTILE" = 1 ] && n=40
some train 768 && some t10k $n
cat >recipe.yaml <<'Y'
popshift: recipe/1
net: {builtin: resnet8, classes: 10, width: 0.25, variant: plain, activation: post}
data: {train: [train.images, train.labels], test: [t10k.images, t10k.labels], scale: 0.00392156862745098}
batch: 64
shards: 4
auxiliary: {mode: one-pass}
quant:
  - {match: first|last, weight: uniq/8, act: uniq/8}
  - {match: "*", weight: dorefa/2, act: dorefa/2}
phases:
  - {name: float, lr: constant(0.05), epochs: 1}
  - {name: low, quant: true, optimizer: adam, lr: constant(1e-3), epochs: 1, ssp: {start: 0.5}}
Y
rc=0
"$POPSHIFT" train --recipe recipe.yaml -o first --threads 2 -q >out 2>err || rc=$?
grep -q E0307 err && skip "the trainer is not built in"
[ $rc = 0 ] || fail "train: exit $rc: $(cat err)"

predicts() { # RUN: c and jit as the trainer
  for e in c jit; do
    expect 0 "$POPSHIFT" score $1/low.onnx --inputs t10k.images --labels t10k.labels --engine $e --predictions $e.predictions
    grep -q E0307 err && continue
    cmp $1/low.predictions $e.predictions || fail "$1: $e predicts other classes than the trainer"
  done
}
predicts first
for f in float low; do ! grep -qa "auxiliary\|rounded" first/$f.onnx || fail "something of the auxiliary module is in $f.onnx"; done

# What only training has is not of the network: neither its bytes nor its layers.
json() { sed -n "s/.*\"$1\": \([0-9.]*\),*\$/\1/p" first/result.json | head -1; } # of the float phase
[ -n "$(json code_bytes)" ] && [ "$(json code_bytes)" -le "$(json float_bytes)" ] || fail "$(json code_bytes) bytes of weights in a network of $(json float_bytes)"
! grep -q '"bits\.auxiliary' first/log.jsonl || fail "the log counts layers of the auxiliary module"

# The same operators in the same order as without it.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o plain --set auxiliary.mode=none --set phases.1.ssp.start=0 -q
ops() { sed 's/(.*//; s/.*= *//; s/ .*//' $1 | grep -v '^#'; }
for f in float low; do cmp <(ops first/$f.ir) <(ops plain/$f.ir) || fail "$f has other nodes with the auxiliary module"; done
cmp -s first/low.ir plain/low.ir && fail "the auxiliary module changes nothing"

expect 0 "$POPSHIFT" train --recipe recipe.yaml -o one --threads 1 -q
for f in float.onnx low.onnx low.predictions; do cmp first/$f one/$f || fail "one thread and two give different bytes"; done

expect 0 "$POPSHIFT" train --recipe recipe.yaml -o lqnet --set auxiliary.mode=two-pass --set quant.1.weight=lqnet/2 --set quant.1.act=lqnet/2 -q
predicts lqnet
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o bireal --set net.variant=groupnet --set net.bases=2 --set net.activation=none --set quant.1.weight=bireal/1 --set quant.1.act=bireal/1 -q
predicts bireal
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o kd --set auxiliary.mode=none --set distill.teacher=first --set supervision.weight=0.1 --set label_smoothing=0.1 -q
predicts kd

# From a run without it the second pass begins with that run's normalization; one line says which parameters are new.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o init --init plain --set auxiliary.mode=two-pass --set "phases=[{name: start, lr: constant(0), epochs: 0}]"
[ "$(grep -c E0801 err)" = 1 ] || fail "more lines than one of what the run before has not: $(cat err)"
value() { # NAME: its numbers in the checkpoint, behind the name, which is filled up to eight bytes
  local at name=value:$1
  at=$(LC_ALL=C grep -abom1 "$name" init/checkpoint.ckpt | head -1 | cut -d: -f1)
  tail -c +$((at + (${#name} + 7) / 8 * 8 + 1)) init/checkpoint.ckpt | od -An -v -tf4 -N16 # four channels
}
for p in beta var; do
  [ "$(value stage1.block1.bn1.$p)" = "$(value auxiliary.stage1.block1.bn1.$p)" ] || fail "the second pass begins with another $p than the network"
  value auxiliary.stage1.block1.bn1.$p | grep -q '0\.[0-9]*[1-9]' || fail "$p is that of no training: $(value auxiliary.stage1.block1.bn1.$p)"
done

# Killed and resumed, with the same bytes.
"$POPSHIFT" train --recipe recipe.yaml -o two --threads 1 --save-every 0 -q &
pid=$!
for i in $(seq 600); do [ -e two/log.jsonl ] && grep -q float two/log.jsonl && break; sleep 0.05; done
sleep 0.2
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o two --resume -q
cmp first/low.onnx two/low.onnx || fail "a killed run ends with different bytes"

# What cannot be is told.
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set "net={builtin: mlp}" -q
says err "blocks"
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set auxiliary.mode=onepass -q
says err "one-pass"
expect 5 "$POPSHIFT" train --recipe recipe.yaml -o no --set distill.teacher=nowhere.onnx -q
says err "nowhere.onnx"
