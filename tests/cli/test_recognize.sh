# --explain says what was recognised per contraction, and why one stays float; quantizers written as functions come back as such.
cp "$TESTS"/passes/recognize/*.ir .
expect 0 "$POPSHIFT" compile sign_larq.ir --explain -o m.c
says out 'codes: bases<1>, scale 1 . i2 constants -1\.\.1 -> i32, scale 1$'
expect 0 "$POPSHIFT" compile w_float.ir --explain -o m.c
says out 'float: operand 1 is float: weights take 8 magnitudes that are no multiples of one scale$'
expect 0 "$POPSHIFT" compile keras_fakequant.ir --explain -o m.c
says out '15 planes of 8 signs in 5 groups' # activations stay float: TensorFlow rounds twice
expect 0 "$POPSHIFT" compile w_perchannel.ir --explain -o m.c
says out 'codes: i4 -8\.\.7, scale 0\.1[0-9]* \. i4 constants -7\.\.7 -> i32, 5 scales in '
# Written with standard operators in functions, read again: the same codes.
for name in sign_larq where_pm div_round_clip_mul zero_point_torch floor_half residual_pow2 two_layers; do
  expect 0 "$POPSHIFT" convert $name.ir --format functions -o f.onnx
  expect 0 "$POPSHIFT" compile f.onnx --explain -o m.c
  says out 'codes: '
  silent out ': float: '
  expect 0 "$POPSHIFT" opt $name.ir --stop-after recognize -o r.ir
  expect 0 "$POPSHIFT" convert r.ir --format functions -o f.onnx
  expect 0 "$POPSHIFT" compile f.onnx --explain -o m.c
  says out 'codes: '
  silent out ': float: '
  expect 0 "$POPSHIFT" verify f.onnx --engine nest --inputs 3
done
# A model's claim about a constant is checked; other data types are not integers' affair.
"$MKMODEL" annotated BIPOLAR >a.onnx
expect 0 "$POPSHIFT" inspect a.onnx
says err 'annotated BIPOLAR, but holds 0\.5'
"$MKMODEL" annotated 'FLOAT32' >a.onnx
expect 0 "$POPSHIFT" inspect a.onnx
silent err annotated
# Every spelling in C, with the comment in front; conv_bits is a depthwise convolution that GCC 12 made wrong code of.
for f in *.ir; do expect 0 "$POPSHIFT" verify "$f" --engine c,nest --inputs 2; done
