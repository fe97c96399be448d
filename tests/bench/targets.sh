#!/usr/bin/env bash
# What a step of each kernel's loop costs on this machine: the figures of `kernels` in passes/targets/*.yaml.
#   tests/bench/targets.sh TARGET [COMPILER]      (POPSHIFT: the command, default build/release/popshift)
# Prints time stamp counter cycles of a product (float, int), of two words (bitserial) and of a code's packing: the least of many runs,
# bitserial and pack told apart by two numbers of outputs. They include what the loops around cost for 8 rows of 1024.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
popshift=${POPSHIFT:-$root/build/release/popshift} target=$1 cc=${2:-gcc}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
flags=$("$popshift" list targets --json | awk -v t="\"name\": \"$target\"," 'index($0, t) { on = 1 } on && /"gcc":/ { sub(/.*"gcc": "/, ""); sub(/",?$/, ""); print; exit }')

# contraction FILE X W Y M: y[8,M] = x[8,1024] . w[M,1024]
contraction() {
  local bytes=1
  [ "$3" = f32 ] && bytes=4
  {
    printf 'popshift.graph 1\ngraph @m(%%x: %s[8,1024]) -> (%%y: %s[8,%d]) {\n  props typed static recognized\n  %%w: %s[%d,1024] = const $0\n' "$2" "$4" "$5" "$3" "$5"
    printf '  %%y: %s[8,%d] = contract mul %%x, %%w [n m | k:1024](n, k)(m, k)\n  return %%y\n}\ndata $0: %s[%d,1024] = hex\n' "$4" "$5" "$3" "$5"
    awk -v n=$((1024 * $5)) -v kind="$3" -v bytes=$bytes 'BEGIN { srand(1); for (i = 0; i < n; i++) { if (i % 48 == 0) printf "%s  \"", i ? "\"\n" : "";
      if (bytes == 4) printf "0000%02x3f", 128 * int(rand() * 2); else if (kind == "bases<1>") printf "%s", rand() < .5 ? "ff" : "01"; else printf "%02x", int(rand() * 256) } print "\"" }'
  } >"$1"
}

cat >time.c <<'C'
#include "m.h"
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>
int main(void) {
  void *ws = aligned_alloc(64, (M_WORKSPACE_BYTES + 64) / 64 * 64), *x = aligned_alloc(64, M_IN_X_COUNT * 8), *y = aligned_alloc(64, M_OUT_Y_COUNT * 8);
  unsigned long long least = -1ull;
  for (size_t i = 0; i < M_IN_X_COUNT * 4; i++) ((unsigned char *)x)[i] = KIND == 1 ? (i & 1 ? 1 : 255) : i & 63;
  m_init(ws, M_WORKSPACE_BYTES, NULL);
  for (int k = 0; k < 300; k++) {
    unsigned long long t = __rdtsc();
    m_run(ws, &(m_in){x}, &(m_out){y}, 1);
    t = __rdtsc() - t;
    if (t < least) least = t;
  }
  printf("%llu\n", least);
}
C
# cycles X W Y M KERNEL: of one run
cycles() {
  contraction m.ir "$1" "$2" "$3" "$4"
  "$popshift" compile -q m.ir --target "$target" --force "$5" -o m.c
  # shellcheck disable=SC2086 # flags are words
  $cc -std=gnu11 -O3 $flags -DKIND=$([ "$1" = "bases<1>" ] && echo 1 || echo 0) -I. time.c m.c -o run 2>err || { cat err >&2; exit 1; }
  ./run
}
products=$((8 * 256 * 1024))
f=$(cycles f32 f32 f32 256 float) i=$(cycles u8 i8 i32 256 int) b1=$(cycles 'bases<1>' 'bases<1>' i32 256 bitserial) b2=$(cycles 'bases<1>' 'bases<1>' i32 1024 bitserial)
word=$(awk -v t="$target" '{ w = 64 } END { print 64 }' </dev/null)
awk -v f="$f" -v i="$i" -v b1="$b1" -v b2="$b2" -v p=$products -v w="$word" -v t="$target $cc" 'BEGIN {
  step = (b2 - b1) / (8 * 768 * 1024 / w); pack = (b1 - step * 8 * 256 * 1024 / w) / (8 * 1024)
  printf "%-28s float %.4f  int %.4f  bitserial %.3f  pack %.3f\n", t, f / p, i / p, step, pack }'
