# Microcontrollers: the network runs under qemu on a Cortex-M0 and a Cortex-M4 and gives eval's integers; workspace, constants and stack
# are what the header says; nothing is included or called besides what a freestanding program has.
. "$TESTS/cli/target.sh"
# A byte of flash has its price: weights that are used once are packed, those of a convolution are not.
cat >once.ir <<'IR'
popshift.graph 1
graph @once(%x: u8[1,64,8,8], %v: u8[1,64]) -> (%y: i32[1,4,8,8], %z: i32[1,16]) {
  %c: i4[4,64,1,1] = const $0
  %f: i4[16,64] = const $1
  %y: i32[1,4,8,8] = contract mul %x, %c [n m y x | c:64 i:1 j:1](n, c, y+i, x+j)(m, c, i, j) ; node 1 "conv" (Conv)
  %z: i32[1,16] = contract mul %v, %f [n m | k:64](n, k)(m, k) ; node 2 "fc" (Gemm)
  return %y, %z
}
IR
hex() { echo "data \$$1: $2 = hex"; for _ in $(seq "$3"); do printf '  "'; printf '07f9fd03%.0s' $(seq 16); echo '"'; done; }
{ hex 0 'i4[4,64,1,1]' 4; hex 1 'i4[16,64]' 16; } >>once.ir
expect 0 "$POPSHIFT" compile once.ir --target cortex-m4 --explain -o once.c
says out 'node 1 "conv" .*: (int|shift) \(cheapest\)'
says out 'node 2 "fc" .*: packed \(cheapest\)'
expect 0 "$POPSHIFT" verify once.ir --engine nest --target cortex-m4

cc=arm-none-eabi-gcc
for tool in "$cc" qemu-system-arm; do
  command -v "$tool" >/dev/null || { [ $failures -eq 0 ] && skip "the choice is right; $tool is not here to run code"; return; }
done
awk -f "$TESTS/cli/s3net.awk" >s3.ir
model_output s3.ir want.txt

# sizes TARGET: of s3.o and s3.elf against s3.h and the report
sizes() {
  local flash report
  flash=$(arm-none-eabi-nm -S -t d "$1" | awk '$3 == "r" { n += $2 } END { print n + 0 }')
  # at -O3 unrolled loops take small constants into the code
  [ "$flash" = "$(macro s3.h FLASH_BYTES)" ] || { [[ $2 = *-O3* ]] && [ "$flash" -lt "$(macro s3.h FLASH_BYTES)" ]; } || fail "$2: constants of $flash bytes in $1, FLASH_BYTES is $(macro s3.h FLASH_BYTES)"
  for what in flash:FLASH_BYTES arena:WORKSPACE_BYTES stack:STACK_BYTES; do
    report=$(sed -n 's/.*"'"${what%:*}"'": \([0-9]*\).*/\1/p' report.json)
    [ "$report" = "$(macro s3.h "${what#*:}")" ] || fail "$2: the report's ${what%:*} is '$report', ${what#*:} $(macro s3.h "${what#*:}")"
  done
}
board() { # CPU MACHINE FLAGS...
  local cpu=$1 machine=$2
  shift 2
  expect 0 "$POPSHIFT" compile s3.ir --target "$cpu" --json "$@" -o s3.c
  cp out report.json
  silent s3.c '#include <'
  [ "$(grep -c '#include <\(stddef\|stdint\).h>' s3.h)" = "$(grep -c '#include <' s3.h)" ] || fail "s3.h includes more than it says"
  for level in -O1 -O3 -Os; do
    $cc -mcpu="$cpu" -mthumb $level -std=c99 -ffreestanding -Wall -Wextra -Werror -c s3.c -o s3.o || fail "$cc $cpu $level"
    arm-none-eabi-nm -u s3.o | grep -Ev ' U (memcpy|memset|__aeabi_l?[a-z]*(lsl|lsr|asr|mul)|__aeabi_[a-z]*(div|mod)|__gnu_thumb1_case_[a-z]*)$' && fail "$cpu $*: undefined symbols"
    $cc -mcpu="$cpu" -mthumb -Os -ffreestanding -nostdlib -w -DMODEL_H='"s3.h"' -DNAME=s3 -DUPPER=S3 -I. "$TESTS/cli/target.c" s3.o -T "$TESTS/cli/target.ld" -lgcc -o s3.elf || fail "link $cpu"
    timeout 60 qemu-system-arm -M "$machine" -nographic -semihosting -kernel s3.elf >got.txt 2>&1 </dev/null || { fail "qemu-system-arm $machine"; tail -2 got.txt; }
    same_output want.txt got.txt "$cpu $level $*"
    sizes s3.o "$cpu $level $*"
    # 32 bytes: the caller's own frame
    [ "${stack:-0}" -gt 0 ] && [ "$stack" -le $(($(macro s3.h STACK_BYTES) + 32)) ] || fail "$cpu $level $*: $stack bytes of stack used, STACK_BYTES is $(macro s3.h STACK_BYTES)"
  done
}
board cortex-m0 microbit --force int
board cortex-m0 microbit --force shift
board cortex-m0 microbit --force packed
board cortex-m4 mps2-an386
board cortex-m4 mps2-an386 --force bitserial
board cortex-m0 microbit --no-multiply
no_products arm-none-eabi-objdump s3.o cortex-m0

# Packed weights take k/8 bytes each and less than a word more for a layer.
dense() { # BITS ELEM: 2598 weights in four layers
  awk -v "ELEM=$2" -f "$TESTS/cli/s3net.awk" >k.ir
  expect 0 "$POPSHIFT" compile k.ir --target cortex-m0 --force packed -o k.c
  $cc -mcpu=cortex-m0 -mthumb -Os -ffreestanding -c k.c -o k.o || fail "$cc"
  bytes=$(arm-none-eabi-nm -S -t d k.o | awk '$4 ~ /^k_packed/ { n += $2 } END { print n + 0 }')
  [ "$bytes" -ge $((2598 * $1 / 8)) ] && [ "$bytes" -lt $((2598 * $1 / 8 + 4 * 4)) ] || fail "$2: 2598 weights of $1 bits in $bytes bytes"
}
dense 3 'shift<3>'
dense 3 i4 # the same numbers: encode finds that they are 0 and powers of two
expect 0 "$POPSHIFT" compile k.ir --target cortex-m0 --force int -o k.c
