# A trained network in ONNX Runtime: the predictions of the exported files are the trainer's own of exact integers. Needs a Python with
# onnx and onnxruntime (POPSHIFT_PYTHON names it; with qonnx, that dialect too) and Debian's dataset-fashion-mnist.
data=/usr/share/datasets/fashion-mnist
python=${POPSHIFT_PYTHON:-python3}
[ "$HOSTILE" = 1 ] && skip "minutes under sanitizers"
"$POPSHIFT" list nets >out 2>err || skip "the trainer is not built in"
need "$data/train-images-idx3-ubyte.gz"
"$python" -c 'import numpy, onnx, onnxruntime' 2>err || skip "$python has no numpy, onnx and onnxruntime (POPSHIFT_PYTHON names another)"

recipe=$TESTS/../trainer/recipes/lenet5-fashion.yaml
expect 0 "$POPSHIFT" train --recipe "$recipe" --data $data -q -o run --set data.samples=6400 --set phases.0.epochs=1 --set phases.1.epochs=1
[ "$(wc -l <run/w2a2.predictions)" = 10000 ] || fail "the run has no predictions of the 10000 test images"
for format in qdq functions qonnx; do expect 0 "$POPSHIFT" convert run/w2a2.onnx --dim N=500 -o $format.onnx --format $format; done
ort() { "$python" "$TESTS/cli/train_ort.py" $data/t10k-images-idx3-ubyte.gz run/w2a2.predictions 10000 "$@"; }
expect 0 ort run/w2a2.onnx qdq.onnx functions.onnx qonnx.onnx; cat out
# The comparison can fail: of other predictions it says so.
sed -i '1s/.*/7/;2s/.*/7/;3s/.*/7/' run/w2a2.predictions
expect 1 ort qdq.onnx; says out 'NO REASON'
