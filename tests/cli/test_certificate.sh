# Certificates: what is compiled is proved again; a threshold, a multiplier, a table's entry, a bound or a sum that is off by one is refused.
[ "$HOSTILE" = 1 ] && last=506 || last=530
expect 0 "$RANDOM_MODELS" 500
functions=0
declare -A kinds=()
for s in $(seq 501 $last); do
  "$RANDOM_MODELS" "$s" >net.ir
  expect 0 "$POPSHIFT" compile net.ir -o net.c --certificate net$s.json --skip prune
  expect 0 "$CERTIFY" net$s.json
  says out '^not covered: 0 levels of the model'
  functions=$((functions + $(sed -n 's/^\([0-9]*\) of .*/\1/p' out)))
  for k in thresholds requant table; do grep -q "\"kind\": \"$k\"" net$s.json && kinds[$k]=net$s.json; done
  expect 0 "$POPSHIFT" compile net.ir -o net.c --certificate pruned.json
  expect 0 "$CERTIFY" pruned.json
done
[ $functions -gt $((2 * (last - 500))) ] || fail "only $functions functions were proved"

# off_by_one FILE KEY: the first number of the first list of that name, or the number itself, one more.
off_by_one() {
  awk -v key="\"$2\":" '!done && index($0, key) && /-?[0-9]+,?$/ { match($0, /-?[0-9]+,?$/); hit = 1 }
    !done && open && /-?[0-9]/ { match($0, /-?[0-9]+/); hit = 1 }
    hit && !done { n = substr($0, RSTART, RLENGTH); comma = sub(/,/, "", n) ? "," : ""; $0 = substr($0, 1, RSTART - 1) (n + 1) comma substr($0, RSTART + RLENGTH); done = 1 }
    !done && index($0, key) && /\[$/ { open = 1 } { print }' "$1" | awk '{ if (NR > 1) print prev; prev = $0 } END { print prev }'
}
cat >two.ir <<'IR'
popshift.graph 1
graph @net(%x: f32[1,6]) -> (%y: i3[1,4]) {
  %1: f32 = const 0.25
  %2: i4[1,6] = quant %x, %1 round=even lo=-8 hi=7
  %3: f32[1,6] = dequant %2, %1
  %4: i8[6,4] = const [3, -1, 2, 5, 7, -2, 1, 1, 4, -6, 3, 2, 1, 1, -5, 6, 2, 2, -1, 3, 1, 4, -2, 5]
  %5: f32[6,4] = dequant %4, %1
  %6: f32[1,4] = contract mul %3, %5 [n m | c:6](n, c)(c, m)   ; node "sum \"</script>" (MatMul)
  %7: f32[4] = const [0.7, -0.4, 0, 1e-12]
  %8: f32[1,4] = map mul %6, %7
  %9: f32 = const 0.5
  %10: i3[1,4] = quant %8, %9 round=even lo=-4 hi=3   ; node "levels" (Quant)
  return %10
}
IR
expect 0 "$POPSHIFT" compile two.ir -o two.c --certificate two.json
expect 0 "$CERTIFY" two.json
says out '^1 of 1 functions proved on [0-9]+ integers; ranges of 1 follow from sums of weights'
for key in t base; do
  off_by_one two.json $key >bad.json
  cmp -s two.json bad.json && fail "nothing changed at $key"
  expect 4 "$CERTIFY" bad.json
  says out '^refused: layer .*, row 0: at -?[0-9]+ the compiled form gives -?[0-9]+, the meaning -?[0-9]+$'
  says out '^0 of 1 functions'
done
sed 's/"0x1p-1"/"0x1.01p-1"/' two.json >bad.json; expect 4 "$CERTIFY" bad.json # another scale
off_by_one two.json lo >bad.json;       expect 4 "$CERTIFY" bad.json; says out 'the sums of its weights leave the range'
off_by_one two.json positive >bad.json; expect 4 "$CERTIFY" bad.json; says out 'the sums of its weights leave the range'
# What prune does to them: the first layer loses a row, whose one number moves into the thresholds of the second.
cat >prune.ir <<'IR'
popshift.graph 1
graph @net(%x: f32[1,6]) -> (%y: i3[1,3]) {
  %1: f32 = const 0.25
  %2: i4[1,6] = quant %x, %1 round=even lo=-8 hi=7
  %3: f32[1,6] = dequant %2, %1
  %4: i8[6,4] = const [3, 0, 2, 5, 7, 0, 1, 1, 4, 0, 3, 2, 1, 0, -5, 6, 2, 0, -1, 3, 1, 0, -2, 5]
  %5: f32[6,4] = dequant %4, %1
  %6: f32[1,4] = contract mul %3, %5 [n m | c:6](n, c)(c, m)
  %7: f32[4] = const [0.1, 1.3, -0.2, 0.4]
  %8: f32[1,4] = map add %6, %7
  %9: f32 = const 0.5
  %10: i3[1,4] = quant %8, %9 round=even lo=-4 hi=3   ; node "first" (Quant)
  %11: f32[1,4] = dequant %10, %9
  %12: i8[4,3] = const [3, -1, 2, 5, 7, -2, 1, 1, 4, -6, 3, 2]
  %13: f32[4,3] = dequant %12, %1
  %14: f32[1,3] = contract mul %11, %13 [n m | c:4](n, c)(c, m)
  %16: f32[3] = const [0.7, -0.4, 0.2]
  %17: f32[1,3] = map mul %14, %16
  %15: i3[1,3] = quant %17, %9 round=even lo=-4 hi=3  ; node "second" (Quant)
  return %15
}
IR
expect 0 "$POPSHIFT" compile prune.ir -o prune.c --certificate prune.json
expect 0 "$CERTIFY" prune.json
says out '^2 of 2 functions proved on [0-9]+ integers; ranges of 2 follow from sums of weights'
says out '^not covered: 0 levels'
tr -d ' \n' <prune.json | grep -q '"kept":\[0,2,3\]' || fail "the rows that stay are not told"
tr -d ' \n' <prune.json | grep -q '"share":\[15,21,-6\]' || fail "the share that went is not told"
for key in share positive t; do
  off_by_one prune.json $key >bad.json
  cmp -s prune.json bad.json && fail "nothing changed at $key"
  expect 4 "$CERTIFY" bad.json
done
for k in requant:m requant:b table:values; do
  file=${kinds[${k%:*}]:-}
  [ -n "$file" ] || { [ "$HOSTILE" = 1 ] || fail "no network has a ${k%:*}"; continue; }
  grep -n "\"kind\": \"${k%:*}\"" "$file" | head -1 | cut -d: -f1 >line
  { head -n "$(cat line)" "$file"; tail -n +"$(($(cat line) + 1))" "$file" >rest; off_by_one rest ${k#*:}; } >bad.json
  cmp -s "$file" bad.json && fail "nothing changed at $k"
  [ "$k" = requant:b ] && continue # a line may have room for one more
  expect 4 "$CERTIFY" bad.json
done

# What is no certificate.
echo '{' >bad.json;                                          expect 1 "$CERTIFY" bad.json
echo '{"schema": "popshift.report/1"}' >bad.json;            expect 1 "$CERTIFY" bad.json
sed 's/"dequant"/"nosuch"/' two.json >bad.json;              expect 3 "$CERTIFY" bad.json
sed '0,/"rows": 4/s//"rows": 5/' two.json >bad.json;         expect 1 "$CERTIFY" bad.json
sed 's/"from": "contract"/"from": 3/' two.json >bad.json;    expect 0 "$CERTIFY" bad.json # told to people only
sed '0,/"values": \[/s//"values": [],"x": [/' two.json >bad.json; expect 1 "$CERTIFY" bad.json
expect 5 "$CERTIFY" none.json
expect 2 "$CERTIFY"
expect 5 "$POPSHIFT" compile two.ir -o two.c --certificate no/such/folder.json
expect 3 "$POPSHIFT" compile two.ir -o two.c --certificate c.json --skip fuse; says err 'E0307'

low=$SHARED/data/lowbit
need "$low/tfc/TFC_1W1A.onnx"
for m in tfc/TFC_1W1A tfc/TFC_1W2A tfc/TFC_2W2A kws/kws_w3a3; do
  [ "$HOSTILE" = 1 ] && [ $m = kws/kws_w3a3 ] && continue
  expect 0 "$POPSHIFT" compile $low/$m.onnx -o m.c --certificate m.json
  expect 0 "$CERTIFY" m.json
  says out '^3 of 3 functions proved on [0-9]+ integers; ranges of 3 follow'
done
# Of ESPCN prune takes rows of two layers.
need "$low/espcn/espcn_subpixel_w4a4.onnx"
expect 0 "$POPSHIFT" compile $low/espcn/espcn_subpixel_w4a4.onnx -o m.c --certificate m.json
expect 0 "$CERTIFY" m.json
says out '^3 of 3 functions proved'
says out '^not covered: 0 levels'
