# LeNet5 with ALQ's groups, 0.4 bits per weight: equal on every engine, and the weights take what their signs, alphas and counts take.
command -v size >/dev/null || skip "no size of binutils"
biases=$((4 * 580))
within() { # FILE: read-only data less the biases, against 1.05 times the three
  size -A "$1" | awk -v b=$biases -v s="$(cat sizes)" '/^\.rodata/ { sum += $2 }
    END { split(s, v, " "); want = v[2] + v[4] + v[6]; printf "%d bytes of weights, %d of signs, alphas and counts\n", sum - b, want; exit !(sum > b && sum - b <= 1.05 * want) }' ||
    fail "$1: more than 1.05 times"
}
for act in 0 2 8; do
  [ "$HOSTILE" = 1 ] && [ $act != 2 ] && continue
  "$MKMODEL" alq $act >alq.onnx 2>sizes || fail "mkmodel alq $act"
  engines=nest,c,jit
  [ $act = 2 ] && engines=all
  [ "$HOSTILE" = 1 ] && engines=nest
  expect 0 "$POPSHIFT" verify alq.onnx --engine $engines --inputs 1
  says out '1 passed, 0 failed, 0 skipped'
  [ "$HOSTILE" = 1 ] && continue
  expect 0 "$POPSHIFT" verify alq.onnx --engine nest,c,jit --inputs 1 --force bitserial
  for target in x86-64-v4 x86-64-v3; do # planes and positions in lanes
    expect 0 "$POPSHIFT" verify alq.onnx --engine nest,c,jit --inputs 1 --target $target --rtol 0 --atol 0
  done
  expect 0 "$POPSHIFT" compile alq.onnx -o alq.c
  expect 0 "${CC:-cc}" -O2 -c alq.c -o alq_c.o
  within alq_c.o
  expect 0 "$POPSHIFT" compile alq.onnx -o alq.o
  within alq.o
  expect 0 "$POPSHIFT" inspect alq.onnx
  says out '^fc1 .* 1 +[28] +400000 '
  expect 0 "$POPSHIFT" compile alq.onnx --explain -o alq.c
  for layer in conv1 conv2 fc1 fc2; do grep -E "\"$layer\" .* planes of .* groups" out err >/dev/null || fail "$layer was not recognized with $act-bit activations"; done
done
