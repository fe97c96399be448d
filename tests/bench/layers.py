#!/usr/bin/env python3
"""Layers to measure: layers.py KIND OUT [--float PEER.onnx].

KIND is w<W>a<A>-conv-<pixels>-<channels>-<layers>[-sums] or w<W>a<A>-fc-<features>-<layers>: 3x3 convolutions with a border, or full
connections, of random weights; W 1 (signs) or 2, A 1 (signs) to 3. Between layers are thresholds; with -sums the last layer's 32-bit
sums are the output, else codes are. OUT is graph text (.ir). PEER is a chain of float Conv or Gemm and Relu of the same shapes (needs onnx).
"""
import random
import sys


def graph(weight, act, conv, size, channels, layers, sums):
    random.seed(7)
    act_type = "bases<1>" if act == 1 else "u%d" % act
    weight_type = "bases<1>" if weight == 1 else "i%d" % weight
    shape = [1, channels, size, size] if conv else [1, channels]
    kernel = [channels, channels, 3, 3] if conv else [channels, channels]
    dims = lambda d: "[%s]" % ",".join(map(str, d))
    access = "[n m y x | c:%d i:3 j:3](n, c, y+i-1, x+j-1)(m, c, i, j)" % channels if conv else "[n m | c:%d](n, c)(m, c)" % channels
    levels, body, data, value = 2 ** act - 1, [], [], "%x"
    for i in range(layers):
        body.append("  %%w%d: %s%s = const $%d" % (i, weight_type, dims(kernel), i))
        body.append("  %%c%d: i32%s = contract mul %s, %%w%d %s" % (i, dims(shape), value, i, access))
        count = channels * channels * (9 if conv else 1)
        codes = "".join(random.choice(("01", "ff") if weight == 1 else ("fe", "ff", "00", "01")) for _ in range(count))
        data.append("data $%d: %s%s = hex" % (i, weight_type, dims(kernel)))
        data += ['  "%s"' % codes[k:k + 128] for k in range(0, len(codes), 128)]
        value = "%%c%d" % i
        if sums and i == layers - 1:
            break
        steps = [sorted(random.sample(range(-30, 30), levels)) for _ in range(channels)]
        body.append("  %%t%d: i32[%d,%d] = const [%s]" % (i, channels, levels, ", ".join(str(t) for row in steps for t in row)))
        body.append("  %%b%d: i8[1] = const [%d]\n  %%s%d: i8[1] = const [%d]" % (i, -1 if act == 1 else 0, i, 2 if act == 1 else 1))
        body.append("  %%q%d: %s%s = thresholds %s, %%t%d, %%b%d, %%s%d axis=1" % (i, act_type, dims(shape), value, i, i, i))
        value = "%%q%d" % i
    head = "graph @layers(%%x: %s%s) -> (%%y: %s%s) {" % (act_type, dims(shape), "i32" if sums else act_type, dims(shape))
    return "\n".join(["popshift.graph 1", head, "  props typed recognized"] + body + ["  return " + value, "}"] + data) + "\n"


def peer(path, conv, size, channels, layers):
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    nodes, weights, value, shape = [], [], "x", [1, channels, size, size] if conv else [1, channels]
    for i in range(layers):
        kernel = [channels, channels, 3, 3] if conv else [channels, channels]
        weights.append(numpy_helper.from_array((numpy.random.randn(*kernel) / 24).astype("f"), "w%d" % i))
        attributes = {"pads": [1, 1, 1, 1]} if conv else {"transB": 1}
        nodes.append(helper.make_node("Conv" if conv else "Gemm", [value, "w%d" % i], ["c%d" % i], **attributes))
        nodes.append(helper.make_node("Relu", ["c%d" % i], ["r%d" % i]))
        value = "r%d" % i
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", value)]
    model = helper.make_model(helper.make_graph(nodes, "peer", ports[:1], ports[1:], weights), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)


def main():
    if len(sys.argv) not in (3, 5) or (len(sys.argv) == 5 and sys.argv[3] != "--float"):
        sys.exit(__doc__)
    parts = sys.argv[1].split("-")
    conv, sums = parts[1] == "conv", parts[-1] == "sums"
    numbers = [int(p) for p in parts[2:] if p != "sums"]
    size, channels, layers = numbers if conv else [1] + numbers
    with open(sys.argv[2], "w") as f:
        f.write(graph(int(parts[0][1]), int(parts[0][3]), conv, size, channels, layers, sums))
    if len(sys.argv) == 5:
        peer(sys.argv[4], conv, size, channels, layers)


if __name__ == "__main__":
    main()
