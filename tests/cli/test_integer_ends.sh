# The graph's ends as codes: --io codes and packed, --layout, --state; what is generated has no floating-point instruction.
cat >ends.ir <<'IR'
popshift.graph 1
graph @ends(%x: f32[1,3,4,5], %m: f32[1,6]) -> (%y: f32[1,2,4,5], %b: f32[1,6]) {
  %s: f32 = const 0.25
  %z: i4 = const -2
  %q: i4[1,3,4,5] = quant %x, %s, %z round=even lo=-8 hi=7
  %0: f32[1,3,4,5] = dequant %q, %s, %z
  %w: i2[2,3,1,1] = const [1, -1, 1, -2, 1, 0]
  %t: f32[2,1,1,1] = const [0.5, 0.3]
  %1: f32[2,3,1,1] = dequant %w, %t
  %2: f32[1,2,4,5] = contract mul %0, %1 [n m y x | c:3 i:1 j:1](n, c, y+i, x+j)(m, c, i, j)
  %u: f32 = const 0.7
  %3: u2[1,2,4,5] = quant %2, %u round=even lo=0 hi=3
  %4: f32[1,2,4,5] = dequant %3, %u
  %one: f32 = const 1
  %5: bases<1>[1,6] = quant %m, %one round=even lo=-1 hi=1
  %6: f32[1,6] = dequant %5, %one
  return %4, %6
}
IR
cat >cell.ir <<'IR'
popshift.graph 1
graph @cell(%x: f32[1,4], %h: f32[1,4]) -> (%y: f32[1,4], %hn: f32[1,4]) {
  %s: f32 = const 0.05
  %z: i8 = const 3
  %w: i8[4,4] = const [1,2,-3,4,5,-6,7,8,-9,10,11,-12,13,14,-15,16]
  %1: i8[1,4] = quant %x, %s, %z round=even lo=-128 hi=127
  %2: i8[1,4] = quant %h, %s, %z round=even lo=-128 hi=127
  %3: f32[1,4] = dequant %1, %s, %z
  %4: f32[1,4] = dequant %2, %s, %z
  %v: f32 = const 0.01
  %5: f32[4,4] = dequant %w, %v
  %6: f32[1,4] = contract mul %4, %5 [n m | c:4](n, c)(c, m)
  %7: f32[1,4] = map add %6, %3
  %8: i8[1,4] = quant %7, %s, %z round=even lo=-128 hi=127
  %9: f32[1,4] = dequant %8, %s, %z
  return %9, %9
}
IR

# ports, on every engine: what is computed between the ends is what the float model computes
for io in codes packed; do
  expect 0 "$POPSHIFT" verify ends.ir --io $io --engine all --inputs 4; says out '^1 passed'
done
expect 0 "$POPSHIFT" verify ends.ir --layout x=nhwc --engine all --inputs 4; says out '^1 passed'
expect 0 "$POPSHIFT" verify ends.ir --io codes --layout x=nhwc --engine all; says out '^1 passed'
expect 0 "$POPSHIFT" run ends.ir --io codes --input x=random:1 --input m=random:2; says out '"y": u2\[1,2,4,5\]'; says out '"b": bases<1>\[1,6\]'
expect 0 "$POPSHIFT" compile ends.ir --io codes -o codes.c
says codes.h '^#define CODES_IN_X_DIMS \{1, 3, 4, 5\}'; says codes.h '^#define CODES_IN_X_SCALE 0\.25f$'; says codes.h '^#define CODES_IN_X_ZERO -2$'
says codes.h 'const int8_t \*x;'; says codes.h 'uint8_t \*y;'; says codes.h '^#define CODES_OUT_Y_SCALE 0\.7f$'
expect 0 "$POPSHIFT" compile ends.ir --io codes --layout x=nhwc -o nhwc.c
says nhwc.h '^#define NHWC_IN_X_DIMS \{1, 4, 5, 3\}'; says nhwc.h '^#define NHWC_IN_X_CHANNELS_LAST 1'
expect 0 "$POPSHIFT" compile ends.ir --io packed -o packed.c
says packed.h 'const uint32_t \*x;'; says packed.h '^#define PACKED_IN_X_BITS 4 '; says packed.h '^#define PACKED_IN_X_COUNT 8u'
says packed.h '^#define PACKED_IN_X_CODE_DIMS \{1, 4, 5, 3\}'; says packed.h '^#define PACKED_IN_M_BITS 1 '; says packed.h '^#define PACKED_OUT_Y_BITS 2 '

# packed words are those of runtime/pack.h, channels fastest; the same numbers as unpacked
cat >ends.c <<'C'
#include "codes.h"
#include "nhwc.h"
#include "packed.h"
#include "runtime/pack.h"
#include <stdio.h>
#include <string.h>
static _Alignas(64) unsigned char ws[3][65536];
int main(void) {
  int8_t x[60], xl[60], m[6], b[6], bn[6];
  uint8_t y[40], yn[40], bytes[64], yp[40];
  uint32_t xw[8] = {0}, mw[1] = {0}, yw[3] = {~0u, ~0u, ~0u}, bw[1] = {~0u};
  unsigned r = 1;
  for (int t = 0; t < 50; t++) {
    for (int i = 0; i < 60; i++) { r = r * 1103515245u + 12345u; x[i] = (int8_t)((int)(r >> 16 & 15) - 8); }
    for (int i = 0; i < 6; i++) { r = r * 1103515245u + 12345u; m[i] = r >> 16 & 1 ? 1 : -1; }
    for (int c = 0; c < 3; c++) for (int p = 0; p < 20; p++) xl[p * 3 + c] = x[c * 20 + p];
    memset(xw, 0, sizeof xw);
    rt_pack((const uint8_t *)xl, 60, 4, bytes);
    memcpy(xw, bytes, 30);
    mw[0] = 0;
    for (int i = 0; i < 6; i++) mw[0] |= (uint32_t)(m[i] > 0) << i;
    if (codes_init(ws[0], sizeof ws[0], 0) || nhwc_init(ws[1], sizeof ws[1], 0) || packed_init(ws[2], sizeof ws[2], 0)) return 1;
    if (codes_run(ws[0], &(codes_in){x, m}, &(codes_out){y, b}, 1)) return 2;
    if (nhwc_run(ws[1], &(nhwc_in){xl, m}, &(nhwc_out){yn, bn}, 1)) return 3;
    if (packed_run(ws[2], &(packed_in){xw, mw}, &(packed_out){yw, bw}, 1)) return 4;
    if (memcmp(y, yn, 40) || memcmp(b, bn, 6)) return 5;
    memcpy(bytes, yw, 12);
    rt_unpack(bytes, 40, 2, 0, yp);
    for (int c = 0; c < 2; c++) for (int p = 0; p < 20; p++) if (yp[p * 2 + c] != y[c * 20 + p]) return 6;
    if (yw[2] >> 16) return 7; /* the tail is 0 */
    for (int i = 0; i < 6; i++) if ((bw[0] >> i & 1) != (b[i] > 0)) return 8;
    if (bw[0] >> 6) return 9;
  }
  puts("same");
  return 0;
}
C
expect 0 gcc -std=c11 -O1 -I"$SOURCE" -I. ends.c codes.c nhwc.c packed.c -o ends && { expect 0 ./ends; says out '^same'; }

# state: three steps by hand, and kept; C and an object by the LLVM backend
floats() { printf '\223NUMPY\001\000v\000%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': ($1, 4), }"; } # the header of $1 rows of 4
{ floats 1; head -c 16 /dev/zero; } >zero.npy
h=zero.npy
for t in 1 2 3; do
  expect 0 "$POPSHIFT" run cell.ir --input x=random:$t --input h=$h -o step$t
  h=step$t/output_1.npy
done
cat >steps.c <<'C'
#include "cell.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
static _Alignas(64) unsigned char ws[65536];
static void load(const char *path, float v[4]) {
  FILE *f = fopen(path, "rb");
  fseek(f, -16, SEEK_END);
  if (fread(v, 4, 4, f) != 4) v[0] = NAN;
  fclose(f);
}
int main(int argc, char **argv) {
  int8_t all[12], at_once[12];
  for (int round = 0; round < 2; round++) { /* init starts anew */
    if (cell_init(ws, sizeof ws, 0)) return 1;
    for (int t = 0; t < 3; t++) {
      float x[4], y[4];
      int8_t q[4], r[4];
      load(argv[1 + t], x);
      load(argv[4 + t], y);
      for (int i = 0; i < 4; i++) {
        double v = nearbyint(x[i] / CELL_IN_X_SCALE) + CELL_IN_X_ZERO;
        all[4 * t + i] = q[i] = (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v);
      }
      if (cell_run(ws, &(cell_in){q}, &(cell_out){r}, 1)) return 2;
      for (int i = 0; i < 4; i++) {
        if ((float)((r[i] - CELL_OUT_Y_ZERO) * CELL_OUT_Y_SCALE) != y[i]) return 3;
        at_once[4 * t + i] = r[i];
      }
    }
  }
  int8_t batch[12];
  if (cell_init(ws, sizeof ws, 0) || cell_run(ws, &(cell_in){all}, &(cell_out){batch}, 3)) return 4;
  if (memcmp(batch, at_once, 12)) return 5;
  puts("same");
  return argc < 0;
}
C
for t in 1 2 3; do printf '%s\n' 'popshift.graph 1' 'graph @id(%x: f32[1,4]) -> (%y: f32[1,4]) {' '  return %x' '}' >id.ir; expect 0 "$POPSHIFT" run id.ir --input x=random:$t -o x$t; done
for out in cell.c cell.o; do
  expect 0 "$POPSHIFT" compile cell.ir --io codes --state hn=h -o $out
  says cell.h 'Kept in the workspace'; silent cell.h '\*h;'; silent cell.h '\*hn;'
  expect 0 gcc -std=c11 -O1 -I. steps.c $out -lm -o steps
  expect 0 ./steps x1/output_0.npy x2/output_0.npy x3/output_0.npy step1/output_0.npy step2/output_0.npy step3/output_0.npy; says out '^same'
done
# run --state: the leading axis is time, the same on every engine
floats 3 >seq.npy
for t in 1 2 3; do tail -c 16 x$t/output_0.npy >>seq.npy; tail -c 16 step$t/output_0.npy; done >want.bin
for e in eval nest c jit hls; do
  expect 0 "$POPSHIFT" run cell.ir --state hn=h --input x=seq.npy --engine $e -o kept
  tail -c 48 kept/output_0.npy | cmp -s - want.bin || fail "run --state on $e differs from three runs by hand"
done

# refusals
cat >plain.ir <<'IR'
popshift.graph 1
graph @plain(%x: f32[1,4], %v: f32[4]) -> (%y: f32[1,4]) {
  %0: f32[1,4] = map exp %x
  %1: f32[1,4] = map add %0, %v
  return %1
}
IR
expect 3 "$POPSHIFT" compile plain.ir --io codes -o p.c; says err 'node "x": error E0302: this input is not quantized where it enters: it is read by exp'; says err 'hint: --io codes takes'
sed 's/%0: f32\[1,4\] = map exp %x/%0: f32[1,4] = dequant %c, %s/; s/%x: f32\[1,4\]/%x: f32[1,4]/; s/^graph.*/graph @half(%x: f32[1,4]) -> (%y: f32[1,4]) {\n  %s: f32 = const 0.5\n  %c: i8[1,4] = quant %x, %s round=even lo=-128 hi=127/; s/map add %0, %v/map exp %0/' plain.ir >half.ir
expect 3 "$POPSHIFT" compile half.ir --io codes -o p.c; says err 'node "y": error E0302: this output is not quantized where it leaves: it is computed in float by exp'
[ ! -e p.c ] || fail "a refused model was compiled"
expect 2 "$POPSHIFT" compile ends.ir --io bytes -o p.c; says err "float, codes or packed"
expect 2 "$POPSHIFT" compile cell.ir --state hm=h -o p.c; says err "no output 'hm'"; says err "did you mean hn"
expect 2 "$POPSHIFT" compile cell.ir --state hn -o p.c; says err "OUTPUT=INPUT"
expect 2 "$POPSHIFT" compile cell.ir --state hn=h --state y=h -o p.c; says err "in another pair"
expect 2 "$POPSHIFT" compile plain.ir --state y=v -o p.c; says err "not of the type of input 'v'"
expect 2 "$POPSHIFT" compile ends.ir --layout m=nhwc -o p.c; says err "its rank is 2"
expect 3 "$POPSHIFT" compile cell.ir --state hn=h --emit hls -o p.hls; says err 'HLS project does not keep'

# no floating-point instruction: the compiler may use none, and the LLVM object has none
[ "$(uname -m)" = x86_64 ] || skip "instruction names are those of x86-64"
FLOATS='v?(add|sub|mul|div|sqrt|max|min|ucomi|comi|round|cmp[a-z]*)(ss|sd|ps|pd)|v?cvt[a-z0-9]*|vfn?m(add|sub)[a-z0-9]*|f(ld|add|mul|st)[a-z]*'
integers() { # MODEL FLAGS...
  local model=$1; shift
  expect 0 "$POPSHIFT" compile -q "$model" "$@" -o part.c
  expect 0 gcc -std=c99 -O2 -mgeneral-regs-only -c part.c -o part.o
  expect 0 "$POPSHIFT" compile -q "$model" "$@" -o part.o
  expect 0 objdump -d --no-show-raw-insn part.o
  awk '{ print $2 }' out | grep -Ex "$FLOATS" >floats && { fail "$model $*: float instructions in the object"; sort floats | uniq -c; }
}
integers ends.ir --io codes
integers ends.ir --io packed
integers cell.ir --io codes --state hn=h
models=$SHARED/data/models
need "$models/micro_kws_m_qdq/model.onnx"
for m in micro_kws_m_qdq micro_kws_m_static_qoperator ort_conv_int4_weights_qdq ort_conv_qdq_s8s8_perchannel tract_qlstm_3-2-3_T3_S1; do
  shape=; [ $m != tract_qlstm_3-2-3_T3_S1 ] || shape='--shape input=3,3'
  integers "$models/$m/model.onnx" --io codes $shape
  expect 0 "$POPSHIFT" verify -q "$models/$m/model.onnx" --io codes --engine all
  says out 'all [0-9]+ codes as stored|codes one step from the stored ones'; says out '^1 passed'
done
# quantized while it runs: the scale depends on the data, so that its ends cannot be codes
expect 3 "$POPSHIFT" compile -q "$models/ort_dynamic_quantize_matmul_int8/model.onnx" --shape A=2,4 --shape B=4,3 --shape b_scale=3 --shape b_zero_point=3 --io codes -o part.c
expect 0 "$POPSHIFT" verify -q "$models/ort_dynamic_quantize_matmul_int8/model.onnx" --engine all; says out '^1 passed'
