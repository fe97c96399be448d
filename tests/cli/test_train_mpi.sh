# The same bits from 1, 2 and 4 ranks on one host, from shards that are subtrees of the sum (8) and that are not (12), evaluation and
# resuming included. Data: random images of 8x8, made here.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
command -v mpirun >/dev/null || skip "no mpirun (Debian: openmpi-bin)"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ranks() { local n=$1; shift; mpirun --bind-to none --oversubscribe -np "$n" "$@"; }
ranks 1 true >out 2>err || skip "mpirun does not work here: $(tail -1 err)"

head -c 65536 /dev/zero | LC_ALL=C awk -v RS='\0' 'BEGIN { seed = 7; for (i = 0; i < 300 * 64; i++) { seed = (seed * 1103 + 12345) % 65536; printf "%c", 1 + int(seed / 520) } }' >pixels
[ "$(stat -c %s pixels)" = 19200 ] || fail "the data are not as long as they should be"
{ printf '\0\0\10\3\0\0\1\44\0\0\0\10\0\0\0\10'; head -c $((292 * 64)) pixels; } >images
{ printf '\0\0\10\1\0\0\1\44'; for i in $(seq 292); do printf "\\$((i % 4))"; done; } >labels
cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: mlp, hidden: 16, classes: 4}
data: {train: [images, labels], test: [images, labels], scale: 0.0078}
batch: 48
shards: 8
quant:
  - {match: "*", weight: uniq/2, act: uniq/2}
phases:
  - {name: float, lr: constant(0.05), epochs: 1}
  - {name: low, quant: true, optimizer: adam, lr: constant(0.002), epochs: 2, calibrate: 2, statistics: 2}
R
train() { "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 "$@"; }
many() { local n=$1; shift; ranks "$n" "$POPSHIFT" train --recipe recipe.yaml -q --threads 1 "$@"; }
same() {
  for f in float.ir float.onnx low.ir low.onnx low.predictions; do cmp -s "$1/$f" "$2/$f" || fail "$2/$f differs from that of one rank"; done
  diff <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' "$1/log.jsonl") <(sed -E 's/"(images_per_second|seconds)": [^,}]*//g' "$2/log.jsonl") >/dev/null ||
    fail "$2/log.jsonl has other rows than that of one rank"
}

# A sweep is refused, told once, whether MPI is built in or not.
rc=0
many 2 -o swept --set seed=1,2 >out 2>err || rc=$?
[ $rc = 3 ] || fail "a sweep of two ranks: exit $rc"
[ "$(grep -c E0307 err)" = 1 ] || { fail "not one message"; cat err; }
says err 'a sweep .* is not shared out among ranks'
[ ! -e swept ] || fail "a refused sweep left a folder"

expect 0 train -o one
rc=0
many 2 -o two >out 2>err || rc=$?
if grep -q "MPI is not built in" err; then [ $rc != 0 ] || fail "refused, and yet exit 0"; [ $failures = 0 ] || return 0; skip "MPI is not built in (-DPOPSHIFT_MPI=ON)"; fi
[ $rc = 0 ] || { fail "two ranks: exit $rc"; cat err; }
same one two
expect 0 many 4 -o four --json
[ "$(grep -c popshift.train/1 out)" = 1 ] || fail "not one rank alone writes the result"
same one four

expect 0 train -o one12 --set shards=12
expect 0 many 2 -o two12 --set shards=12
expect 0 many 4 -o four12 --set shards=12
same one12 two12
same one12 four12

# Stopped in the middle by a signal to the last rank alone, resumed by another number of ranks.
long=(--set phases.1.epochs=60 --save-every 0)
expect 0 train -o long "${long[@]}"
many 2 -o stopped "${long[@]}" >out 2>err &
job=$! rank=
for _ in $(seq 400); do
  [ -e stopped/float.onnx ] && rank=$(pgrep -P "$(pgrep -P $job mpirun | head -1)" popshift | tail -1) && break
  sleep 0.02
done
[ -n "$rank" ] && kill -INT "$rank"
rc=0
wait $job || rc=$?
[ $rc = 130 ] && says err E0602 || fail "one rank's signal did not stop both: exit $rc"
expect 0 many 4 -o stopped --resume "${long[@]}"
same long stopped

rc=0
many 4 -o odd --set shards=6 >out 2>err || rc=$?
[ $rc != 0 ] || fail "six shards were shared out among four ranks"
says err "6 shards cannot be shared out evenly among 4 ranks"
