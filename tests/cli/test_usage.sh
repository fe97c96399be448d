# Exit codes and messages of wrong use.
expect 2 "$POPSHIFT"
expect 0 "$POPSHIFT" -h;            says out 'compile'
expect 0 "$POPSHIFT" --version
expect 2 "$POPSHIFT" compil x;      says err 'did you mean compile'
expect 0 "$POPSHIFT" compile -h;    says out '--force'
expect 2 "$POPSHIFT" compile m.onnx; says err 'needs -o'
expect 2 "$POPSHIFT" compile m.onnx -o x.y; says err 'E0701'
expect 5 "$POPSHIFT" compile none.onnx -o x.c; says err 'none.onnx: error E0501'
expect 2 "$POPSHIFT" train;         says err 'which recipe'
expect 2 "$POPSHIFT" train --recipe none.yaml --set; says err 'E0701'
expect 5 "$POPSHIFT" train --recipe none.yaml; says err 'none.yaml: error E0501'
expect 2 "$POPSHIFT" quantize --recipe r.yaml; says err 'E0701'
expect 3 "$POPSHIFT" report run;  says err 'E0306'
expect 3 "$POPSHIFT" compile m.onnx -o x.c --tune t.json; says err 'not available'
expect 2 "$POPSHIFT" compile m.onnx -o x.c --forse int;   says err 'did you mean --force'
expect 2 "$POPSHIFT" compile m.onnx -o x.c --target c98;  says err 'did you mean c99'
expect 2 "$POPSHIFT" opt m.onnx --passes=cannon;          says err 'did you mean canon'
expect 2 "$POPSHIFT" run m.onnx --limit memry=1;          says err 'did you mean memory'
expect 2 "$POPSHIFT" verify;        says err 'E0701'
for what in passes targets quantizers nets errors limits; do expect 0 "$POPSHIFT" list $what; done
expect 2 "$POPSHIFT" list nothing
expect 0 "$POPSHIFT" ops;           says out 'Conv'
expect 0 "$POPSHIFT" ops --json
expect 0 "$POPSHIFT" ops --markdown
[ -z "$(ls | grep -vE '^(out|err)$')" ] || fail "a refused command left files: $(ls)"
# A file whose name cannot name a function.
"$MKMODEL" tiny >tiny.onnx
expect 2 "$POPSHIFT" compile tiny.onnx -o trunc.c; says err '"trunc" cannot name generated code'; says err 'hint: --name IDENT'
expect 0 "$POPSHIFT" compile tiny.onnx -o trunc.c --name tiny
