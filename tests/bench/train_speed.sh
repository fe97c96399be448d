#!/usr/bin/env bash
# Images per second of `popshift train` beside PyTorch 2's, eager and torch.compile: LeNet5 and ResNet-20 with quantizers of two bits, same
# batch, same threads, random pixels. A benchmark, no test.
#   tests/bench/train_speed.sh [--rounds N] [--steps N] [--threads 1,2] [--nets lenet5,resnet20] [--float] [--channels-last] [--no-compile]
# POPSHIFT names the program (default build/release/popshift), POPSHIFT_PYTHON an interpreter that has torch (default python3; torch.compile
# also wants a C++ compiler).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
popshift=${POPSHIFT:-$root/build/release/popshift}
python=${POPSHIFT_PYTHON:-python3}
[ -x "$popshift" ] || { echo "$popshift is not built"; exit 77; }
"$python" -c 'import torch; assert int(torch.__version__.split(".")[0]) >= 2' 2>/dev/null || { echo "$python has no torch 2 (pip install torch)"; exit 77; }
exec "$python" "$root/tests/bench/train_speed.py" --popshift "$popshift" "$@"
