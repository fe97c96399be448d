# Targets: the tables, a user's own, what select makes of them, and several in one result.
first="$TESTS/../docs/first-minute"
"$MKMODEL" tiny >tiny.onnx
grep -v '^;' "$TESTS/passes/select/kernels.ir" >kernels.ir

# list
expect 0 "$POPSHIFT" list targets
for t in x86-64 x86-64-v3 x86-64-v4 x86-64-v4-vnni x86-64-v4-vpopcnt x86-64-v4-amx aarch64 aarch64-dotprod riscv64 rv32i rv32imc cortex-m0 cortex-m4 c99; do
  says out "^$t +(32|64)  [A-Za-z0-9]"
done
[ "$(wc -l <out)" = 15 ] || fail "list targets: $(wc -l <out) lines"
expect 0 "$POPSHIFT" list targets --json
if command -v python3 >/dev/null; then
  python3 -c '
import json
for t in json.load(open("out")):
    assert set(t) >= {"name", "word", "what", "features", "cost", "kernels", "gcc"}, t
    assert t["word"] in (32, 64) and isinstance(t["features"], list) and all(v > 0 or k == "flash" and v == 0 for k, v in t["kernels"].items()), t
    assert all(v is None or v > 0 for v in t["cost"].values()), t
' || fail "list targets --json has not what it should"
fi

# A user's own.
cat >mine.yaml <<'Y'
popshift: target/1
name: mine
what: multiplication is dear
word: 32
features: []
cost: {mul: 900, add: 1, shift: 1, load: 1, popcount: 1}
Y
expect 0 "$POPSHIFT" compile kernels.ir --target mine.yaml --explain -o m.c
says out 'i8\[4,8\] . i8\[2,8\] -> i32\[4,2\]: shift \(cheapest\)'
says out 'int +57792 cycles'    # 4*2*8 products of 2 loads, a multiplication, an addition
expect 5 "$POPSHIFT" compile tiny.onnx --target none.yaml -o m2.c;           says err 'none.yaml: error E0501'
expect 5 "$POPSHIFT" run tiny.onnx --target ./none --input random:1;         says err 'E0501'
wrong() { # wrong EDIT PATTERN...: what a change to mine.yaml is told
  sed "$1" mine.yaml >wrong.yaml
  expect 2 "$POPSHIFT" compile tiny.onnx --target wrong.yaml -o w.c
  shift
  for p in "$@"; do says err "$p"; done
}
wrong 's/^word: 32/wordd: 32/'          'wrong.yaml:4: error E0704: wordd: unknown key' 'did you mean word\?' "wrong.yaml:1: error E0704: key 'word' is missing"
wrong 's/popcount: 1/popcnt: 1/' 'wrong.yaml:6: error E0704: cost.popcnt: unknown key' 'did you mean cost.popcount\?'
wrong 's/mul: 900/mul: dear/'          "wrong.yaml:6: error E0704: cost.mul: 'dear' is not a number of cycles"
wrong 's/mul: 900/mul: none/'          "cost.mul: 'none' is not a number of cycles"
wrong 's/mul: 900/mul: -1/'            'cost.mul: -1 is not in 0 .. 100000'
wrong 's/mul: 900, //'                 "wrong.yaml:6: error E0704: cost: key 'mul' is missing"
wrong 's/word: 32/word: 16/'           "wrong.yaml:4: error E0704: word: must be 32 or 64, not '16'"
wrong 's,target/1,target/2,'           "wrong.yaml:1: error E0704: popshift: 'target/2' is not target/1"
wrong 's/name: mine/name: "a b"/'      "wrong.yaml:2: error E0704: name: 'a b' has a character"
wrong 's/features: .*/features: avx2/' 'wrong.yaml:5: error E0704: features: must be a list, not one word'
wrong 's/features: .*/features: ["a\\"b"]/' 'features: .* has a character'
wrong '$a kernels: {innt: 1}'           'wrong.yaml:7: error E0704: kernels.innt: unknown key' 'did you mean kernels.int\?'
wrong '$a word: 64'                    "wrong.yaml:7: error E0704: duplicate key: 'word'"
wrong '2,$d'                           "key 'name' is missing" "key 'cost' is missing"
[ ! -e w.c ] || fail "a refused target left w.c"
expect 2 "$POPSHIFT" compile tiny.onnx --target x86-64-v5 -o w.c;            says err "no target 'x86-64-v5'"; says err 'did you mean x86-64'
expect 2 "$POPSHIFT" compile tiny.onnx --target c99,c99 -o w.c;              says err 'names c99 twice'
expect 2 "$POPSHIFT" compile tiny.onnx --target c99,,x86-64 -o w.c;         says err "no target ''"
expect 2 "$POPSHIFT" compile tiny.onnx --target c99, -o w.c;                says err "no target ''"
expect 2 "$POPSHIFT" run tiny.onnx --target c99,x86-64 --input random:1;     says err 'several are for compile'
expect 0 "$POPSHIFT" compile tiny.onnx --target native -o n.c

# select: what each target is best at. The layer of 70 signs by signs, the one of bytes.
chosen() { # chosen TARGET SIGNS BYTES
  expect 0 "$POPSHIFT" compile kernels.ir --target "$1" --explain -o s.c
  says out "^node.*bases<1>\[2,70\] . bases<1>\[16,70\] -> i32\[2,16\]: $2 "
  says out "^node.*i8\[4,8\] . i8\[2,8\] -> i32\[4,2\]: $3 "
  says out '^node.*f32\[2,3\] .* float '
  [ "$(grep -c '^  [* ] bitserial' out)" = "$(grep -Ec '^node.* [(](cheapest|forced)[)]$' out)" ] || fail "$1: not every layer shows bitserial"
  [ "$(grep -c '^  \* ' out)" = "$(grep -Ec '^node.* [(](cheapest|forced)[)]$' out)" ] || fail "$1: not one chosen kernel for each layer"
}
for t in c99 cortex-m0 cortex-m4 rv32imc riscv64; do chosen $t bitserial int; done
chosen rv32i bitserial shift # which has no multiplication
chosen x86-64-v4-vnni int int
# Words of a 32-bit machine: 3 of 70 signs; of a 64-bit machine 2.
chosen cortex-m0 bitserial int; says out 'bitserial +[0-9.]+ cycles(, [0-9]+ bytes)? \(1 x 1 planes of 3 words\)'
chosen c99 bitserial int;       says out 'bitserial +[0-9.]+ cycles \(1 x 1 planes of 2 words\)'

# --force
expect 0 "$POPSHIFT" compile tiny.onnx --force bitserial@fc --explain -o f.c;  says out '"fc".*: bitserial \(forced\)'
expect 2 "$POPSHIFT" compile tiny.onnx --force bitserail -o g.c;               says err 'did you mean bitserial\?'
expect 3 "$POPSHIFT" compile tiny.onnx --force bitserial@fcc -o g.c;           says err 'forced for "fcc", but no such layer'; says err 'did you mean "fc"\?'
expect 3 "$POPSHIFT" compile tiny.onnx --force float@fc -o g.c;                says err 'kernel float is not possible here: operands are codes'

# Several targets in one source.
expect 2 "$POPSHIFT" compile tiny.onnx --target x86-64,c99 --cpu generic -o v.o; says err 'are for one target'
sed 's/features: .*/features: [frob]\ntriple: x86_64-linux-gnu/' mine.yaml >frob.yaml
expect 3 "$POPSHIFT" compile tiny.onnx --target c99,frob.yaml -o v.c;            says err "E0307: target mine: no processor can be asked for 'frob'"
cat >main.c <<'C'
#include "net.h"
#include <stdio.h>
#include <string.h>
static _Alignas(64) unsigned char memory[NET_WORKSPACE_BYTES];
static float plain[20], y[20];
static unsigned char image[2 * NET_IN_IMAGE_COUNT];
int main(void) {
  static const char *const names[] = NET_VARIANTS;
  int n = sizeof names / sizeof *names, bad = 0, ran = 0;
  for (size_t i = 0; i < sizeof image; i++) image[i] = (unsigned char)(i * i * 37 / 11);
  net_env env = {0};
  for (int v = n - 1; v >= -1; v--) { /* the plain one first; -1: none asked for */
    env.variant = v < 0 ? NULL : names[v];
    net_status s = net_init(memory, sizeof memory, &env);
    if (s == NET_VARIANT && v < n - 1) { printf("%s: not on this processor\n", names[v]); continue; }
    memset(y, 0, sizeof y);
    if (s || net_run(memory, &(net_in){image}, &(net_out){y}, 2)) return printf("status %d\n", s), 1;
    if (v == n - 1) memcpy(plain, y, sizeof y);
    else if (memcmp(plain, y, sizeof y)) { printf("%s: other numbers\n", v < 0 ? "best" : names[v]); bad = 1; }
    ran++;
  }
  env.variant = "none";
  if (net_init(memory, sizeof memory, &env) != NET_VARIANT || net_run(memory, &(net_in){image}, &(net_out){y}, 1) != NET_VARIANT) return puts("no NET_VARIANT"), 1;
  env.variant = "";
  if (net_init(memory, sizeof memory, &env) != NET_VARIANT) return puts("no NET_VARIANT for the empty name"), 1;
  if (net_init(memory, sizeof memory - 1, NULL) != NET_SIZE || net_init(NULL, 0, NULL) != NET_NULL || net_init(memory + 1, sizeof memory, NULL) != NET_ALIGN) return 1;
  if (net_init(memory, sizeof memory, NULL) || net_run(memory, NULL, NULL, 1) != NET_NULL) return 1;
  printf("%d of %d variants and the best\n", ran - 1, n);
  return bad;
}
C
all=x86-64,x86-64-v3,x86-64-v4-vnni,x86-64-v4-vpopcnt,aarch64-dotprod,cortex-m4,rv32imc n=8
[ "${HOSTILE:-0}" = 1 ] && all=x86-64-v4-vpopcnt,x86-64,cortex-m4 n=4 # every pass of every variant is evaluated
for force in "" "--force bitserial"; do
  [ "$force" ] && [ "${HOSTILE:-0}" = 1 ] && break
  expect 0 "$POPSHIFT" compile "$first/fashion.onnx" $force --target $all -o net.c
  for cc in gcc ${force:+clang-19}; do
    command -v $cc >/dev/null || { echo "no $cc here"; continue; }
    expect 0 $cc -std=c11 -Wall -Wextra -Wpedantic -Werror -O1 -I. main.c net.c -o v;  [ ! -s err ] || fail "$cc: $(head -3 err)"
    expect 0 ./v; cat out
    case $(uname -m) in x86_64) says out "^[2-6] of $n" ;; *) says out " of $n variants" ;; esac
  done
done
expect 0 "$POPSHIFT" compile "$first/fashion.onnx" --target $all --explain -o net.c
[ "$(grep -c '^target ' out)" = $n ] || fail "--explain of several targets"
# Nothing but a C99 compiler: every variant left out but the plain one.
sed 's/defined(__x86_64__)/defined(NO)/; s/defined(__aarch64__)/defined(NO)/' net.c >other.c
expect 0 gcc -std=c99 -Wall -Wextra -Werror -O1 -I. -c other.c -o plain.o
[ "$(nm plain.o | grep -Ec ' [tT] ')" -lt 40 ] || fail "the plain build has more than one variant"
# Constants stand once, but those that vectors of other widths, or products of other kinds, read in another order.
expect 0 "$POPSHIFT" compile "$first/fashion.onnx" -o one.c
[ "$(wc -c <net.c)" -lt $((5 * $(wc -c <one.c))) ] || fail "constants are not shared: $(wc -c <net.c) bytes, one variant has $(wc -c <one.c)"

# In one object.
if "$POPSHIFT" compile tiny.onnx --target x86-64 -o t.o 2>/dev/null; then
  expect 3 "$POPSHIFT" compile "$first/fashion.onnx" --target x86-64,aarch64 -o net.o;     says err 'an object is for one architecture'
  expect 3 "$POPSHIFT" compile "$first/fashion.onnx" --target cortex-m0,cortex-m4 -o net.o; says err 'cannot be asked for dsp'
  for t in x86-64-v3,x86-64-v4-vpopcnt x86-64-v4-vnni,x86-64; do
    for force in "" "--force bitserial"; do
      [ "$force" ] && [ "${HOSTILE:-0}" = 1 ] && break
      [ "$(uname -m)" = x86_64 ] || { echo "objects for x86-64 do not run here"; break; }
      expect 0 "$POPSHIFT" compile "$first/fashion.onnx" $force --target $t -o net.o
      expect 0 gcc -std=c11 -O1 -I. main.c net.o -o v
      expect 0 ./v; cat out
    done
  done
  expect 0 "$POPSHIFT" compile "$first/fashion.onnx" --target aarch64-dotprod,aarch64 -o net.o
  expect 0 "$POPSHIFT" compile tiny.onnx --target x86-64,x86-64-v3 -o v.o --json;          says out '"variants"'
fi
