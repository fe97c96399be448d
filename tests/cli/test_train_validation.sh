# data.validation: images that are left out of training, by the seed; their accuracy in the log, the result, the curves and the report.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
. "$TESTS/toy_data.sh"
cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, validation: 0.2}
batch: 32
quant: [{match: "*", weight: uniq/4, act: uniq/4}]
phases:
  - {name: float, lr: constant(0.05), epochs: 2}
  - {name: low, quant: true, lr: constant(0.01), epochs: 1, calibrate: 1}
R
train() { local out=$1; shift; expect 0 "$POPSHIFT" train --recipe recipe.yaml --save-every 0 -o "$out" "$@"; }
rows() { sed -E 's/"(images_per_second|seconds)": [^,}]*//g' "$1/log.jsonl"; }

train one --threads 1
says err '^float 2/3 \[24/24\] .*, validation [0-9.]+ %, test [0-9.]+ %' # 768 of 960 images are 24 batches
says out '^low: validation accuracy [0-9.]+ %, test accuracy [0-9.]+ %, in exact integers [0-9.]+ %, weights'
[ "$(grep -c '"validation_accuracy": ' one/log.jsonl)" = 3 ] || fail "not an accuracy of each epoch"
# of 192 images
grep -oE '"validation_accuracy": [0-9.]+' one/log.jsonl | awk '{ n = $2 * 192; r = n - int(n + 0.5); if (r * r > 1e-6 || $2 > 1 || $2 < 0.5) exit 1 }' || fail "no accuracies of 192 images"
[ "$(grep -c '"validation_accuracy"' one/result.json)" = 2 ] || fail "the result has not each phase's"
says one/curves.svg 'best validation [0-9.]+ % after epoch'
says one/curves.html '<th>validation accuracy</th>'
says one/recipe.yaml '^  validation: 0.2$'
train three --threads 3
cmp -s one/low.onnx three/low.onnx && [ "$(rows one)" = "$(rows three)" ] || fail "other threads, other bits"
expect 0 "$POPSHIFT" report one; says out 'valid %'

# Without it nothing says validation, and the report has no column of it.
train none -q --set data.validation=0
for f in log.jsonl result.json curves.svg recipe.yaml; do silent none/$f 'validation"|validation:|best validation'; done
expect 0 "$POPSHIFT" report none; silent out valid
# What is left out is not trained on: a net that learns its images by heart, whose labels are noise, has the others right by chance alone.
{ printf '\0\0\10\1\0\0\3\300'; LC_ALL=C awk 'BEGIN { s = 5; for (i = 0; i < 960; i++) { s = (s * 75 + 74) % 65537; printf "%d\n", int(s / 16384.25) } }' |
  while read -r v; do printf "\\$v"; done; } >noise
{ printf '\0\0\10\3\0\0\3\300\0\0\0\10\0\0\0\10'; LC_ALL=C awk 'BEGIN { srand(3); for (i = 0; i < 61440; i++) printf "%c", 1 + int(200 * rand()) }'; } >noise-images
[ "$(stat -c %s noise-images)" = 61456 ] || fail "the noise is not as long as it should be" # an awk that writes UTF-8 whatever the locale is
train heart -q --set 'data={train: [noise-images, noise], scale: 0.02, mean: [2], validation: 0.2}' --set net.hidden=128 --set net.norm=false \
  --set 'phases=[{name: float, optimizer: adam, lr: cosine(0.003), epochs: 20}]'
awk -F '"(accuracy|validation_accuracy)": ' 'END { split($2, a, ","); split($3, v, ","); exit !(a[1] > 0.9 && v[1] > 0.1 && v[1] < 0.42) }' heart/log.jsonl ||
  fail "learned by heart: $(tail -1 heart/log.jsonl | cut -c 1-250)"
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set data.validation=0.0001; says err 'data.validation: 0.0001 of 960 images is none of them'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set data.samples=39; says err '31 images, without those of validation, are fewer than a batch of 32'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set data.validation=1; says err 'data.validation: 1 is not in 0 .. 0.9'

# Killed and resumed: the same images are left out.
{ timeout --foreground --preserve-status -s KILL 0.1 "$POPSHIFT" train --recipe recipe.yaml -q --save-every 0 --threads 1 -o killed >out 2>err || true; } 2>shell
resume=; [ -e killed/checkpoint.ckpt ] && resume=--resume
train killed -q $resume
cmp -s one/low.onnx killed/low.onnx && [ "$(rows one)" = "$(rows killed)" ] || fail "killed and resumed, other bits"

# Curves that are drawn again and again take no more memory than once.
[ "$HOSTILE" = 1 ] || train long -q --threads 1 --limit memory=2500000 --set data='{train: [train-images, train-labels], samples: 8}' --set batch=8 --set shards=1 --set net.hidden=4 \
  --set 'phases=[{repeat: 40, phases: [{name: p, lr: constant(0), epochs: 3}]}]'
