#!/usr/bin/env bash
# The Debian packages that Popshift needs, and how to get them. Sourced by check.sh.
# Build: compiler, CMake, protobuf-c, popt, jansson, libmd, zlib, LLVM 19; oneDNN and libyaml for the trainer. Tests: Check, clang 19, g++ for HLS C simulation,
# the ONNX test data (skipped where it cannot be had).
packages=(gcc g++ cmake ninja-build pkg-config libprotobuf-c-dev protobuf-c-compiler libpopt-dev libjansson-dev
          libmd-dev zlib1g-dev llvm-19-dev libdnnl-dev libyaml-dev check clang-19 libonnx-testdata)

missing_packages() {
  local p
  for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"
  done
}

# install_packages YES: shows what is missing, asks unless YES is 1, installs.
install_packages() {
  local missing sudo=
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && { echo "packages: all ${#packages[@]} are installed"; return 0; }
  echo "packages to install: ${missing[*]}"
  if [ "$1" != 1 ]; then
    read -r -p "install them with apt-get? [y/N] " answer
    case $answer in [yY]*) ;; *) echo "nothing installed"; return 1 ;; esac
  fi
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -q
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
}
