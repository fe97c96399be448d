# Shift networks from the trainer: S3, DenseShift, the staircase, DeepShift, INQ and TWN train on 8x8 images, every engine predicts what the
# trainer's frozen network predicts, weights are codes of the widths that they should have, S3's compile without a multiplication; WSVR
# and WLVR are those of the weights that runs leave; the prior pushes as it says; resumed runs have the same bits.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
. "$TESTS/toy_data.sh"

cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, mean: [0.3], std: [0.2], augment: {crop: 1, flip: true}}
batch: 32
quant:
  - {match: "*", weight: s3/3, act: uniq/4, sigma: 0.01}
phases:
  - {name: low, quant: true, lr: cosine(0.05), epochs: 2, calibrate: 2}
R
train() { local out=$1; shift; expect 0 "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 -o "$out" "$@"; }
# metric RUN EPOCH NAME: of the log
metric() { sed -n "$2p" "$1/log.jsonl" | grep -oE "\"$3\": [-+0-9.e]+" | sed 's/.*: //'; }
row() { echo "quant=[{match: \"*\", weight: $1, act: uniq/4${2:+, $2}}]"; }

# quantizer, options, type of the first layer's codes. A level more or less may be missing among few weights, and what is narrower is taken then.
while IFS=";" read -r q options types; do
  run=${q/\//_}
  train "$run" --set "$(row "$q" "$options")"
  [ "$(wc -l <"$run/low.predictions")" = 96 ] || fail "$q: not 96 predictions"
  for e in c jit eval nest; do
    [ $e = c ] || [ $e = jit ] || [ "$q" = s3/3 ] || continue
    expect 0 "$POPSHIFT" score "$run/low.onnx" --inputs test-images --labels test-labels --engine $e --predictions got
    grep -q E0307 err && continue
    cmp -s got "$run/low.predictions" || fail "$q: $e predicts other classes than the trainer"
  done
  expect 0 "$POPSHIFT" compile "$run/low.onnx" --explain -o low.c
  says out "^node [0-9]+ \"fc1[^ ]*\" i4\[1,64\] \. ($types)\["
  [ "$(grep -cE "^node [0-9]+ \"fc[1-4][^ ]*\" [iu]4.* \. (i[1-4]|shift<[3-6]>|bases<1>)\[" out)" = 4 ] || { fail "$q: not four layers of codes"; grep '^node.* \. ' out; }
  expect 0 "$POPSHIFT" compile "$run/low.onnx" --no-multiply --target rv32imc -o low.c
done <<'ROWS'
s3/2;sigma: 0.01;i2
s3/3;sigma: 0.01;shift<3>|i3
s3/4;sigma: 0.01, scale: layer;shift<4>|shift<3>
denseshift/2;sigma: 0.01;i3
denseshift/3;sigma: 0.01;shift<4>|shift<3>
staircase/3;sigma: 0.01, prior: 0.001, prior_decay: cosine;shift<3>|i3
deepshift_q/3;;shift<4>|shift<3>
deepshift_q/5;;shift<5>|shift<6>
deepshift_ps/3;;shift<3>|i3
deepshift_ps/5;;shift<5>
inq/5;;shift<5>
twn/2;;i2
ROWS
# A layer that was to be of codes and is float in the frozen network is named: INQ's before all its weights are frozen.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o warned --set "$(row inq/5)" --set phases.0.epochs=0
for l in 1 2 3 4; do says err "^--set quant: warning E0802: layer 'fc$l' is compiled with float weights: its levels are not found again"; done
awk -F '[:,]' '/"weight_bits"/ { exit !($2 > 20 && $2 < 28) }' warned/result.json || fail "not a third of the weights with 5 bits and the others with 32"
expect 0 "$POPSHIFT" train --recipe recipe.yaml -o warned --set "$(row inq/5)" --set phases.0.epochs=1
silent err E0802
# three quarters of the images are right where S3 has learned
awk 'NR % 4 == ($1 + 1) % 4 { right++ } END { exit !(right > 72) }' s3_3/low.predictions || fail "three quarters of the test images are not right"
# the integer part has no product on a machine that could multiply; floats are there in the last layer's scale alone
if command -v riscv64-unknown-elf-gcc >/dev/null; then
  for run in s3_2 s3_3 s3_4; do
    expect 0 "$POPSHIFT" compile $run/low.onnx --no-multiply --target rv32imc -o low.c
    riscv64-unknown-elf-gcc -march=rv32im -mabi=ilp32 -O2 -ffreestanding -c low.c -o low.o || fail "cc $run"
    riscv64-unknown-elf-objdump -d --no-show-raw-insn low.o >dis
    grep -q '>:$' dis || fail "nothing was disassembled"
    silent dis '[[:space:]](mulh?s?u?|divu?|remu?)[[:space:]]'
  done
fi

# Weights of one epoch and of two, from the text of the networks: shares of zeros and of signs that turned.
signs() { # RUN: -, 0 or + of each weight of fc1, a line each
  awk '/%[0-9]+: f32\[64,16\] = const \$/ { sub(/.*\$/, ""); want = $1 } /^data \$/ { sub(/:$/, "", $2); on = $2 == "$" want; next }
    on { gsub(/[" ]/, ""); for (i = 1; i < length($0); i += 8) { w = substr($0, i, 8); print w ~ /^000000[08]0$/ ? 0 : substr(w, 7, 1) ~ /[89a-f]/ ? "-" : "+" } }' "$1/low.ir"
}
for epochs in 1 2; do train "e$epochs" --set sign_epochs=1 --set phases.0.epochs=$epochs --set "phases.0.lr=constant(0.05)"; signs e$epochs >signs$epochs; done
[ "$(wc -l <signs1)" = 1024 ] || fail "fc1 has not 1024 weights"
paste signs1 signs2 | awk '{ flips += $1 != $2 && $1 != 0 && $2 != 0; changes += $1 != $2; zeros += $2 == 0 }
  END { printf "%.6f %.6f %.6f\n", 100 * flips / NR, 100 * changes / NR, 100 * zeros / NR }' >want
echo "$(metric e2 2 wsvr.fc1) $(metric e2 2 wsvr0.fc1) $(metric e2 2 wlvr.fc1)" | awk '{ printf "%.6f %.6f %.6f\n", $1, $2, $3 }' >got
cmp -s want got || { fail "WSVR and WLVR are not those of the weights"; cat want got; }
awk '{ exit !($1 > 0 && $2 > $1 && $3 > 0) }' want || fail "no sign turned: nothing was tested"
[ "$(metric e2 2 bits.all)" = 3.0 ] || fail "bits.all is $(metric e2 2 bits.all)"
# every second epoch alone has a snapshot; in float all layers count
train float --set sign_epochs=2 --set 'phases=[{name: low, lr: constant(0.05), epochs: 3}]'
[ "$(metric float 1 wsvr.all)$(metric float 3 wsvr.all)" = "" ] || fail "WSVR without a snapshot"
awk -v v="$(metric float 2 wsvr.all)" -v w="$(metric float 2 wsvr.fc1)" -v l="$(metric float 2 wlvr.fc1)" 'BEGIN { exit !(v > 0 && w > 0 && l > 1 && l < 20) }' || fail "WSVR, WLVR of floats"
[ "$(metric float 1 bits.all)" = 32.0 ] || fail "bits.all of a float network is $(metric float 1 bits.all)"
# only codes of fewer than 8 bits count in FAMILY.all
train mixed --set 'quant=[{match: first, weight: uniq/8}, {match: "*", weight: s3/2, sigma: 0.01}]'
[ "$(metric mixed 1 bits.all) $(metric mixed 1 bits.fc1)" = "2.0 8.0" ] || fail "bits.all is $(metric mixed 1 bits.all)"

# The prior alone (a rate so small that crossings are few): what it took from sum max(-w_sparse, 0) of fc1 in two of four steps.
prior() { # NAME OPTIONS
  train "$1" --set data.samples=64 --set "quant=[{match: '*', weight: s3/2, latents: plain, sigma: 1, $2}]" --set 'phases.0.lr=step(0.001, 0.000001, 1)' --set phases.0.momentum=0
  metric "$1" 2 rsparse.fc1
}
none=$(prior p0 'prior: 0') constant=$(prior p1 'prior: 1') linear=$(prior p2 'prior: 1, prior_decay: linear') cosine=$(prior p3 'prior: 1, prior_decay: cosine')
awk -v n="$none" -v c="$constant" -v l="$linear" -v s="$cosine" -v zeros="$(metric p0 2 wlvr.fc1)" 'BEGIN {
  unit = 0.001 * zeros / 100 * 1024
  exit !(ok((n - c) / unit, 2) && ok((n - l) / unit, 1.75) && ok((n - s) / unit, 1.853553)) }
  function ok(x, y) { return x > y * 0.99 && x < y * 1.01 }' || fail "prior: $none without, $constant constant, $linear linear, $cosine cosine"

# Stopped and resumed in phases of S3 and of INQ, whose frozen weights and signs are part of the checkpoint.
cat >phases.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039, mean: [0.3], std: [0.2]}
batch: 32
sign_epochs: 2
phases:
  - {name: s3, quant: [{match: "*", weight: s3/3, act: uniq/4, prior: 0.01, prior_decay: cosine, sigma: 0.01}], lr: cosine(0.05), weight_decay: 1e-4, epochs: 4}
  - {name: ps, quant: [{match: "*", weight: deepshift_ps/3}], optimizer: adam, lr: constant(0.01), epochs: 4}
  - {name: inq, quant: [{match: "*", weight: inq/5, act: uniq/4}], lr: "step(0.02, 0.2, 1, 2)", weight_decay: 1e-3, epochs: 4}
R
again() { "$POPSHIFT" train --recipe phases.yaml -q --save-every 0 --threads "$2" -o "$1" "${@:3}"; }
start=$(date +%s%N)
expect 0 again one 1
ms=$((($(date +%s%N) - start) / 1000000)) stopped=0
[ "$(metric one 9 frozen.fc1) $(metric one 12 frozen.fc1)" = "29.9804688 100.0" ] || # 307 of 1024
  fail "INQ: $(metric one 9 frozen.fc1) % and at last $(metric one 12 frozen.fc1) % are frozen"
for part in 200 350 500 620 700 800 880 940; do
  rc=0
  { timeout --foreground --preserve-status -s KILL "$(awk -v ms="$ms" -v p=$part 'BEGIN { print ms * p / 1000000 }')" \
    "$POPSHIFT" train --recipe phases.yaml -q --save-every 0 --threads 2 -o k$part >out 2>err || rc=$?; } 2>shell
  [ $rc = 0 ] || stopped=$((stopped + 1))
  if [ -e k$part/checkpoint.ckpt ]; then expect 0 again k$part 1 --resume; else expect 0 again k$part 1; fi
  for f in s3 ps inq; do cmp -s one/$f.ir k$part/$f.ir || fail "stopped after $part/1000 and resumed, $f differs"; done
  diff <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' one/log.jsonl) <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' k$part/log.jsonl) >/dev/null ||
    fail "stopped after $part/1000 and resumed, the log differs"
done
[ $stopped -gt 3 ] || fail "only $stopped runs were stopped before their end"

# refused with what is meant
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set 'quant=[{match: "*", weight: s3/5}]'; says err 's3 has 2 .. 4 bits'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set 'quant=[{match: "*", weight: s3/3, latents: sparse}]'; says err 'must be dense, plain or kept'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set 'quant=[{match: "*", weight: twn/2, sigma: 1}]'; says err 'sigma: an option of alq, s3, .*not of this row'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set sign_epochs=0; says err 'sign_epochs'
