"""Predictions of ONNX files by ONNX Runtime beside the trainer's: train_ort.py IMAGES.gz PREDICTIONS SAMPLES MODEL...

The trainer's predictions are of exact integers, with thresholds in binary64; ONNX Runtime computes in float32. So they may differ
where a value lies within float rounding of the middle between two codes (a code flips, and with it what follows), or where the two
greatest logits tie. Every image that differs must have one of the two, and is printed. Nothing else is forgiven.
"""
import gzip
import sys

import numpy
import onnx
import onnxruntime

TIE = 1e-5       # of the greatest logit's size
BOUNDARY = 4e-6  # of a code's size, at least 1: about 32 units in the last place of float32


def session(model, optimize):
    o = onnxruntime.SessionOptions()
    o.log_severity_level = 3
    if not optimize:
        o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), o, providers=["CPUExecutionProvider"])


def logits(s, images):
    name, batch = s.get_inputs()[0].name, s.get_inputs()[0].shape[0]
    step = batch if isinstance(batch, int) else 500
    return numpy.concatenate([s.run([s.get_outputs()[0].name], {name: images[i:i + step]})[0] for i in range(0, len(images), step)])


def top_code(graph, name, constants):
    """The greatest code that is left of a quantizer's output, after the clips behind it."""
    top = 255
    while True:
        users = [n for n in graph.node if name in n.input]
        if len(users) != 1 or users[0].op_type not in ("Clip", "Max", "Min"):
            return top
        if users[0].op_type != "Max":
            top = min(top, int(constants[users[0].input[-1]]))
        name = users[0].output[0]


def with_quantizer_inputs(model):
    """The model with what every QuantizeLinear reads as further outputs; (name, scale, greatest code) of each."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer}
    found = [(n.input[0], constants[n.input[1]], top_code(m.graph, n.output[0], constants)) for n in m.graph.node if n.op_type == "QuantizeLinear"]
    for name in sorted({f[0] for f in found}):
        m.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return m, found


def nearest_boundary(s, found, image):
    """How near the nearest value of this image is to the middle between two codes, in parts of the code's size; and where."""
    port = s.get_inputs()[0]
    values = s.run([f[0] for f in found], {port.name: numpy.repeat(image, port.shape[0] if isinstance(port.shape[0], int) else 1, 0)})
    best = (numpy.inf, "")
    for (name, scale, top), v in zip(found, values):
        code = v[0].astype(numpy.float64) / scale.astype(numpy.float64)
        far = numpy.abs(code - numpy.floor(code) - 0.5) / numpy.maximum(numpy.abs(code), 1)
        far = far[(code > 0) & (code < top)]
        best = min(best, (float(far.min()) if far.size else numpy.inf, name))
    return best


def by_qonnx(path, images, want):
    """A file with QONNX's quantizers, by QONNX's own executor (slow: 500 images); 1 where it differs on more than one of them."""
    try:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes
    except ImportError:
        print("%s: skipped, there is no qonnx" % path)
        return 0
    model = ModelWrapper(path).transform(InferShapes())
    batch = model.get_tensor_shape("image")[0]
    differ = (execute_onnx(model, {"image": images[:batch]})["logits"].argmax(1) != want[:batch]).sum()
    print("%s, by qonnx: %d of %d images differ" % (path, differ, batch))
    return int(differ > 1)


def check(path, images, want):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    if any(o.domain.startswith("qonnx") for o in model.opset_import):
        return by_qonnx(path, images, want)
    wrong = 0
    for optimize in (False, True):
        y = logits(session(model, optimize), images)
        differ = numpy.flatnonzero(y.argmax(1) != want)
        print("%s%s: %d of %d images differ" % (path, ", optimized" if optimize else "", len(differ), len(images)))
        if optimize:  # fused kernels scale in other ways and show no values between: a tenth of a percent may differ
            wrong += len(differ) * 1000 > len(images)
            continue
        probe, found = with_quantizer_inputs(model)
        s = session(probe, False) if len(differ) else None
        for i in differ:
            a, b = int(want[i]), int(y[i].argmax())
            tie = abs(float(y[i, a]) - float(y[i, b])) <= TIE * max(1, float(numpy.abs(y[i]).max()))
            near, where = nearest_boundary(s, found, images[i:i + 1])
            why = "tie" if tie else "a code of '%s' is %.1e from its boundary" % (where, near) if near <= BOUNDARY else "NO REASON"
            print("  image %d: class %d (logit %.9g), ONNX Runtime %d (%.9g): %s" % (i, a, y[i, a], b, y[i, b], why))
            wrong += why == "NO REASON"
    return wrong


def main():
    path, predictions, samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with gzip.open(path) as f:
        images = numpy.frombuffer(f.read()[16:], numpy.uint8).reshape(-1, 1, 28, 28)[:samples]
    want = numpy.loadtxt(predictions, numpy.int64)[:samples]
    return 1 if sum(check(m, images, want) for m in sys.argv[4:]) else 0


if __name__ == "__main__":
    sys.exit(main())
