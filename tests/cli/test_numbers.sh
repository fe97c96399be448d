# Meanings at the edges of types, the same on every engine.
npy() { # npy FILE DTYPE COUNT BYTES: BYTES as printf escapes
  { printf '\x93NUMPY\x01\x00\x76\x00'; printf '%-117s\n' "{'descr': '$2', 'fortran_order': False, 'shape': ($3,), }"; printf "$4"; } >"$1"
}
gives() { # gives WANT X Y NODE...: the graph of the nodes, the last of them %0, from x.npy of type X to Y
  printf '%s\n' 'popshift.graph 1' "graph @g(%x: $2) -> (%y: $3) {" "${@:4}" '  return %0' '}' >g.ir
  local e
  for e in eval nest c jit hls; do
    expect 0 "$POPSHIFT" run g.ir --input x=x.npy --engine $e
    grep -q -- "= $1\$" out || fail "engine $e gives $(cat out), not $1: ${*:4}"
  done
}

# Sums wider than their operand, past 32 bits; then wrapped to the result's own width.
npy x.npy '<i4' 4 '\xff\xff\xff\x7f\xff\xff\xff\x7f\xff\xff\xff\x7f\x03\x00\x00\x00'
for t in i34 i40 i64 u33 u64; do gives 6442450944 'i32[4]' $t "  %0: $t = reduce add %x [|k:4](k)"; done
gives -2147483648 'i32[4]' i33 '  %0: i33 = reduce add %x [|k:4](k)'
gives -2147483648 'i32[4]' i32 '  %0: i32 = reduce add %x [|k:4](k)'
gives 4611686024869838847 'i32[4]' i64 '  %0: i64 = reduce mul %x [|k:3](k)'
gives 13835058074609516541 'i32[4]' u64 '  %0: u64 = reduce mul %x [|k:4](k)'
npy x.npy '<u4' 4 '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff'
for t in i36 u34 u64; do gives 17179869180 'u32[4]' $t "  %0: $t = reduce add %x [|k:4](k)"; done
gives -4 'u32[4]' i34 '  %0: i34 = reduce add %x [|k:4](k)'
gives 51539607540 'u32[4]' i64 '  %1: i8[4] = const [3, 3, 3, 3]' '  %0: i64 = contract mul %x, %1 [|k:4](k)(k)'
npy x.npy '<i4' 4 '\x00\x00\x00\x80\x00\x00\x00\x80\x00\x00\x00\x80\x00\x00\x00\x80'
for t in i35 i64; do gives -8589934592 'i32[4]' $t "  %0: $t = reduce add %x [|k:4](k)"; done

# f64 to 16 bits goes by way of f32 (scalar.def): a number just above a tie of f16, or of bf16, becomes the tie, then even.
npy x.npy '<f8' 1 '\x00\x10\x00\x00\x00\x02\xf0\x3f' # 1 + 2^-11 + 2^-40
gives 1 'f64[1]' 'f16[1]' '  %0: f16[1] = map cast %x'
npy x.npy '<f8' 1 '\x00\x10\x00\x00\x00\x10\xf0\x3f' # 1 + 2^-8 + 2^-40
gives 1 'f64[1]' 'bf16[1]' '  %0: bf16[1] = map cast %x'
npy x.npy '<f8' 1 '\x00\x00\x00\x20\x00\x02\xf0\x3f' # 1 + 2^-11 + 2^-23, which f32 holds
gives 1.0009766 'f64[1]' 'f16[1]' '  %0: f16[1] = map cast %x'
# Numbers print in full.
npy x.npy '<f8' 1 '\x9a\x99\x99\x99\x99\x99\xb9\x3f'
gives 0.30000000000000004 'f64[1]' 'f64[1]' '  %1: f64[1] = map add %x, %x' '  %0: f64[1] = map add %1, %x'
