# The ONNX backend tests that Debian ships, every engine: whatever is read passes, the rest says unsupported, nothing crashes.
node=/usr/share/libonnx-testdata/data/node
need $node
if [ "$HOSTILE" = 1 ]; then expect 0 "$POPSHIFT" verify --suite $node --engine nest
else expect 0 "$POPSHIFT" verify --suite $node --engine all; fi
tail -20 out
says out ' 0 failed'
passed=$(sed -n 's/^\([0-9]*\) passed.*/\1/p' out)
[ "${passed:-0}" -ge 400 ] || fail "only ${passed:-0} tests pass: the suite should reach 400"
