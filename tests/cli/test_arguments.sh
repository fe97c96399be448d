# What users give besides the model: dimensions, shapes, bindings, tensors, tables; and JSON out.
"$MKMODEL" sizes >sizes.onnx
python=$(command -v python3)
json() { # json COMMAND...: succeeds, and prints JSON
  expect 0 "$@"
  [ -z "$python" ] || "$python" -m json.tool <out >/dev/null 2>&1 || { fail "no JSON: $*"; head -3 out; }
}

# Unknown dimensions: one message that names the dimension and the flag.
for verb in "compile -o s.c" run verify "score --inputs x.npy --labels l.csv"; do
  expect 3 "$POPSHIFT" ${verb%% *} sizes.onnx $([ "$verb" = "${verb#* }" ] || echo "${verb#* }")
  says err "E0304: dimension T of input 'x'"; says err 'give --dim T=N'
done
[ ! -e s.c ] || fail "a refused model left s.c"
expect 0 "$POPSHIFT" compile sizes.onnx --dim T=2 -o s.c
expect 0 "$POPSHIFT" compile sizes.onnx --shape x=1,2,3 -o s.c
# Names that the model does not have.
expect 2 "$POPSHIFT" compile sizes.onnx --dim T=2 --dim TT=2 -o s.c;  says err "no unknown dimension 'TT'"; says err 'did you mean'
expect 2 "$POPSHIFT" compile sizes.onnx --shape xx=1,2,3 -o s.c;      says err "no input 'xx'"
expect 2 "$POPSHIFT" compile sizes.onnx --dim T=99999999999999999999 -o s.c
expect 2 "$POPSHIFT" compile sizes.onnx --shape x=1,,3 -o s.c

# Tensors. An NPY header of 64 bytes, then the data.
npy() { # npy FILE SHAPE BYTES: of f32, the data BYTES bytes of zeros
  { printf '\x93NUMPY\x01\x00\x76\x00'; printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($2), }"; head -c "$3" /dev/zero; } >"$1"
}
npy x.npy 1,2,3 24; npy x5.npy 5,2,3 120; npy none.npy 0,2,3 0; npy b.npy 3, 12; npy cut.npy 1,2,3 20; npy odd.npy 7, 28
npy huge.npy 9223372036854775807,9223372036854775807 0
sz="sizes.onnx --dim T=2 --input b=b.npy"
expect 0 "$POPSHIFT" run $sz --input x=x.npy
expect 0 "$POPSHIFT" run $sz --input x=x5.npy -o o5;  [ -e o5/output_1.npy ] || fail "no output_1.npy"
expect 0 "$POPSHIFT" run $sz --input x=x.npy -o -;    says out '"y": f32'; [ ! -e ./- ] || fail "-o - made a folder"
expect 2 "$POPSHIFT" run $sz --input x=none.npy;      says err 'no sample'
expect 2 "$POPSHIFT" run $sz --input x=odd.npy;       says err '7 elements'
expect 1 "$POPSHIFT" run $sz --input x=cut.npy;       says err 'cut.npy: error E0104'
expect 1 "$POPSHIFT" run $sz --input x=huge.npy
expect 5 "$POPSHIFT" run $sz --input x=missing.npy;   says err 'missing.npy: error E0501'
expect 5 "$POPSHIFT" compile sizes.onnx --bind b=missing.npy --dim T=2 -o s.c
expect 2 "$POPSHIFT" compile sizes.onnx --bind c=b.npy --dim T=2 -o s.c; says err "no input 'c'"
expect 0 "$POPSHIFT" compile sizes.onnx --bind b=b.npy --dim T=2 -o s.c
expect 5 "$POPSHIFT" verify sizes.onnx --dim T=2 --against missing;      says err 'missing: error E0501'

# Scores: no division by zero, as many means as channels.
printf 'name,label\na,1\nb,0\n' >l.csv
"$MKMODEL" tiny >tiny.onnx; npy t.npy 2,2,4,4 256
expect 0 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --mean 1,2 --std 3,4
expect 2 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --std 0
expect 2 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --mean 1,2,3
expect 1 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:1;    says err 'l.csv:2: error E0104'

# JSON, from every verb that has it; the others refuse the flag.
for table in passes targets errors limits; do json "$POPSHIFT" list $table --json; done
json "$POPSHIFT" ops --json
json "$POPSHIFT" ops --missing tiny.onnx --json
json "$POPSHIFT" inspect tiny.onnx --json
json "$POPSHIFT" compile tiny.onnx -o t.c --json;      says out 'popshift.report/1'
json "$POPSHIFT" run tiny.onnx --input random:1 --json --engine eval,nest
json "$POPSHIFT" verify tiny.onnx --json --engine nest
json "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --json
expect 2 "$POPSHIFT" opt tiny.onnx --json
json "$POPSHIFT" compile tiny.onnx -o t.c --json --explain;      says out '"explain"'
json "$POPSHIFT" compile tiny.onnx --emit hls -o th --json;      says out 'popshift.report/1'
json "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --json --engine eval,nest
expect 2 "$POPSHIFT" compile tiny.onnx --emit ll -o - --json
expect 2 "$POPSHIFT" ops --json --markdown
mkdir -p suite/a/test_data_set_0; cp tiny.onnx suite/a/model.onnx
expect 4 "$POPSHIFT" verify --suite suite --json;                silent out '\?"'
"$MKMODEL" nasty >nasty.onnx
json "$POPSHIFT" inspect nasty.onnx --json
json "$POPSHIFT" run nasty.onnx --input random:1 --json

# Numbers that are none, flags for something else, and flags against each other.
expect 2 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --scale nan
expect 2 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --scale ''
expect 2 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels l.csv:2 --std 1,inf
expect 2 "$POPSHIFT" run tiny.onnx --input random:1 --rtol -1
expect 2 "$POPSHIFT" run tiny.onnx --input random:1 --engine ''
for flag in '--clock 4' '--part x' '--vectors 3' '--cpu generic' '--threads 0' '--threads x'; do
  expect 2 "$POPSHIFT" compile tiny.onnx -o f.c $flag;           says err "E0701: ${flag%% *} "
done
for clock in 0 -1 nan; do expect 2 "$POPSHIFT" compile tiny.onnx --emit hls -o fh --clock $clock; done
expect 2 "$POPSHIFT" compile tiny.onnx -o f.c --force int8@fc --force float@fc; says err 'contradicts'
expect 2 "$POPSHIFT" compile tiny.onnx -o f.c --target;          silent err 'did you mean --target'
[ ! -e f.c ] && [ ! -e fh ] || fail "a refused command left files"
expect 0 "$POPSHIFT" compile tiny.onnx -o f.c --force int8 --force bitserial@fc
# Folders are no files.
expect 5 "$POPSHIFT" score tiny.onnx --inputs . --labels l.csv:2;   says err 'E0501'
expect 5 "$POPSHIFT" score tiny.onnx --inputs t.npy --labels .;     says err 'E0501'

# An object is for the target's machine, unless another is named.
elf() { od -An -tu1 -j18 -N1 "$1" | tr -d ' '; } # e_machine: 40 ARM, 62 x86-64, 183 AArch64, 243 RISC-V
if "$POPSHIFT" compile tiny.onnx -o c99.o 2>/dev/null; then
  for t in x86-64-v4-vpopcnt:62 aarch64:183 cortex-m0:40 cortex-m4:40 rv32imc:243 riscv64:243 rv32i:243 aarch64-dotprod:183 x86-64-v4-amx:62; do
    expect 0 "$POPSHIFT" compile tiny.onnx --target ${t%:*} -o m.o
    [ "$(elf m.o)" = ${t#*:} ] || fail "--target ${t%:*} gives machine $(elf m.o)"
  done
  expect 0 "$POPSHIFT" compile tiny.onnx --target cortex-m0 --triple aarch64-linux-gnu -o m.o
  [ "$(elf m.o)" = 183 ] || fail "--triple is not followed"
fi

# opt: no passes, passes explained, no file.
expect 0 "$POPSHIFT" opt tiny.onnx --passes= -o none.ir;         expect 0 "$POPSHIFT" convert tiny.onnx -o same.ir
cmp -s none.ir same.ir || fail "opt --passes= changes the graph"
expect 0 "$POPSHIFT" opt tiny.onnx --explain -o end.ir;          says err '"fc" .*int \(cheapest\)'
expect 5 "$POPSHIFT" opt tiny.onnx -o ''
