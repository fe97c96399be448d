#!/usr/bin/env bash
# The Debian packages that Popshift needs, and how to get them. Sourced by check.sh and demo.sh.
# Build: compiler, CMake, protobuf-c, popt, jansson, libmd, zlib, libzip, libpng and libjpeg-turbo (data files), libyaml, LLVM 19; oneDNN for the trainer; g++ for HLS C simulation; Check.
# Tests besides: compilers and qemu for microcontrollers (35 s to install), clang 19, the ONNX test data (skipped where it cannot be had). Demo besides: Fashion-MNIST.
packages=(gcc g++ cmake ninja-build pkg-config libprotobuf-c-dev protobuf-c-compiler libpopt-dev libjansson-dev
          libmd-dev zlib1g-dev libzip-dev libpng-dev libjpeg62-turbo-dev llvm-19-dev libdnnl-dev libyaml-dev check)
# Training on several machines (-DPOPSHIFT_MPI=ON): libopenmpi-dev openmpi-bin.
# shellcheck disable=SC2034 # of those who source this
test_packages=(clang-19 libonnx-testdata gcc-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf qemu-user)

missing_packages() {
  local p
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"
  done
}

# install_packages YES MORE...: shows which of packages and MORE are missing, asks unless YES is 1, installs.
install_packages() {
  local yes=$1 missing answer='' sudo=
  shift
  mapfile -t missing < <(missing_packages "${packages[@]}" "$@")
  [ ${#missing[@]} -eq 0 ] && { echo "packages: all $((${#packages[@]} + $#)) are installed"; return 0; }
  echo "packages to install: ${missing[*]}"
  if [ "$yes" != 1 ]; then
    read -r -p "install them with apt-get? [y/N] " answer || echo
    case $answer in [yY]*) ;; *) echo "nothing installed"; return 1 ;; esac
  fi
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
}
