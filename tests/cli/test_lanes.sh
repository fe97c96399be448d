# Bit-serial layers over the lanes of vectors, as C and as LLVM code, for every target that has vectors: the C compiler is given the
# target's instructions where this processor has them, and makes what it can of the vectors where not; LLVM makes code for this one.
# layer ACT WEIGHTS LEVELS OUT CHANNELS: two 3x3 convolutions of 6x5 pixels, the first one's codes packed for the second.
layer() {
  awk -v act="$1" -v wt="$2" -v levels="$3" -v out="$4" -v c="$5" 'BEGIN {
    srand(7)
    sign = act == "bases<1>"
    print "popshift.graph 1"
    printf "graph @g(%%x: %s[1,%d,6,5]) -> (%%y: %s[1,%d,6,5]) {\n  props typed recognized\n", act, c, out, c
    for (i = 0; i < 2; i++) {
      printf "  %%w%d: %s[%d,%d,3,3] = const $%d\n", i, wt, c, c, i
      printf "  %%c%d: i32[1,%d,6,5] = contract mul %s, %%w%d [n m y x | c:%d i:3 j:3](n, c, y+i-1, x+j-1)(m, c, i, j)\n", i, c, i ? "%q0" : "%x", i, c
      if (i && out == "i32") break
      printf "  %%t%d: i32[%d,%d] = const [", i, c, levels
      for (m = 0; m < c; m++) { at = int(rand() * 30) - 20; for (k = 0; k < levels; k++) printf "%s%d", m + k ? ", " : "", at += int(rand() * 9) }
      printf "]\n  %%b%d: i8[1] = const [%d]\n  %%s%d: i8[1] = const [%d]\n", i, sign ? -1 : 0, i, sign ? 2 : 1
      printf "  %%q%d: %s[1,%d,6,5] = thresholds %%c%d, %%t%d, %%b%d, %%s%d axis=1\n", i, act, c, i, i, i, i
    }
    printf "  return %s\n}\n", out == "i32" ? "%c1" : "%q1"
    for (i = 0; i < 2; i++) {
      printf "data $%d: %s[%d,%d,3,3] = hex\n  \"", i, wt, c, c
      for (k = 0; k < c * c * 9; k++) printf "%s", wt == "bases<1>" ? (rand() < 0.5 ? "01" : "ff") : substr("00fffe01", 1 + 2 * int(rand() * 4), 2)
      print "\""
    }
  }'
}
layer 'bases<1>' 'bases<1>' 1 'bases<1>' 64 >signs.ir
layer 'bases<1>' 'bases<1>' 1 i32 32 >sums.ir
layer u2 'bases<1>' 3 u2 32 >codes.ir
layer u2 i2 3 i32 32 >planes.ir
for target in x86-64-v4-vpopcnt x86-64-v4 x86-64-v3 aarch64; do
  for model in signs sums codes planes; do
    expect 0 "$POPSHIFT" verify $model.ir --force bitserial --target $target --engine nest,c,jit --inputs 1
    # Their kernels do hold words in vectors.
    expect 0 "$POPSHIFT" compile $model.ir --force bitserial --target $target -o m.c
    grep -q 'm_h_pop_u64x\|m_h_lut3_' m.c || fail "$model for $target counts no vectors"
    # gcc, not told of the target's instructions, has nothing to say of vectors that its registers do not hold.
    case $model-$target in planes-x86-64-v3 | planes-x86-64-v4-vpopcnt)
      expect 0 gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -O0 -c m.c -o m.o;  [ ! -s err ] || fail "$model for $target: $(head -2 err)" ;;
    esac
  done
done

# Products: bytes by bytes and by 9 bits, floats; more and fewer channels than lanes; a transposed result, a shared one, columns that are no whole words.
product() { # ACT WEIGHTS SUM OUTS CHANNELS
  awk -v act="$1" -v wt="$2" -v sum="$3" -v m="$4" -v c="$5" 'BEGIN {
    srand(11)
    print "popshift.graph 1"
    printf "graph @g(%%x: %s[2,%d,7,9]) -> (%%y: %s[2,%d,4,5], %%z: %s[2,4,5,%d]) {\n", act, c, sum, m, sum, m
    printf "  %%w: %s[%d,%d,3,3] = const [", wt, m, c
    for (i = 0; i < m * c * 9; i++) printf "%s%s", i ? ", " : "", wt == "f32" ? rand() - 0.5 : int(rand() * (wt == "i9" ? 511 : 255)) - (wt == "i9" ? 256 : 128)
    printf "]\n  %%0: %s = const 0\n", sum
    printf "  %%y: %s[2,%d,4,5] = contract mul %%x, %%w [n m y x | c:%d i:3 j:3](n, c, y*2+i-1, x*2+j-1)(m, c, i, j)\n", sum, m, c
    printf "  %%r: %s[2,%d,4,5] = map max %%y, %%0\n  %%z: %s[2,4,5,%d] = view %%r [n y x m](n, m, y, x)\n  return %%y, %%z\n}\n", sum, m, sum, m
  }'
}
product u8 i8 i32 20 3 >u8.ir;  product i8 i8 i32 6 16 >i8.ir;  product u4 i9 i32 33 5 >i9.ir;  product f32 f32 f32 24 3 >f32.ir
for target in x86-64-v4-vnni x86-64-v4 x86-64-v3 aarch64-dotprod; do
  for model in u8 i8 i9 f32; do
    expect 0 "$POPSHIFT" verify $model.ir --target $target --engine nest,c,jit --inputs 2 --rtol 0 --atol 0
    expect 0 "$POPSHIFT" compile $model.ir --target $target -o m.c
    [ $model-$target = i9-aarch64-dotprod ] || grep -q 'm_h_dot_\|m_h_splat_f32x' m.c || fail "$model for $target has no vectors"
  done
done
# Nothing to add up, and weights that no integer holds.
printf 'popshift.graph 1\ngraph @g(%%x: f32[3,0]) -> (%%y: f32[3,8]) {\n  %%w: f32[8,0] = const []\n  %%y: f32[3,8] = contract mul %%x, %%w [n m | c:0](n, c)(m, c)\n  return %%y\n}\n' >none.ir
printf 'popshift.graph 1\ngraph @g(%%x: f32[3,1]) -> (%%y: f32[3,8]) {\n  %%w: f32[8,1] = const [1e30, 2e30, -1e30, 1e30, 2e30, 1e30, 1e30, 3e30]\n  %%y: f32[3,8] = contract mul %%x, %%w [n m | c:1](n, c)(m, c)\n  return %%y\n}\n' >huge.ir
for model in none huge; do expect 0 "$POPSHIFT" verify $model.ir --target x86-64-v4 --engine nest,c,jit --inputs 2; done
