# Code without multiplication: a 3-bit shift network compiled with --no-multiply has no product, quotient, or call of one in C at any
# level of optimization nor in LLVM's objects, for a RISC-V that could multiply and one that cannot; every engine gives eval's integers.
. "$TESTS/cli/target.sh"
for elem in 'shift<3>' i4; do
  awk -v "ELEM=$elem" -f "$TESTS/cli/s3net.awk" >s3.ir
  for engine in nest c jit; do
    expect 0 "$POPSHIFT" verify s3.ir --engine $engine --no-multiply --target rv32imc --inputs 2
    for kernel in shift packed; do expect 0 "$POPSHIFT" verify s3.ir --engine $engine --force $kernel; done
  done
  for kernel in packed bitserial; do expect 0 "$POPSHIFT" verify s3.ir --engine c --no-multiply --force $kernel --target rv32i; done
done
# every layer says how
expect 0 "$POPSHIFT" compile s3.ir --no-multiply --target rv32imc --explain -o s3.c
[ "$(grep -c ': shift (cheapest)' out)" = 4 ] || fail "layers are not computed by shifts"
says out 'int +impossible: multiplies'
# the program's text says it too, and is the same when read again
expect 0 "$POPSHIFT" opt s3.ir --no-multiply --target rv32imc -o s3.nest
says s3.nest '^program @s3 index i32 no_multiply \{$'
silent s3.nest '[ (](mul|div|mod|fmod|pop)\('
expect 0 "$POPSHIFT" compile s3.nest -o again.c --name s3
cmp -s s3.c again.c || { diff s3.c again.c | head -5; fail "the program read again prints other C"; }
# refused: floats between codes, values divided by values; what cannot be is told by layer, and nothing is written
cat >float.ir <<'IR'
popshift.graph 1
graph @g(%x: u8[4], %z: u8[4]) -> (%q: u8[4], %d: i32[4]) {
  %s: f32 = const 0.1
  %f: f32[4] = dequant %x, %s ; node 1 "scaled" (DequantizeLinear)
  %r: f32[4] = map sin %f ; node 2 "wave" (Sin)
  %m: f32[4] = map mul %r, %f ; node 3 "product" (Mul)
  %q: u8[4] = quant %m, %s round=even lo=0 hi=255 ; node 4 "again" (QuantizeLinear)
  %xi: i32[4] = map cast %x
  %zi: i32[4] = map cast %z
  %d: i32[4] = map div %xi, %zi ; node 5 "ratio" (Div)
  return %q, %d
}
IR
expect 3 "$POPSHIFT" compile float.ir --no-multiply --skip thresholds -o float.c
says err 'node 3 "product" \(Mul\): error E0309'
silent err 'node 5'
[ ! -e float.c ] || fail "a file was written"
sed -e 's/, %d: i32\[4\])/)/; s/return %q, %d/return %d/; s/-> (%q: u8\[4\])/-> (%d: i32[4])/' float.ir >ratio.ir
expect 3 "$POPSHIFT" compile ratio.ir --no-multiply -o ratio.c
says err 'node 5 "ratio" \(Div\): error E0309: --no-multiply: a value is divided'
"$MKMODEL" mlp >mlp.onnx 2>/dev/null && expect 3 "$POPSHIFT" compile mlp.onnx --no-multiply -o mlp.c
expect 2 "$POPSHIFT" compile s3.ir --no-multiply --emit hls -o project
expect 2 "$POPSHIFT" compile s3.ir --no-multiply --skip unmultiply -o skipped.c;  says err 'contradicts --no-multiply'
[ ! -e skipped.c ] || fail "a refused command left skipped.c"

cc=riscv64-unknown-elf-gcc dump=riscv64-unknown-elf-objdump
command -v $cc >/dev/null && command -v $dump >/dev/null || { [ $failures -eq 0 ] && skip "integers are right; $cc (gcc-riscv64-unknown-elf) is not here to look at objects"; return; }
# what is looked for is there without the flag
expect 0 "$POPSHIFT" compile s3.ir --target rv32imc --force int -o s3.c
$cc -march=rv32im -mabi=ilp32 -O2 -ffreestanding -c s3.c -o s3.o && $dump -d s3.o | grep -Eq '[[:space:]]mul[[:space:]]' || fail "a network that multiplies does not show it"
for elem in 'shift<3>' i4; do
  awk -v "ELEM=$elem" -f "$TESTS/cli/s3net.awk" >s3.ir
  model_output s3.ir want.txt
  for force in '' '--force packed' '--force bitserial'; do
    # shellcheck disable=SC2086 # several words
    expect 0 "$POPSHIFT" compile s3.ir --no-multiply --target rv32imc $force -o s3.c
    for march in rv32im rv32i; do
      for level in -O0 -O1 -O2 -O3 -Os; do
        [ "$elem$force" = 'shift<3>' ] || [ $level = -O2 ] || [ $level = -Os ] || continue
        $cc -march=$march -mabi=ilp32 $level -ffreestanding -Wall -Wextra -Werror -c s3.c -o s3.o || fail "$cc $march $level"
        no_products $dump s3.o "$elem $force $march $level"
        [ $level = -O2 ] || continue
        command -v qemu-riscv32 >/dev/null || continue
        # libgcc of Debian's compiler is made for rv32i too: shifts of 64 bits
        $cc -march=$march -mabi=ilp32 -O1 -ffreestanding -nostdlib -w -DMODEL_H='"s3.h"' -DNAME=s3 -DUPPER=S3 -I. "$TESTS/cli/target.c" s3.o -lgcc -o s3.elf || fail "link $march"
        timeout 60 qemu-riscv32 s3.elf >got.txt || fail "qemu-riscv32 $march"
        same_output want.txt got.txt "$elem $force $march"
      done
    done
  done
  if "$POPSHIFT" compile s3.ir -o s3.o --target rv32imc 2>/dev/null; then # LLVM is built in
    for target in rv32imc rv32i; do
      expect 0 "$POPSHIFT" compile s3.ir --no-multiply --target $target -o s3.o
      no_products $dump s3.o "$elem LLVM $target"
      command -v qemu-riscv32 >/dev/null || continue
      [ $target = rv32i ] && march=rv32i || march=rv32imc
      $cc -march=$march -mabi=ilp32 -O1 -ffreestanding -nostdlib -w -DMODEL_H='"s3.h"' -DNAME=s3 -DUPPER=S3 -I. "$TESTS/cli/target.c" s3.o -lgcc -o s3.elf || fail "link LLVM $target"
      timeout 60 qemu-riscv32 s3.elf >got.txt || fail "qemu-riscv32, LLVM $target"
      same_output want.txt got.txt "$elem LLVM $target"
    done
  fi
done
command -v qemu-riscv32 >/dev/null || echo "objects were looked at; not run: qemu-riscv32 (qemu-user) is not here"
