# The testers are tested: faults in passes, compilers and certificates are found and located; whatever pass is left out, the codes stay.
[ "$HOSTILE" = 1 ] && n_nets=3 || n_nets=8
nets() { seq 401 $((400 + n_nets)); }
for s in $(nets); do "$RANDOM_MODELS" "$s" >net$s.ir || fail "no network $s"; done

# Every optional pass left out, alone, and all together: run writes the same bits; needed passes are refused.
expect 0 "$POPSHIFT" list passes
optional=$(awk '$3 == "optional" { print $1 }' out)
[ "$(wc -w <<<"$optional")" -ge 9 ] || fail "few passes are optional: $optional"
for s in $(nets); do
  expect 0 "$POPSHIFT" run net$s.ir --input random:7 --engine eval; cp out want
  for p in $optional "$(tr '\n' ',' <<<"$optional" | sed 's/,$//')"; do
    expect 0 "$POPSHIFT" run net$s.ir --input random:7 --engine nest --skip "$p"
    cmp -s want out || fail "network $s without $p has other values"
  done
done
expect 0 "$POPSHIFT" verify net401.ir --engine all --inputs 2 --skip thresholds,widths
expect 0 "$POPSHIFT" compile net401.ir -o m.c --skip sink,fuse
for p in infer canon recognize select lower plan; do
  expect 2 "$POPSHIFT" run net401.ir --input random:7 --skip $p; says err "E0701: --skip: pass $p is needed"
done
expect 2 "$POPSHIFT" run net401.ir --input random:7 --skip nosuch; says err "no pass 'nosuch'"

# After every pass: both pipelines say how many steps they compared, and how far fixing the meaning moved values.
expect 0 "$POPSHIFT" verify net402.ir --engine nest,hls --each-pass --inputs 2
says out 'steps of the native pipeline keep every value; [0-9]+ steps of the hls pipeline keep every value'

# Which values a compiler with a fault spoils, and where. |x| above 0 is what LLVM 19 once made x above 0.
cat >abs.ir <<'IR'
popshift.graph 1
graph @net(%x: f32[4]) -> (%y: f32[4], %z: bool[4]) {
  %1: f32 = const 0
  %2: f32[4] = map abs %x
  %3: f32[4] = map max %2, %1
  %4: f32 = const 0.25
  %5: bool[4] = map lt %4, %2
  %6: bool[4] = map isnan %x
  %7: bool[4] = map or %5, %6
  return %3, %7
}
IR
expect 0 "$POPSHIFT" verify abs.ir --engine all --inputs 8
cat >badcc <<'SH'
#!/usr/bin/env bash
for a in "$@"; do case $a in *.c) sed -i "$FAULT" "$a" ;; esac; done
exec cc "$@"
SH
chmod +x badcc
cat >three.ir <<'IR'
popshift.graph 1
graph @net(%x: f32[2,6]) -> (%y: f32[2,5]) {
  %1: f32 = const 0.25   ; node "q" (Quant)
  %2: i8[2,6] = quant %x, %1 round=even lo=-128 hi=127   ; node "q" (Quant)
  %3: i8[6,4] = const [3, -1, 2, 5, 7, -2, 1, 1, 4, -6, 3, 2, 1, 1, -5, 6, 2, 2, -1, 3, 1, 4, -2, 5]
  %4: i32[2,4] = contract mul %2, %3 [n m | c:6](n, c)(c, m)   ; node "first" (MatMul)
  %5: i8[4,5] = const [1, 2, 3, -1, 2, 5, -3, 2, 1, 1, 2, 2, -7, 1, 3, 4, 1, 1, 1, -2]
  %6: i32[2,5] = contract mul %4, %5 [n m | c:4](n, c)(c, m)   ; node "second" (MatMul)
  %7: f32[2,5] = map cast %6   ; node "third" (Cast)
  return %7
}
IR
expect 0 "$POPSHIFT" verify three.ir --engine c --inputs 2 --bisect
expect 4 env CC="$PWD/badcc" FAULT='/static const.*_w_second/,/}/s/-7/-6/' "$POPSHIFT" verify three.ir --engine c --inputs 2 --bisect
says err 'engine c differs from eval'
says err 'note: first differing layer: .*"second" \(MatMul\), %[0-9]+ = contract : i32\[2,5\]: [0-9]+ of 10 elements differ, first at [0-9]+: -?[0-9]+, eval'
expect 4 env CC="$PWD/badcc" FAULT='/static const.*_w_first/,/}/s/-6/-5/' "$POPSHIFT" verify three.ir --engine c --inputs 2 --bisect
says err 'note: first differing layer: .*"first" \(MatMul\)'
silent err '"second"'

# What each pass did.
expect 0 "$POPSHIFT" opt three.ir --print-after-all --diff
says out '^; unchanged by fold'
says out '^-  +%[0-9]+: i32\[2,5\] = contract mul'
says out '^\+  +%[0-9]+: i[0-9]+\[2,5\] = contract mul'
silent out $'\033'
expect 0 "$POPSHIFT" opt three.ir --print-after widths --diff
[ "$(grep -c '^; ' out)" = 1 ] || fail "more than one pass is shown"
expect 2 "$POPSHIFT" opt three.ir --diff

# Stored values of layers: for an input of zeros every layer's are known. Which is the first that differs?
npy() { # npy FILE DTYPE SHAPE: from standard input
  { printf '\x93NUMPY\x01\x00\x76\x00'; printf '%-117s\n' "{'descr': '$2', 'fortran_order': False, 'shape': ($3), }"; cat; } >"$1"
}
mkdir stored
"$MKMODEL" tiny >tiny.onnx
{ printf '\x08\x01\x08\x02\x08\x04\x08\x04\x10\x01\x42\x01x\x4a\x80\x01'; head -c 128 /dev/zero; } >stored/input_0.pb
head -c 256 /dev/zero | npy stored/c.npy '<f4' 1,4,4,4
head -c 256 /dev/zero | npy stored/r.npy '<f4' 1,4,4,4
head -c 64 /dev/zero | tr '\0' '\3' | npy stored/q.npy '|u1' 1,4,4,4
expect 0 "$POPSHIFT" verify tiny.onnx --against stored --engine eval --bisect
says out '; 3 stored values agree'
head -c 64 /dev/zero | tr '\0' '\7' | npy stored/q.npy '|u1' 1,4,4,4 # four steps off, and y after it
head -c 12 /dev/zero | tr '\0' '\101' | npy stored/y.npy '<f4' 1,3
expect 4 "$POPSHIFT" verify tiny.onnx --against stored --engine eval --bisect
says err "E0601: .*first value that differs from the stored one: 'q' of node 2 .quant. \(QuantizeLinear\).*: 64 of 64 elements, first at 0: 3, stored 7"
head -c 256 /dev/zero | tr '\0' '\100' | npy stored/r.npy '<f4' 1,4,4,4
expect 4 "$POPSHIFT" verify tiny.onnx --against stored --engine eval --bisect
says err "first value that differs from the stored one: 'r' of node 1 .relu. \(Relu\)"
head -c 10 /dev/zero | npy stored/c.npy '<f4' 1,4,4,4
expect 1 "$POPSHIFT" verify tiny.onnx --against stored --engine eval --bisect
says err 'stored/c.npy'
