# For the tests that run generated code on other machines: sourced by them.
# model_input FILE: u8[1,1,14,14] of 11, 48, 85, ... modulo 256, as target.c makes it.
model_input() {
  local head="{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 14, 14), }"
  { printf '\223NUMPY\001\000\166\000%-117s\n' "$head"
    # shellcheck disable=SC2059 # octal escapes
    printf "$(awk 'BEGIN { for (i = 0; i < 196; i++) printf "\\%03o", (11 + 37 * i) % 256 }')"; } >"$1"
}
# model_output MODEL FILE: what eval makes of it, an integer a line.
model_output() {
  model_input x.npy
  expect 0 "$POPSHIFT" run "$1" --engine eval --input x=x.npy -o want
  od -An -v -td4 -w4 -j128 want/output_0.npy | tr -d ' ' >"$2"
}
# same_output WANT GOT WHAT: the integers, then "stack N" which is put into $stack.
same_output() {
  stack=$(sed -n '/^stack/,$p' "$2" | tr -d '\nstack ')
  sed '/^stack/,$d' "$2" | cmp -s - "$1" || { fail "$3: other integers than eval's"; paste "$1" "$2" | head -12; }
}
# no_products OBJDUMP OBJ WHAT: no instruction that multiplies or divides, no call of a function that does.
no_products() {
  "$1" -dr --no-show-raw-insn "$2" >dis
  grep -q '>:$' dis || fail "$3: nothing was disassembled"
  silent dis '[[:space:]](mulh?s?u?|divu?|remu?|muls?|mla|mls|smull|umull|smlal|umlal|smlabb|smulbb|smla[a-z]*|smul[a-z]*|[su]div)(\.w|\.n)?[[:space:]]'
  silent dis '__(aeabi_)?[a-z]*(mul|div|mod)[a-z0-9]*'
}
macro() { sed -n "s/^#define [A-Z0-9_]*_$2 \([0-9]*\)u.*/\1/p" "$1"; } # macro FILE.h WORKSPACE_BYTES
