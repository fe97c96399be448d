# Programs written by hand: what they do wrong is told with its line, on every engine that runs them, and is no bug of ours.
program() { # program FILE STATEMENT: over x : f32[4], y : f32[4], t : f32[4] (ARENA), i in 0..4; the statement is line 8
  printf '%s\n' 'popshift.program 1' 'program @p index i32 {' '  in x : f32[4] port 0 "x" f32[4]' '  out y : f32[4] port 0 "y" f32[4]' \
    '  arena t : f32[4]' '  nest n1 {' '    for i 0..4 {' "      $2" '    }' '  }' '  run n1' '}' >"$1"
}
for e in nest c jit; do
  program p.ir 'y[i] := x[i]';                  expect 0 "$POPSHIFT" run p.ir --input random:1 --engine $e
  program p.ir 'y[i] := t[i]';                  expect 1 "$POPSHIFT" run p.ir --input random:1 --engine $e
  says err '^p\.ir:8: error E0211: nest n1: t\[0\] is read before it is written'
  program p.ir 'y[i] := y[i]';                  expect 1 "$POPSHIFT" run p.ir --input random:1 --engine $e; says err '^p\.ir:8: error E0211'
  program p.ir 'y[i] := x[add(i, 5)]';          expect 1 "$POPSHIFT" run p.ir --input random:1 --engine $e; says err '^p\.ir:8: error E0211'
  program p.ir 'y[add(i, 1000000000)] := x[i]'; expect 1 "$POPSHIFT" run p.ir --input random:1 --engine $e; says err '^p\.ir:8: error E0211'
  program p.ir 'if lt(i, 3) { y[i] := x[i] }';  expect 1 "$POPSHIFT" run p.ir --input random:1 --engine $e
  says err '^p\.ir: error E0211: program p never writes y\[3\]'
done
program p.ir 'y[i] := z[i]';   expect 1 "$POPSHIFT" opt p.ir -o q.ir; says err '^p\.ir:8: error E0103'
program p.ir 'y[9] := x[i]';   expect 1 "$POPSHIFT" opt p.ir -o q.ir; says err '^p\.ir:8: error E0103'
[ ! -e q.ir ] || fail "a refused program was written"
printf '%s\n' 'popshift.graph 1' 'graph @g(%x: f32[4]) -> (%y: f32[4]) {' '  %0: f32[4] = map add %x, %1' '  %1: f32[4] = map neg %x' \
  '  return %0' '}' >g.ir
expect 1 "$POPSHIFT" run g.ir --input random:1; says err '^g\.ir:3: error E0103: %1 is used before it is defined'
