# prune: what it takes out of the golden graphs and of a model that somebody else trained, on every engine.
for f in "$TESTS"/passes/prune/*.ir "$TESTS"/passes/widths/*.ir; do
  name=$(basename "$f")
  grep -v '^;' "$f" > "$name"
  expect 0 "$POPSHIFT" verify "$name" --engine all --inputs 3
  says out '1 passed, 0 failed'
done

# inspect says so, in text, JSON and a picture.
grep -v '^;' "$TESTS/passes/prune/share.ir" >share.ir
expect 0 "$POPSHIFT" inspect share.ir --html share.html
says out '^saved   10 of 20 MACs'
says out '^why     2 output channels are one number, 0 are read by nobody'
says out '^ +contract +int +3 +4 +4 +48 +4 +-15\.\.45 ' # x is 0..15: 1*x0 - 1*x1 and -1*x0 + 3*x1
says share.html 'class="r-was"'
expect 0 "$POPSHIFT" inspect share.ir --skip prune
says out '^total   20 MACs'
expect 0 "$POPSHIFT" inspect share.ir --json
says out '"accumulator": "i[0-9]+"'
# A layer that gives nothing but 0 is read outside, where 123 lies.
cat >border.ir <<'G'
popshift.graph 1
graph @g(%x: u8[1,2,1]) -> (%y: i32[1,2,1]) {
  %z: i8[2,2] = const [0, 0, 0, 0]
  %w: i8[2,2,3] = const [1, 1, 0, 2, 2, 0, 1, 0, 0, 1, 1, 0]
  %a: i32[1,2,1] = contract mul %x, %z [n m y | c:2](n, c, y)(m, c)
  %0: i32 = const 127
  %1: i32[1,2,1] = map min %a, %0
  %2: i8[1,2,1] = map cast %1
  %y: i32[1,2,1] = contract mul %2, %w [n m y | c:2 i:3](n, c, y*2+i-2)(m, c, i) fill=123
  return %y
}
G
expect 0 "$POPSHIFT" verify border.ir --engine nest --inputs 1 --each-pass
grep -v '^;' "$TESTS/passes/prune/residual.ir" >residual.ir
expect 0 "$POPSHIFT" inspect residual.ir
says out '^saved '

# 37 of the first layer's 64 channels, 21 and 16 of the next two: a third of the work is left, and no bit of the result changes.
espcn=$SHARED/data/lowbit/espcn/espcn_subpixel_w4a4
need $espcn.onnx
expect 0 "$POPSHIFT" inspect $espcn.onnx
says out '^saved   707100672 of 1041235968 MACs, [0-9]+ of [0-9]+ bytes of constants'
[ "$HOSTILE" = 1 ] && return 0
for e in c jit; do
  for skip in '' '--skip prune'; do
    expect 0 "$POPSHIFT" run $espcn.onnx --engine $e --input $espcn.in.npy --expect $espcn.out.npy $skip
    says out '0 of 196608 elements differ, greatest difference 0$'
  done
done
