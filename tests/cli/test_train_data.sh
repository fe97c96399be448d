# Data of every kind through training, and what the models that come out say of their classes and input.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
. "$TESTS/toy_data.sh"
# header DESCR SHAPE: an NPY file's first 80 bytes.
header() { printf '\223NUMPY\001\000\106\000'; printf "%-69s\n" "{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"; }
for set in train:960 test:96; do
  name=${set%:*} n=${set#*:}
  { header '|u1' "$n, 8, 8"; tail -c +17 $name-images; } >$name-x.npy
  { header '|u1' "$n,"; tail -c +9 $name-labels; } >$name-y.npy
  { echo "label$(printf ',p%d' {1..64})"; paste -d, <(tail -c +9 $name-labels | od -An -v -tu1 -w1 | tr -d ' ') <(tail -c +17 $name-images | od -An -v -tu1 -w64 | tr -s ' ' ',' | sed 's/^,//'); } >$name.csv
  sed -E 's/,([0-9]+)/,\1.5/g' $name.csv >$name-real.csv # floats: half a level more
done
[ "$(stat -c %s train-x.npy)" = $((80 + 960 * 64)) ] || fail "the NPY files are not as long as they should be"
cat >idx.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, mean: [0.3], std: [0.2], augment: {crop: 1, flip: true, cutout: 3}}
batch: 32
quant: [{match: "*", weight: uniq/2, act: uniq/4}]
phases:
  - {name: float, lr: constant(0.05), epochs: 2}
  - {name: low, quant: true, lr: constant(0.005), epochs: 1, calibrate: 2}
R
train() { local out=$1; shift; "$POPSHIFT" train --recipe idx.yaml -q --threads 2 -o "$out" "$@"; }
expect 0 train idx
# The same images from other files: the same bits.
same() { for f in float.ir low.ir low.predictions; do cmp -s idx/$f "$1/$f" || fail "$1/$f is not that of IDX files"; done; }
expect 0 train npy --set 'data.train=[train-x.npy, train-y.npy]' --set 'data.test=[test-x.npy, test-y.npy]'; same npy
expect 0 train csv --set data.train=train.csv --set data.test=test.csv --set 'data.shape=[1, 8, 8]'; same csv
says csv/recipe.yaml 'label_column: 1'
if command -v zip >/dev/null; then
  for name in train test; do mkdir $name; cp $name-x.npy $name/x.npy; cp $name-y.npy $name/y.npy; (cd $name && zip -q ../$name.npz x.npy y.npy); done
  expect 0 train npz --set data.train=train.npz --set 'data.test=["test.npz:x", "test.npz:y"]'
  if grep -q "built without libzip" err; then :; else
    same npz
    expect 0 "$POPSHIFT" score npz/low.onnx --inputs test.npz:x --labels test.npz:y --engine nest --predictions p.txt
    cmp -s p.txt npz/low.predictions || fail "score on the npz predicts other classes than the trainer"
    expect 1 train bad --set 'data.train=["train.npz:x", "train.npz:z"]'; says err 'train.npz:z: error E0104: no array of this name'
  fi
fi

# Floats: the network takes floats, and so do all engines.
expect 0 train real --set data.train=train-real.csv --set data.test=test-real.csv --set 'data.shape=[1, 8, 8]'
says real/low.ir '%image: f32\[1,1,8,8\]'
awk -F, 'NR > 1 { for (i = 2; i <= NF; i++) print $i }' test-real.csv >pixels
{ header '<f4' "96, 1, 8, 8"; LC_ALL=C awk ' # binary32 of h + 1/2, 0 <= h < 256: one more bit than an integer has
    { m = 2 * $1; e = 0; while (m >= 2) { m /= 2; e++ } frac = (m - 1) * 8388608; bits = (e + 126) * 8388608 + frac
      for (b = 0; b < 4; b++) { printf "\\%03o", bits % 256; bits = int(bits / 256) } }' pixels | { read -r t; printf "$t"; }; } >real-x.npy
for e in eval nest c jit; do
  expect 0 "$POPSHIFT" score real/low.onnx --inputs real-x.npy --labels test-labels --engine $e --predictions p.txt
  grep -q E0307 err && continue
  cmp -s p.txt real/low.predictions || fail "$e on floats predicts other classes than the trainer"
done

# Floats below 0 have codes, too; what has none is refused.
for name in train test; do sed -E 's/,([0-9]+)/,-\1.5/g' $name.csv >$name-negative.csv; done
negative() { local out=$1; shift; train "$out" --set 'data={train: train-negative.csv, test: test-negative.csv, scale: 0.0039}' "$@"; }
expect 0 negative negative
awk '{ right += $1 == (NR - 1) % 4 } END { exit !(NR == 96 && right > 72) }' negative/low.predictions || fail "three quarters of the negative images are not right: $(tail -2 negative/log.jsonl)"
expect 2 negative bad --set quant.0.act=alq/2; says err 'its input may be negative'

# What the model says of itself.
expect 0 train named --set 'data.classes=["up \"1\"", b, "caf\u00e9", "*/ \\ ??/"]'
for m in named/low.onnx named/float.ir; do
  expect 0 "$POPSHIFT" inspect $m; says out '^classes 4: "up ..1..", "b", "caf.xc3.xa9"'; says out '"normalized_inside":\{"scale":0.0039,"mean":\[0.3\],"std":\[0.2\]\}'
done
expect 0 "$POPSHIFT" inspect named/low.onnx --json; says out '"normalized_inside"'; says out 'caf'
expect 0 "$POPSHIFT" compile named/low.onnx -o net.c
says net.h '^#define NET_CLASSES 4'
cat >use.c <<'C'
#include "net.h"
#include <stdio.h>
static const char *const names[NET_CLASSES] = NET_CLASS_NAMES;
int main(void) { for (int i = 0; i < NET_CLASSES; i++) puts(names[i]); return 0; }
C
expect 0 "${CC:-cc}" -std=c99 -Wall -Wextra -Werror -pedantic -trigraphs use.c -o use
expect 0 ./use
printf 'up "1"\nb\ncaf\303\251\n*/ \\ ??/\n' | cmp - out || fail "the header's names are not the recipe's"
expect 0 "$POPSHIFT" convert named/low.onnx -o again.onnx --format qdq
expect 0 "$POPSHIFT" inspect again.onnx; says out '^classes 4: '
expect 0 "$POPSHIFT" quantize named/float.onnx --recipe idx.yaml -q -o fine --set 'data.classes=[a, b, c, d]' --set 'phases=[{name: q, quant: true, epochs: 0, lr: constant(0), calibrate: 2}]'
expect 0 "$POPSHIFT" inspect fine/q.onnx; says out '"normalized_inside":\{"scale":0.0039'; says out '^classes 4: "a", "b", "c", "d"'

# The recipe that a run leaves is one, wherever it lies: of a run that began with a model, and of one whose recipe names another run.
again() { expect 0 "$POPSHIFT" train --recipe "$1/recipe.yaml" --data . -q -o again-"$2"; cmp -s "$1/$3" "again-$2/$3" || fail "$1/recipe.yaml gives another $3"; }
again fine fine q.ir
mkdir sub
{ cat idx.yaml; echo 'init: ../named'; } >sub/ri.yaml
expect 0 "$POPSHIFT" train --recipe sub/ri.yaml --data . -q -o sub/ri
again sub/ri ri low.ir
expect 0 env -C sub "$POPSHIFT" train --recipe ri.yaml --data .. -q -o ri --resume
expect 0 "$POPSHIFT" quantize named/float.onnx --recipe idx.yaml -q -o tuned --set 'phases=[{name: tuned, epochs: 0, lr: constant(0)}]'
expect 0 "$POPSHIFT" train --recipe idx.yaml -o taught --set distill.teacher=tuned --set 'phases=[{name: float, lr: constant(0.05), epochs: 1}]'
grep -q 'E0[0-9]*:' err && fail "a teacher that is right is remarked on: $(cat err)"
expect 2 train bad --set distill.teacher=fine; says err 'fine/recipe.yaml: error E0703: a teacher is a network in float: this run keeps none'
expect 5 train bad --set distill.teacher=nowhere; says err "distill.teacher is relative to the recipe's folder"
expect 0 "$POPSHIFT" score named/low.onnx --inputs test-images --labels test-labels --engine nest -v; says out 'class   1 "b" +[0-9.]+ % \([0-9]+ of 24\)'

# What is wrong with data is told by file, and nothing is trained.
expect 2 train bad --set 'data.classes=[a, b, c]'; says err '3 names of classes, the data have 4'
expect 2 train bad --set 'data.clases=[a, b, c]'; says err "data.clases: unknown key"; says err "did you mean 'classes'"
head -c 5000 train-x.npy >cut.npy
expect 1 train bad --set 'data.train=[cut.npy, train-y.npy]'; says err '^cut.npy|/cut.npy: error E0104: NPY file is cut short'
sed '500s/,/;/' train.csv >torn.csv
expect 1 train bad --set data.train=torn.csv --set data.test=test.csv; says err 'torn.csv:500: error E0104'
sed '1d;2s/,[0-9]*/,/' train.csv >cell.csv # a first row with a cell less
expect 1 train bad --set data.train=cell.csv --set data.test=test.csv; says err 'cell.csv:1: error E0104: a cell holds no number, others do'
sed '7s/^/\n\n/;8s/^[0-9]*/1.5/' train.csv >label.csv
expect 1 train bad --set data.train=label.csv --set data.test=test.csv; says err 'label.csv:10: error E0104: label 1.5 of sample 6 is no'
sed '8s/^[0-9]*/4/' test.csv >label.csv
expect 1 train bad --set data.train=train.csv --set data.test=label.csv; says err 'label.csv:8: error E0104: label 4 of sample 6 is not one of 4'
expect 1 train bad --set data.train=train.csv --set 'data.shape=[1, 8, 9]'; says err 'samples have 64 numbers'
expect 2 train bad --set batch=8 --set shards=8; says err "idx.yaml: error E0703: a shard of one image is one number to each channel of 'bn1'"; says err 'fewer shards'
expect 0 train one --set batch=8 --set shards=8 --set net.norm=false --set 'phases=[{name: float, lr: constant(0), epochs: 0}]'
expect 5 train bad --set data.train=nothing; says err 'nothing: error E0501: cannot open folder'
mkdir -p pictures/a pictures/b; echo no >pictures/a/1.png; echo no >pictures/b/1.png
expect 1 train bad --set data.train=pictures; says err 'pictures/a/1.png: error E0104: neither a PNG nor a JPEG picture'
[ ! -e bad/checkpoint.ckpt ] || fail "something was trained on bad data"
