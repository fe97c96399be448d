# ALQ on a small convolutional network: the same bits on any number of threads and after kills; the exported groups are operator `bases` in every
# layer, computed alike by the engines; and the object's constants are the bytes that `train` prints. Images of 16x16 with noise, whose class
# is a bright band of four rows, are made here.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"

idx() { # N SEED images|labels: an IDX file as octal escapes
  LC_ALL=C awk -v n="$1" -v seed="$2" -v what="$3" '
    function byte(v) { printf "\\%03o", v }
    function word(v) { byte(0); byte(0); byte(int(v / 256)); byte(v % 256) }
    BEGIN {
      byte(0); byte(0); byte(8); byte(what == "images" ? 3 : 1); word(n)
      if (what == "images") { word(16); word(16) }
      for (i = 0; i < n; i++) {
        if (what == "labels") { byte(i % 4); continue }
        for (p = 0; p < 256; p++) {
          seed = (seed * 1103 + 12345) % 65536
          byte(int(seed / 1024) + (int(p / 64) == i % 4 ? 120 : 0))
        }
      }
    }'
}
for set in train:320:1 test:96:777; do
  IFS=: read -r name n seed <<<"$set"
  for what in images labels; do printf "$(idx "$n" "$seed" $what)" >"$name-$what"; done
done

cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: lenet5, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.00392156862745098}
batch: 32
quant:
  - {match: "conv*", weight: alq/3, groups: kernel}
  - {match: fc1, weight: alq/4, groups: part, parts: 2, act: alq/2}
  - {match: fc2, weight: alq/4, act: uniq/1}
phases:
  - {name: float, lr: constant(0.02), epochs: 3}
  - {name: sketch, quant: true, keep: false, optimizer: amsgrad, lr: constant(1e-3), epochs: 1}
  - repeat: 2
    phases:
      - {name: prune, quant: true, keep: false, alq: prune, prune: 0.5, top_k: 0.1, optimizer: amsgrad, lr: constant(1e-6), epochs: 1}
      - {name: basis, quant: true, keep: false, optimizer: amsgrad, lr: constant(1e-3), epochs: 1}
      - {name: coord, quant: true, keep: false, alq: coord, optimizer: amsgrad, lr: constant(1e-4), epochs: 1}
  - {name: low, quant: true, alq: ste, optimizer: amsgrad, lr: constant(1e-4), epochs: 1}
R
train() { local out=$1 threads=$2; shift 2; "$POPSHIFT" train --recipe recipe.yaml --save-every 0 --threads "$threads" -o "$out" --json -q "$@"; }
same() { for f in low.ir low.onnx low.predictions; do cmp -s "one/$f" "$1/$f" || fail "$1/$f differs from that of one undisturbed thread"; done; }

start=$(date +%s%N)
expect 0 train one 1
ms=$((($(date +%s%N) - start) / 1000000))
cp out result
[ -e one/prune-1.onnx ] && fail "a phase that is not kept left files"
awk 'NR % 4 == ($1 + 1) % 4 { right++ } END { exit !(NR == 96 && right > 72) }' one/low.predictions || fail "three quarters of the test images are not right: $(tail -1 one/log.jsonl)"
expect 0 train three 3; same three
for part in 450 650 850; do
  timeout --foreground --preserve-status -s KILL "$(awk -v ms="$ms" -v p=$part 'BEGIN { print ms * p / 1000000 }')" "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads 2 -o k$part >out 2>err
  if [ -e k$part/checkpoint.ckpt ]; then expect 0 train k$part 1 --resume; else expect 0 train k$part 1; fi
  same k$part
done

# Six alphas cannot be told from the 25 weights of a kernel, and this is said.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o warned --set phases.2.repeat=1 --set phases.1.epochs=0 --set quant.0.weight=alq/6 --set phases.2.phases.0.prune=0.1
says err 'E0802.* layer .conv'

# The log's bits of every layer never rise after the sketch, fall while alphas are pruned, and end with those of the result: all layers together by weights.
metric() { sed -n "$1p" one/log.jsonl | grep -oE "\"bits.$2\": [0-9.]+" | sed 's/.*: //'; }
for layer in conv1 conv2 fc1 fc2 all; do
  [ "$(metric 1 $layer)" = 32.0 ] || fail "bits.$layer in float is '$(metric 1 $layer)'"
  trace=$(for e in 4 5 6 7 8 9 10 11; do metric $e $layer; done | tr '\n' ' ') most=4
  [ $layer = conv1 ] || [ $layer = conv2 ] && most=3
  awk -v t="$trace" -v most=$most 'BEGIN { n = split(t, v, " "); for (i = 2; i <= n; i++) if (v[i] > v[i - 1]) exit 1; exit !(n == 8 && v[1] <= most && v[1] > 0 && v[8] > 0) }' || fail "bits.$layer: $trace"
done
# the sketch, then prune, basis, coord, twice, then ste: alphas go in epochs 5 and 8, half of those that there are
awk -v a="$(metric 4 fc1)" -v b="$(metric 5 fc1)" -v c="$(metric 7 fc1)" -v d="$(metric 8 fc1)" 'BEGIN { exit !(b < a && c == b && d < c) }' || fail "bits.fc1 does not fall with pruning alone"
last=$(metric 11 all) want=$(sed -n 's/.*"weight_bits": \([0-9.]*\).*/\1/p' result | tail -1)
awk -v a="$last" -v b="$want" 'BEGIN { exit !(a > 0 && a / b > 0.9999 && a / b < 1.0001) }' || fail "bits.all ends with $last, the result has $want"

# Half of a half of the alphas is left; every layer is bases.
bits=$(sed -n 's/.*"weight_bits": \([0-9.]*\).*/\1/p' result | tail -1) bytes=$(sed -n 's/.*"code_bytes": \([0-9.]*\).*/\1/p' result | tail -1)
awk -v b="$bits" 'BEGIN { exit !(b > 0.3 && b < 1.6) }' || fail "$bits bits a weight after pruning to a quarter"
expect 0 "$POPSHIFT" inspect one/low.onnx # the two products of fc1, one for each bit of its inputs, have the same weights
awk -v want="$bytes" '/^(conv1|conv2|fc1|fc2)/ { split($1, name, "_"); if (!seen[name[1]]++) sum += $8 } END { printf "%d bytes, trained %d\n", sum, want; exit !(sum > 0.95 * want && sum < 1.05 * want) }' out ||
  fail "inspect has other bytes of weights than train"
expect 0 "$POPSHIFT" compile one/low.onnx --explain -o low.c
for layer in conv1 conv2 fc1 fc2; do grep -E "\"$layer[^\"]*\" .* planes of .* groups" out err >/dev/null || fail "$layer is not computed by its groups"; done
engines="c eval"; [ "$HOSTILE" = 1 ] && engines="nest"
for e in $engines; do
  n=96; [ "$HOSTILE" = 1 ] && n=8
  expect 0 "$POPSHIFT" score one/low.onnx --inputs test-images --labels test-labels --engine $e --samples $n --predictions $e.predictions
  head -n $n one/low.predictions | cmp - $e.predictions || fail "$e predicts other classes than the trainer"
done
