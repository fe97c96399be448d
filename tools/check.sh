#!/usr/bin/env bash
# Builds Popshift on Debian 12 and runs every test: release, then debug (ASan, UBSan, hostile), then a clang build.
#   tools/check.sh [--yes] [--quick]     --yes: install packages without asking; --quick: release only
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/packages.sh

yes=0 quick=0
for a in "$@"; do
  case $a in
    --yes) yes=1 ;;
    --quick) quick=1 ;;
    *) echo "usage: tools/check.sh [--yes] [--quick]" >&2; exit 2 ;;
  esac
done

jobs=$(nproc)
export CTEST_PARALLEL_LEVEL=$jobs
start=$SECONDS
step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - start)); }

step packages
install_packages $yes "${test_packages[@]}"

step release build
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs"
step release tests
ctest --preset release

if [ $quick = 0 ]; then
  step debug build: sanitizers, hostile
  cmake --preset debug >/dev/null
  cmake --build --preset debug -j "$jobs"
  step debug tests
  ctest --preset debug
  step clang build
  CC=clang-19 cmake -S . -B build/clang -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build build/clang -j "$jobs"
fi
step "all green"
