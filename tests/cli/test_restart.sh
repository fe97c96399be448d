# The state after every pass is a model again, with the same result.
low=$SHARED/data/lowbit/kws
need "$low/kws_w3a3.onnx"
[ "$HOSTILE" = 1 ] && skip "minutes under sanitizers"
expect 0 "$POPSHIFT" opt "$low/kws_w3a3.onnx" --print-after-all -o dumps/
n=$(ls dumps | wc -l)
[ "$n" -ge 16 ] || fail "only $n dumps"
score() { "$POPSHIFT" score "$1" --inputs "$low/inputs_1000.npy" --labels "$low/labels_1000.csv:3" --samples 40 --predictions p.txt --engine "$2"; }
expect 0 score "$low/kws_w3a3.onnx" eval
cp p.txt want.txt
for d in dumps/*.ir; do
  case $(head -c 14 "$d") in
    popshift.graph) expect 0 score "$d" eval; cmp -s p.txt want.txt || fail "$d: eval differs"
                    expect 0 score "$d" nest; cmp -s p.txt want.txt || fail "$d: nest differs" ;;
    *) expect 0 score "$d" nest; cmp -s p.txt want.txt || fail "$d: nest differs"
       expect 0 score "$d" c; cmp -s p.txt want.txt || fail "$d: c differs" ;;
  esac
  expect 0 "$POPSHIFT" opt "$d" -o end.ir
  cp end.ir "end.$(basename "$d")"
done
# From every stage the same program comes out.
for e in end.*.ir; do cmp -s "$e" "$(ls end.*.ir | head -1)" || fail "$e: another final program"; done
