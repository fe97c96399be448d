# Quantized convolutional models against the stored ONNX Runtime vectors: at most one step; equal codes on every engine.
models=$SHARED/data/models
need "$models"
for m in micro_kws_m_qdq micro_kws_m_static_qoperator; do
  expect 0 "$POPSHIFT" verify "$models/$m/model.onnx" --engine all --inputs 2
  says out '1 passed, 0 failed, 0 skipped'
  expect 0 "$POPSHIFT" verify "$models/$m/model.onnx" --engine all --force bitserial --inputs 1
done
