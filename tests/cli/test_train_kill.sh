# kill -9 at random moments (tests/bench/kill9.sh does a hundred), and of a sweep, which goes on with the runs that have no end.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
kills=12
[ "$HOSTILE" = 1 ] && kills=3
POPSHIFT=$POPSHIFT bash "$TESTS/bench/kill9.sh" --kills $kills --seed 7 >out 2>&1 || { fail "kill9"; cat out; }
says out "^$kills kills over .* all ended with the undisturbed run's bytes"

. "$TESTS/toy_data.sh"
cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 8, classes: 4}
data: {train: [train-images, train-labels], test: [test-images, test-labels], scale: 0.0039}
batch: 32
quant: [{match: "*", weight: uniq/2, act: uniq/4}]
phases:
  - {name: float, lr: constant(0.05), epochs: 1}
  - {name: low, quant: true, lr: constant(0.01), epochs: 1, calibrate: 2}
R
sweep() { local out=$1; shift; "$POPSHIFT" train --recipe recipe.yaml --save-every 0 --threads 1 -o "$out" --set seed=1,2,3 --set 'phases.0.lr=constant(0.05),cosine(0.1, 0.01)' --set batch=32 "$@"; }
start=$(date +%s%N)
expect 0 sweep whole
ms=$((($(date +%s%N) - start) / 1000000))
says err 'run 6 of 6: seed=3,phases.0.lr=cosine\(0.1_0.01\)'
[ "$(ls -d whole/seed=* | wc -l)" = 6 ] || fail "not 6 folders"
[ "$(grep -c '"state": "finished"' whole/sweep.json)" = 6 ] || fail "not 6 finished runs"
# Stopped three times, each time resumed; those that had ended are left as they are.
for part in 30 50 60; do
  resume=; [ -e part/sweep.json ] && resume=--resume
  { timeout --foreground --preserve-status -s KILL "$(awk -v ms=$ms -v p=$part 'BEGIN { print ms * p / 100000 }')" \
      "$POPSHIFT" train --recipe recipe.yaml --save-every 0 --threads 1 -o part --set seed=1,2,3 --set 'phases.0.lr=constant(0.05),cosine(0.1, 0.01)' --set batch=32 $resume >out 2>err || true; } 2>shell
done
first=part/seed=1,phases.0.lr=constant\(0.05\)
before=$([ -e $first/low.onnx ] && grep -q finished $first/result.json && stat -c %y $first/low.onnx)
expect 0 sweep part --resume
[ -z "$before" ] || [ "$before" = "$(stat -c %y $first/low.onnx)" ] || fail "a finished run was run again"
for d in whole/seed=*; do for f in float.onnx low.onnx low.predictions; do cmp -s "$d/$f" "part/${d#whole/}/$f" || fail "${d#whole/}/$f differs after kills"; done; done
expect 2 sweep part --resume --set data.samples=500,600; says err 'another sweep'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set seed=1,2 --set phases.0.epoch=1,2; says err "phases.0.epoch: unknown key"; says err "did you mean 'epochs'"
[ ! -e no ] || fail "a sweep with a typo made a folder"
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set seed=1,1; says err 'seed=1 is there twice'
expect 2 "$POPSHIFT" train --recipe recipe.yaml -o no --set seed=1,2 --set seed=3; says err 'seed is there twice'
# A run that diverges ends, the others go on.
expect 0 "$POPSHIFT" train --recipe recipe.yaml -q -o far --set 'phases.0.lr=constant(1e6),constant(0.05)'
says far/sweep.json '"state": "diverged"'; says far/sweep.json '"state": "finished"'

# The report: runs that differ in the seed alone are one row.
expect 0 "$POPSHIFT" report whole
says out '^whole/seed=\*,phases.0.lr=constant\(0.05\) +float +3 +[0-9.]+( ± [0-9.]+)? +32.00 +[0-9]+ .*finished$'
says out '^ +low +3 .* 2.00 '
[ "$(wc -l <out)" = 5 ] || fail "not a title and 4 rows"
expect 0 "$POPSHIFT" report whole --json; says out '"schema": "popshift.runs/1"'
# By hand: the mean and the sample deviation over the three seeds.
want=$(grep -h '"test_accuracy"' whole/seed=*,phases.0.lr=constant*/result.json | awk -F '[:,]' 'NR % 2 == 1 { s += $2; q += $2 * $2; n++ } END { printf "%.4f %.4f", s / n, sqrt((q - s * s / n) / (n - 1)) }')
got=$(awk -F '[:,]' '/"test_accuracy"/ && !m { getline; m = $2; getline; getline; printf "%.4f %.4f", m, $2; exit }' out)
[ "$want" = "$got" ] || fail "mean and deviation: $got, by hand $want"
expect 0 "$POPSHIFT" report "$first" far --markdown; says out '^\| run \| phase \| runs'; says out 'diverged'
# Runs that began with runs of their own seeds differ in the seed alone, too; one that has not come to the end of a phase is running.
mkdir after going
for s in 1 2; do
  expect 0 "$POPSHIFT" train --recipe recipe.yaml -q -o after/seed=$s --init "whole/seed=$s,phases.0.lr=constant(0.05)" --set seed=$s --set 'phases=[{name: low, quant: true, lr: constant(0), epochs: 0}]'
done
sed "s/^batch: .*/batch: 48/" after/seed=1/recipe.yaml >going/recipe.yaml
expect 0 "$POPSHIFT" report after/* going; says out '^after/seed=\* +low +2 '; says out '^going +0 +running$'
expect 0 "$POPSHIFT" report after/*; cp out each
mkdir -p within/it && cp -r after/* within/it && expect 0 "$POPSHIFT" report within; cmp -s <(sed 's|after/|within/it/|' each | tr -s ' ') <(tr -s ' ' <out) || fail "runs in folders of a folder: $(cat out)"
mkdir empty && expect 5 "$POPSHIFT" report empty; says err 'empty/result.json'
expect 0 "$POPSHIFT" report whole -o page.html
for what in '<h2>test accuracy, %' '<h2>learning rate' 'whole/seed=\*,phases'; do grep -q "$what" page.html || fail "the page lacks $what"; done
expect 5 "$POPSHIFT" report nothing; says err 'nothing/result.json'
mkdir torn; echo '{"schema": "popshift.train/1"' >torn/result.json
expect 1 "$POPSHIFT" report torn; says err 'torn/result.json:.*E0103'
echo '{"schema": "popshift.train/2"}' >torn/result.json
expect 1 "$POPSHIFT" report torn; says err 'its schema is not'
echo '{"schema": "popshift.sweep/1", "runs": [{"folder": "../whole"}]}' >torn/sweep.json
expect 1 "$POPSHIFT" report torn; says err "no folder's name"
