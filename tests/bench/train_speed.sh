#!/usr/bin/env bash
# Images per second of `popshift train` beside PyTorch's: LeNet5 in float on Fashion-MNIST, same batch, same threads. A benchmark, no test.
#   tests/bench/train_speed.sh [--rounds N] [--epochs N] [--samples N] [--threads 1,2]
# POPSHIFT names the program (default build/release/popshift), POPSHIFT_PYTHON an interpreter that has torch (default /usr/bin/python3,
# Debian: python3-torch, libopenblas0-pthread), DATA the folder of the images.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
popshift=${POPSHIFT:-$root/build/release/popshift}
python=${POPSHIFT_PYTHON:-/usr/bin/python3}
data=${DATA:-/usr/share/datasets/fashion-mnist}
[ -x "$popshift" ] || { echo "$popshift is not built"; exit 77; }
[ -e "$data/train-images-idx3-ubyte.gz" ] || { echo "no Fashion-MNIST in $data (Debian: dataset-fashion-mnist)"; exit 77; }
"$python" -c 'import torch' 2>/dev/null || { echo "$python has no torch (Debian: python3-torch)"; exit 77; }
exec "$python" "$root/tests/bench/train_speed.py" --popshift "$popshift" --recipe "$root/trainer/recipes/lenet5-fashion.yaml" --data "$data" "$@"
