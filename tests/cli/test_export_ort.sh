# What convert writes, looked at by onnx's checker and run by ONNX Runtime: integers equal, floats within a tolerance.
# POPSHIFT_PYTHON names an interpreter with onnx and onnxruntime.
python=${POPSHIFT_PYTHON:-python3}
"$python" -c 'import onnx, onnxruntime' 2>/dev/null || skip "$python has no onnx and onnxruntime (POPSHIFT_PYTHON names another)"
cat >ort.py <<'PY'
# ort.py RTOL MODEL.onnx DIR: the checker; the runtime on in.npy against DIR/output_*.npy.
import glob, sys
import numpy as np, onnx, onnxruntime as ort
rtol, path, want = float(sys.argv[1]), sys.argv[2], sys.argv[3]
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
o = ort.SessionOptions()
o.log_severity_level = 3
s = ort.InferenceSession(path, o, providers=['CPUExecutionProvider'])
rng = np.random.default_rng(3)
if want == 'inputs':
    for i, v in enumerate(s.get_inputs()):
        shape = [d if isinstance(d, int) else 1 for d in v.shape]
        a = rng.integers(0, 3, shape) if 'int' in v.type else rng.uniform(-1, 1, shape)
        kinds = {'tensor(float)': 'float32', 'tensor(double)': 'float64', 'tensor(float16)': 'float16'}
        np.save('in.npy', a.astype(kinds.get(v.type, v.type[7:-1])))
    sys.exit(0)
got = s.run(None, {s.get_inputs()[0].name: np.load('in.npy')})
files = sorted(glob.glob(want + '/output_*.npy'), key=lambda f: (len(f), f))
ref = [np.load(f) for f in files]
assert len(ref) == len(got)
for a, b in zip(got, ref):
    assert a.shape == b.shape, (a.shape, b.shape)
    if a.dtype.kind in 'iub' or rtol == 0:
        assert np.array_equal(a, b), '%d of %d differ' % ((a != b).sum(), a.size)
    else:
        d = np.abs(a.astype(float) - b.astype(float)) / (np.abs(b.astype(float)) + np.abs(b.astype(float)).max() * 1e-2 + 1e-30)
        assert d.max() <= rtol, 'relative difference %g' % d.max()
PY
# ort RTOL MODEL FORMAT: RTOL 0 asks for the same bits.
ort() {
  expect 0 "$POPSHIFT" convert "$2" -o c.onnx --format $3
  expect 0 "$python" ort.py 0 c.onnx inputs
  rm -rf ref
  expect 0 "$POPSHIFT" run "$2" --engine eval --input in.npy -o ref
  expect 0 "$python" ort.py $1 c.onnx ref
}
# One node of everything that has no ONNX operator of its own.
cat >codes.ir <<'IR'
popshift.graph 1
graph @g(%x: i8[2,3,70]) -> (%a: u2[2,3,70], %b: i8[2,3,70], %c: i32[2,3,3], %d: i9[2,3,70], %e: i8[2,3,70], %f: f32[2,3,70]) {
  %t: i9[3,3] = const [-3, 0, 4, 7, 2, 1, -200, 1, 2]
  %o: u1 = const 1
  %m: i8[3] = const [-3, 5, 7]
  %s: f32 = const 0.3
  %h: f32 = const 1.5
  %sd: f64 = const 0.7
  %three: u3 = const 3
  %0: u2[2,3,70] = thresholds %x, %t, %o, %o axis=1
  %1: i8[2,3,70] = requant %x, %m, %m axis=1 shift=2 lo=-9 hi=9
  %2: u64[2,3,8,2] = pack %x axis=2
  %3: i32[2,3,3] = contract xor %2, %2 [n a b | p:8 k:2](n, a, p, k)(n, b, p, k)
  %4: f32[2,3,70] = dequant %x, %s
  %5: u3[2,3,70] = quant %4, %h, %h round=half_up lo=0 hi=5
  %6: i9[2,3,70] = map mul %5, %x
  %7: i8[2,3,70] = map shr %x, %three
  %8: f32[2,3,70] = dequant %6, %sd
  return %0, %1, %3, %6, %7, %8
}
IR
ort 0 codes.ir functions
low=$SHARED/data/lowbit
need "$low/kws/kws_w3a3.onnx"
for m in $low/tfc/TFC_1W1A.onnx $low/tfc/TFC_1W2A.onnx $low/tfc/TFC_2W2A.onnx $low/kws/kws_w3a3.onnx; do
  ort 1e-5 $m functions
  ort 1e-5 $m qdq
  # From recognize on only the last scaling is in float: no bit differs.
  for p in recognize thresholds fuse; do
    expect 0 "$POPSHIFT" opt $m -o s.ir --stop-after=$p
    ort 0 s.ir functions
  done
done
models=$SHARED/data/models
for m in micro_kws_m_qdq micro_kws_m_static_qoperator ort_conv_int4_weights_qdq ort_conv_qdq_s8s8_perchannel; do ort 0 $models/$m/model.onnx qdq; done
for m in mnist-8 burn_mnist_cnn mobilenet_v2_035_128 espcn_float winml_iris_network selfie_segmentation; do ort 1e-4 $models/$m/model.onnx functions; done
