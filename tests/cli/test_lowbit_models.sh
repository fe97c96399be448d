# Models that somebody else trained, on every engine: accuracy and equal predictions.
low=$SHARED/data/lowbit
need "$low/kws/kws_w3a3.onnx"
n=1000 k=100; [ "$HOSTILE" = 1 ] && n=40 k=10
kws() { "$POPSHIFT" score $low/kws/kws_w3a3.onnx --inputs $low/kws/inputs_1000.npy --labels $low/kws/labels_1000.csv:3 "$@"; }
for e in eval nest c jit; do
  expect 0 kws --engine $e --samples $n --predictions $e.txt
  [ $n = 1000 ] && says out 'top1: 82\.50 % \(825 of 1000\)'
  cmp -s eval.txt $e.txt || fail "kws: $e predicts other classes than eval"
done
expect 0 kws --engine hls --samples $k --predictions hls.txt
cmp -s <(head -$k eval.txt) hls.txt || fail "kws: hls predicts other classes than eval"
# Forced bit-serial: the same predictions.
expect 0 kws --engine c --force bitserial --samples $n --predictions serial.txt
cmp -s eval.txt serial.txt || fail "kws: bit-serial predicts other classes than eval"

mnist=$SHARED/data/mnist
m=10000; [ "$HOSTILE" = 1 ] && m=100
for net in 1W1A:92.96 1W2A:94.74 2W2A:96.60; do
  name=TFC_${net%%:*}
  for e in eval nest c jit; do
    expect 0 "$POPSHIFT" score $low/tfc/$name.onnx --inputs $mnist/t10k-images-idx3-ubyte.gz --labels $mnist/t10k-labels-idx1-ubyte.gz \
      --scale 0.00392156862745098 --engine $e --samples $m --predictions $name.$e.txt
    cmp -s $name.eval.txt $name.$e.txt || fail "$name: $e predicts other classes than eval"
    [ $e = eval ] && [ $m = 10000 ] && { cat out; awk -v want=${net##*:} '/top1/ { d = $2 - want; exit !(d < 0.33 && d > -0.33) }' out || fail "$name: not $want within its tied scores"; }
  done
  [ "$HOSTILE" = 1 ] && [ $name != TFC_1W2A ] && continue # HLS projects are compiled without sanitizers
  expect 0 "$POPSHIFT" score $low/tfc/$name.onnx --inputs $mnist/t10k-images-idx3-ubyte.gz --labels $mnist/t10k-labels-idx1-ubyte.gz \
    --scale 0.00392156862745098 --engine hls --samples 100 --predictions $name.hls.txt
  cmp -s <(head -100 $name.eval.txt) $name.hls.txt || fail "$name: hls predicts other classes than eval"
  expect 0 "$POPSHIFT" verify $low/tfc/$name.onnx --engine all --inputs 3
done
