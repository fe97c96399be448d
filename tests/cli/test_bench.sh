# bench: what it says, of what, and what it refuses. The figures themselves are the machine's.
"$MKMODEL" tiny >tiny.onnx
expect 0 "$POPSHIFT" bench tiny.onnx --engine nest,c --rounds 3
says out '^tiny.onnx: 3 rounds, 1 thread, target '
says out '^  nest +best +[0-9.]+ us  median +[0-9.]+ us +[0-9.]+ GMAC/s'
says out '^  c +best'
expect 0 "$POPSHIFT" bench tiny.onnx tiny.onnx --engine c --rounds 2 --target c99 --layers --json
says out '"schema": "popshift.bench/1"'; says out '"target": "c99"'; says out '"gmac_per_s"'; says out '"layers"'; says out '"nest": "'
[ "$(grep -c '"model": "tiny.onnx"' out)" = 2 ] || fail "two models were given"
expect 2 "$POPSHIFT" bench; says err 'E0701'
expect 2 "$POPSHIFT" bench tiny.onnx --rounds 0; says err 'E0701'
expect 2 "$POPSHIFT" bench tiny.onnx --engine c --against nobody; says err 'E0701.*ort'
expect 2 "$POPSHIFT" bench tiny.onnx --target nowhere; says err 'E0701'
expect 3 "$POPSHIFT" bench tiny.onnx --engine eval; says err 'E0307'
expect 5 "$POPSHIFT" bench nothing.onnx; says err 'E0501'
expect 5 "$POPSHIFT" bench tiny.onnx --engine c --against ort --python ./no-python; says err 'E0503.*no-python'
printf '#!/bin/sh\nexit 0\n' >silent; chmod +x silent
expect 5 "$POPSHIFT" bench tiny.onnx --engine c --against ort --python ./silent; says err 'E0503.*ended without a word'
printf '#!/bin/sh\necho ready 1.0\nread n\necho 0.5\nexit 0\n' >dies; chmod +x dies
expect 5 "$POPSHIFT" bench tiny.onnx --engine c --against ort --python ./dies; says err 'E0503'
expect 0 "$POPSHIFT" opt tiny.onnx -o tiny.ir --stop-after canon
expect 2 "$POPSHIFT" bench tiny.ir --engine c --against ort; says err 'does not read'

python=${POPSHIFT_PYTHON:-python3}
"$python" -c 'import numpy, onnxruntime' 2>/dev/null || { echo "ONNX Runtime left out: $python has no numpy and onnxruntime (POPSHIFT_PYTHON names another)"; return 0; }
expect 0 "$POPSHIFT" bench tiny.onnx --engine c --rounds 3 --against ort --against-model tiny.onnx --python "$python"
says out '^  c .*x ort  .*x ort:tiny.onnx'; says out '^  ort +best .*ONNX Runtime [0-9]'
echo garbage >bad.onnx
expect 5 "$POPSHIFT" bench tiny.onnx --engine c --against-model bad.onnx --python "$python"; says err 'E0503.*ONNX Runtime'
