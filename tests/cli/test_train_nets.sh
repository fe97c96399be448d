# Every built-in network and variant: two steps in float and two with two bits on noise; the compiled network predicts what the trainer's frozen
# network does. Through -v: grouped convolutions and average pools are oneDNN's.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"

# idx N SIZE SEED images|labels: an IDX file as octal escapes.
idx() {
  LC_ALL=C awk -v n="$1" -v size="$2" -v seed="$3" -v what="$4" '
    function byte(v) { printf "\\%03o", v }
    function word(v) { byte(0); byte(0); byte(int(v / 256)); byte(v % 256) }
    BEGIN {
      byte(0); byte(0); byte(8); byte(what == "images" ? 3 : 1); word(n)
      if (what == "images") { word(size); word(size) }
      for (i = 0; i < n; i++) {
        if (what == "labels") { byte(i % 4); continue }
        for (p = 0; p < size * size; p++) {
          seed = (seed * 1103 + 12345) % 65536
          byte(int(seed / 512) + (int(p * 4 / size / size) == i % 4 ? 120 : 0))
        }
      }
    }'
}
for set in train:16:1 test:24:777; do
  IFS=: read -r name n seed <<<"$set"
  for what in images labels; do printf "$(idx "$n" 24 "$seed" $what)" >"$name-$what"; done
done

# net NAME OPTIONS: trained, exported, and compared.
net() {
  cat >recipe.yaml <<R
popshift: recipe/1
net: {builtin: $1, classes: 4$2}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, mean: [0.3], std: [0.2]}
batch: 8
shards: 2
quant:
  - {match: first|last, weight: uniq/8, act: uniq/8}
  - {match: "*", weight: uniq/2, act: uniq/2}
phases:
  - {name: float, lr: constant(0.01), epochs: 1}
  - {name: low, quant: true, optimizer: adam, lr: constant(0.001), epochs: 1, calibrate: 1}
R
  rm -rf run
  expect 0 "$POPSHIFT" train --recipe recipe.yaml -o run --threads 1 -v
  grep -E '^eval: (contract[a-z0-9]*|reducef32)\[[0-9]+,[0-9]+,' err && fail "$1$2: a convolution or an average pool is left to the plain evaluation"
  [ "$(wc -l <run/low.predictions)" = 24 ] || fail "$1$2: not 24 predictions"
  "$POPSHIFT" score run/low.onnx --inputs test-images --labels test-labels --engine $engine >out 2>err
  grep -q E0307 err && engine=eval # LLVM is not built in
  expect 0 "$POPSHIFT" score run/low.onnx --inputs test-images --labels test-labels --engine $engine --predictions predictions
  cmp -s predictions run/low.predictions || fail "$1$2: $engine predicts other classes than the trainer"
  models=$((models + 1))
}
models=0 engine=jit
[ "$HOSTILE" = 1 ] && engine=eval
net mlp ", hidden: 16, variant: bireal"
net resnet8 ", width: 0.2, activation: none, variant: bireal"
net lenet5 ", width: 0.2, variant: groupnet, bases: 2"
[ "$HOSTILE" = 1 ] && return 0
engine=eval # compiled in seconds only above
net lenet5 ", width: 0.2, norm: false"
net vgg_small ", width: 0.05"
net vgg_small ", width: 0.05, hidden: 0, norm: false"
net vgg_small ", width: 0.03, variant: groupnet, bases: 2"
net resnet8 ", width: 0.2, activation: post"
net resnet8 ", width: 0.2, activation: post, variant: plain"
net resnet8 ", width: 0.2, variant: bireal"
net resnet8 ", width: 0.2, activation: post, variant: groupnet, bases: 3"
net resnet18 ", width: 0.04"
net resnet50 ", width: 0.02"
net mobilenet_v2 ", width: 0.1"
echo "$models networks"
