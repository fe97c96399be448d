# Float classifiers of others, for one image each, quantized after training with eight bits on MNIST: accuracy stays, and the compiled file
# predicts what the trainer says.
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
[ "$HOSTILE" = 1 ] && skip "minutes under sanitizers"
data=$SHARED/data/mnist
need "$data/t10k-images-idx3-ubyte.gz"
cat >recipe.yaml <<'R'
popshift: recipe/1
net: {builtin: lenet5}
data:
  train: [t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz]   # steps are measured on them, nothing is trained
  test: [t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz]
  scale: 0.00392156862745098
quant: [{match: "*", weight: uniq/8, act: uniq/8}]
phases:
  - {name: float, lr: constant(0), epochs: 0}
  - {name: w8a8, quant: true, lr: constant(0), epochs: 0, calibrate: 2}
R
# model NAME LEAST FLAGS...
model() {
  local file=$SHARED/data/models/$1/model.onnx
  [ -e "$file" ] || { echo "$1 is not here"; return; }
  expect 0 "$POPSHIFT" quantize "$file" --recipe recipe.yaml --data "$data" -o "$1" "${@:3}"
  awk -v least="$2" '/^w8a8/ { exit !($4 >= least) }' out || fail "$1: below $2 %: $(cat out)"
  awk '/^float/ { f = $4 } /^w8a8/ { q = $4 } END { exit !(f - q <= 0.3) }' out || fail "$1: eight bits lose too much: $(cat out)"
  expect 0 "$POPSHIFT" score "$1/w8a8.onnx" --inputs "$data/t10k-images-idx3-ubyte.gz" --labels "$data/t10k-labels-idx1-ubyte.gz" --engine c --predictions "$1.p"
  cmp -s "$1.p" "$1/w8a8.predictions" || fail "$1: the compiled network predicts other classes than the trainer"
}
model mnist-8 98.5
model burn_mnist_cnn 98.5 --set 'data.mean=[0.1307]' --set 'data.std=[0.3081]'

# Nodes and weights have names of their own: a layer that stays float is named by its weights, as rows name it.
file=$SHARED/data/models/mnist-8/model.onnx
if [ -e "$file" ]; then
  expect 0 "$POPSHIFT" quantize "$file" --recipe recipe.yaml --data "$data" -o float --set 'quant=[{match: "Parameter*", weight: alq/6, act: alq/2, groups: kernel}]'
  says err "E0802.*layer 'Parameter87' is compiled with float weights"
fi
