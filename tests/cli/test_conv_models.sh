# Quantized convolutional models against the stored ONNX Runtime vectors: at most one step; equal codes on every engine.
models=$SHARED/data/models
need "$models"
engines=all
[ "$HOSTILE" = 1 ] && engines=nest
for m in micro_kws_m_qdq micro_kws_m_static_qoperator; do
  expect 0 "$POPSHIFT" verify "$models/$m/model.onnx" --engine $engines --inputs 1
  says out '1 passed, 0 failed, 0 skipped'
  expect 0 "$POPSHIFT" verify "$models/$m/model.onnx" --engine nest,c,jit --force bitserial
done
