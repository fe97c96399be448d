# tools/demo.sh --quick: what it claims, from another folder, into a folder with a space, with the command under test.
root=$(cd "$TESTS/.." && pwd)
net=$root/docs/first-minute
command -v cc >/dev/null && command -v c++ >/dev/null || skip "cc or c++ is not here"

began=$SECONDS
expect 0 bash "$root/tools/demo.sh" --quick --yes --data /nowhere --out "results here"
[ "$HOSTILE" = 1 ] || [ $((SECONDS - began)) -lt 60 ] || fail "the first minute took $((SECONDS - began)) s"
says out '^\$ .*popshift inspect docs/first-minute/fashion.onnx'
says out '^conv2.* int +[0-9]+ +2 '
says out 'pullover +trouser'
says out '^89 of 100 right: 89.00 %$'
says out 'microseconds an image'
for e in eval nest c jit hls; do grep -q "^$e  *top1: 89.00 %" out || grep -q "jit" <<<"$(grep -o 'E0307.*jit' err)" || fail "no 89 of 100 by $e"; done
says out 'popshift compile yours.onnx'
silent out 'popshift train --recipe trainer/recipes/lenet5-fashion.yaml --data /nowhere'
cp out first
for p in c engines; do cmp "results here/first-minute/$p.predictions" "$net/predictions" || fail "$p predicts other classes"; done
[ "$(cat "$net"/fashion.onnx "$net"/*.idx "$net"/predictions | wc -c)" -lt 200000 ] || fail "network and images are 200 kB or more"

# What it printed can be repeated from the root as it stands, and again into the folder that is there.
sed -n 's/^\$ //p' first >again.sh
says again.sh '^cc -std=c99 -Wall -Wextra -Werror -O3 '
(cd "$root" && sh -e "$OLDPWD/again.sh") >again 2>&1 || { fail "the printed commands do not run again"; tail -3 again; }
says again '^89 of 100 right'

# A network that predicts something else is noticed.
mkdir copy
cp -r "$root/tools" "$root/docs" "$root/trainer" copy/
sed -i '7s/.*/5/' copy/docs/first-minute/predictions
expect 1 bash copy/tools/demo.sh --quick --yes --out other
says out 'predictions.* differ: byte'
silent out 'your own model'

# Wrong use; data that are not there.
expect 2 bash "$root/tools/demo.sh" --fast;            says err "unknown '--fast'"
expect 2 bash "$root/tools/demo.sh" --out;             says err 'needs a folder'
expect 2 bash "$root/tools/demo.sh" --resume nowhere;  says err 'no checkpoint.ckpt'
expect 1 env POPSHIFT=nowhere bash "$root/tools/demo.sh" --quick; says err 'no command'
expect 1 bash "$root/tools/demo.sh" --yes --data nowhere --out third; says err 'dataset-fashion-mnist'
expect 0 bash "$root/tools/demo.sh" --help;            says out '--quick'
