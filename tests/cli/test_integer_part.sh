# Between the first and the last layer the object code has no floating-point instruction, and forced bit-serial layers count bits.
low=$SHARED/data/lowbit
need "$low/tfc/TFC_1W1A.onnx"
command -v objdump >/dev/null || skip "objdump is not here"
[ "$(uname -m)" = x86_64 ] || skip "instruction names are those of x86-64"

# kinds FILE.c: a letter per function of the C text, in order of execution: f has float instructions, i has none.
kinds() {
  gcc -std=c99 -O1 -fno-inline -fno-tree-vectorize -mpopcnt -c "$1" -o part.o || { fail "cc $1"; return; }
  objdump -d --no-show-raw-insn part.o | awk '/^[0-9a-f]+ <.*>:$/ { f = substr($2, 2, length($2) - 3); order[++n] = f }
    $2 ~ /^(v?(add|sub|mul|div|sqrt|max|min|ucomi|comi|round|cmp[a-z]*)(ss|sd|ps|pd)|v?cvt[a-z0-9]*|f(ld|add|mul|st)[a-z]*)$/ { float[f] = 1 }
    $2 ~ /^popcnt/ || /call.*_h_pop/ { pop[f] = 1 }
    END { for (i = 1; i <= n; i++) print order[i], (order[i] in float ? "f" : "i"), (order[i] in pop ? "pop" : "-") }' >functions
  # definitions in the text are in the order of execution; helpers and entry points are not layers
  grep -oE '^static void [a-z0-9_A-Z]+\(' "$1" | sed 's/static void //; s/($//; s/(//' | while read -r f; do awk -v f="$f" '$1 == f' functions; done >layers
}
integer_between() { # MODEL FLAGS...: float functions are at most one at the start, and the tail
  local model=$1; shift
  expect 0 "$POPSHIFT" compile "$model" -o part.c "$@"
  kinds part.c
  shape=$(awk '{ printf "%s", $2 }' layers)
  [[ $shape =~ ^f?i+f*$ ]] || { fail "$model $*: float code between integer layers: $shape"; cat layers; }
}
for m in kws/kws_w3a3 tfc/TFC_1W1A tfc/TFC_1W2A tfc/TFC_2W2A; do
  for force in int bitserial; do integer_between "$low/$m.onnx" --force $force; done
  n=$(awk '$3 == "pop"' layers | wc -l)
  [ "$n" -ge 4 ] || { fail "$m: only $n functions count bits"; cat layers; }
  expect 0 "$POPSHIFT" compile "$low/$m.onnx" --force bitserial --explain -o part.c
  [ "$(grep -c 'bitserial (' out)" -ge 3 ] || fail "$m: --explain does not say bitserial for its layers"
done
for m in micro_kws_m_qdq micro_kws_m_static_qoperator; do
  [ -e "$SHARED/data/models/$m" ] && integer_between "$SHARED/data/models/$m/model.onnx"
done
