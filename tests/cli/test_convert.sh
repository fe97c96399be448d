# convert -o X.onnx: what is written reads back to the same bits, in every format, at every stage; refusals leave no file.
"$MKMODEL" tiny >m.onnx
for f in qdq qonnx functions; do
  expect 0 "$POPSHIFT" convert m.onnx -o out.onnx --format $f
  expect 0 "$POPSHIFT" convert m.onnx -o again.onnx --format $f
  cmp -s out.onnx again.onnx || fail "$f: other bytes the second time"
done
expect 2 "$POPSHIFT" convert m.onnx -o x.onnx --format tflite; says err 'qdq, qonnx or functions'
expect 2 "$POPSHIFT" convert m.onnx -o x.onnx --opset 12; says err 'opset'
expect 2 "$POPSHIFT" convert m.onnx -o x.ir --format qdq; says err 'for an .onnx file'
[ -e x.onnx ] && fail 'a refused file is there'

# Everything that a format cannot say is told at once, with name and operator.
cat >codes.ir <<'IR'
popshift.graph 1
graph @g(%x: i9[3]) -> (%y: u2[3], %z: i8[3]) {
  %t: i9[1,1] = const [4]
  %o: u1 = const 1
  %a: u2[3] = thresholds %x, %t, %o, %o axis=0   ; node 4 "act" (Quant)
  %b: i8[3] = requant %x, %o, %o axis=0 shift=1 lo=0 hi=9
  return %a, %b
}
IR
for f in qdq qonnx; do
  expect 3 "$POPSHIFT" convert codes.ir -o x.onnx --format $f
  says err 'node 4 "act" \(Quant\): error E0302: thresholds'
  says err '\(requant\): error E0302: requant'
  [ -e x.onnx ] && fail 'a refused file is there'
done
expect 0 "$POPSHIFT" convert codes.ir -o x.onnx

# same MODEL CONVERTED: one run on the same random input, to the byte.
same() {
  rm -rf a b
  expect 0 "$POPSHIFT" run "$1" --engine eval --input random:5 -o a
  expect 0 "$POPSHIFT" run "$2" --engine eval --input random:5 -o b
  diff -r a b >/dev/null || fail "$2: other results than $1"
}
same m.onnx out.onnx
low=$SHARED/data/lowbit
need "$low/kws/kws_w3a3.onnx"
models="$low/kws/kws_w3a3.onnx $low/tfc/TFC_1W1A.onnx $low/tfc/TFC_1W2A.onnx $low/tfc/TFC_2W2A.onnx $low/espcn/espcn_subpixel_w4a4.onnx"
[ "$HOSTILE" = 1 ] && models="$low/tfc/TFC_1W2A.onnx"
float=$SHARED/data/models
[ "$HOSTILE" = 1 ] || for m in micro_kws_m_qdq micro_kws_m_static_qoperator ort_conv_int4_weights_qdq mnist-8 burn_mnist_cnn squeezenet_fp16 selfie_segmentation; do
  models="$models $float/$m/model.onnx"
done
for m in $models; do
  for f in qdq qonnx functions; do
    expect 0 "$POPSHIFT" convert $m -o c.onnx --format $f
    same $m c.onnx
  done
done
# Every stage of the pipeline as functions, and what is converted still verifies on other engines.
for m in $low/kws/kws_w3a3.onnx $low/tfc/TFC_1W2A.onnx; do
  for p in canon recognize sink thresholds widths fuse; do
    expect 0 "$POPSHIFT" opt $m -o s.ir --stop-after=$p
    expect 0 "$POPSHIFT" convert s.ir -o c.onnx
    same s.ir c.onnx
    [ "$HOSTILE" = 1 ] && break 2
  done
done
expect 0 "$POPSHIFT" convert $low/tfc/TFC_1W2A.onnx -o c.onnx --format qonnx
expect 0 "$POPSHIFT" verify c.onnx --engine nest,c --inputs 2
