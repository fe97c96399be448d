# Names from a model never become code, and names that become the same identifier are kept apart.
strict="-std=c99 -pedantic -Wall -Wextra -Wconversion -Wsign-conversion -Wcast-qual -Wshadow -Wundef -Wvla -Wdouble-promotion -Wmissing-prototypes -Werror"
for k in tiny nasty clash; do
  "$MKMODEL" $k >$k.onnx
  expect 0 "$POPSHIFT" compile $k.onnx -o $k.c
  for cc in gcc clang-19; do
    command -v $cc >/dev/null || continue
    expect 0 $cc $strict -O2 -c $k.c -o $k.o
  done
  echo "#include \"$k.h\"" >$k.cpp
  expect 0 g++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only $k.cpp
  nm $k.o | awk "{ print \$NF }" | grep -qx injected_fn && fail "$k: the object has an injected symbol"
  bad=$(nm --extern-only --defined-only $k.o | awk '{print $3}' | grep -v "^${k}_")
  [ -z "$bad" ] || fail "$k: symbols without the model's prefix: $bad"
  expect 0 "$POPSHIFT" compile $k.onnx --emit hls,ll -o h_$k
  expect 0 bash -c "cd h_$k && ./csim.sh"
  expect 0 "$POPSHIFT" inspect $k.onnx --html $k.html
  silent $k.html '<script'
  expect 0 "$POPSHIFT" inspect $k.onnx --json
  expect 0 "$POPSHIFT" convert $k.onnx -o $k.svg
  expect 0 "$POPSHIFT" convert $k.onnx -o $k.dot
  expect 0 "$POPSHIFT" convert $k.onnx -o $k.ir
  expect 0 "$POPSHIFT" convert $k.ir -o again.ir
  cmp -s $k.ir again.ir || fail "$k: the graph's text does not print to itself"
  expect 0 "$POPSHIFT" verify $k.onnx --engine all
done
