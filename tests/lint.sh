#!/usr/bin/env bash
# The rules of the house that a grep can keep: lint.sh ROOT. Prints every breach; exit 1 where there is one.
cd "$1" || exit 2
bad=0
breach() { echo "lint: $*"; bad=1; }

# Rooms (docs/ARCHITECTURE.md): which folders' headers a room's files may include.
declare -A may=(
  [runtime]="runtime" [ir]="ir|runtime" [frontend]="frontend|ir" [passes]="passes|ir"
  [backends/c]="backends/c|ir|runtime" [backends/hls]="backends/hls|backends/c|ir|runtime" [backends/llvm]="backends/llvm|ir|runtime"
  [trainer]="trainer|passes|backends/llvm|ir|runtime" [tools]="tools|trainer|frontend|passes|backends/c|backends/hls|backends/llvm|ir|runtime")
# Third parties, and the rooms or the one file each is for.
declare -A only=(["llvm-c/"]=backends/llvm ["protobuf-c"]=frontend ["popt.h"]=tools ["jansson.h"]="tools|trainer" ["dnnl"]=trainer/onednn.c ["yaml.h"]=ir/doc.c ["sha2.h"]=tools ["zlib.h"]=runtime ["zip.h"]=runtime ["png.h"]=runtime ["jpeglib.h"]=runtime ["check.h"]=tests)
for room in "${!may[@]}"; do
  while IFS=: read -r file line text; do
    path=$(sed -n 's/.*#include "\(.*\)".*/\1/p' <<<"$text")
    case $path in onnx.pb-c.h) [ "$room" = frontend ] && continue ;; esac
    [[ $path =~ ^(${may[$room]})/[^/]*$ ]] || breach "$file:$line: room $room may not include \"$path\""
  done < <(grep -n '#include "' "$room"/*.[ch] /dev/null)
done
for lib in "${!only[@]}"; do
  while read -r file; do
    [[ $file =~ ^(${only[$lib]})(/|$) ]] || breach "$file: <$lib> belongs to ${only[$lib]} only"
  done < <(grep -lE "#include <$lib" --include='*.[ch]' -r runtime ir frontend passes backends trainer tools tests)
done

# No mutable globals: file statics are const, functions, or listed here with a reason.
# tools/main.c: interrupted, the flag that a signal handler sets.
while IFS= read -r hit; do
  case $hit in tools/main.c:*interrupted*) continue ;; esac
  breach "$hit (a mutable static)"
done < <(grep -nE '^static [^(]*;|^static [^(=]*=' -r --include='*.c' runtime ir frontend passes backends trainer tools | grep -vE 'static (inline )?(_Noreturn )?const |\*const |static const|\bconst [a-z_]+(\[|\b.*=)|static (struct|union|enum)? ?[A-Za-z_]+ [a-z_]+\(')

# Long files argue for themselves here.
declare -A long=()
for f in $(git ls-files '*.c' '*.h' 2>/dev/null); do
  n=$(wc -l <"$f")
  [ "$n" -le 800 ] || [ -n "${long[$f]:-}" ] || breach "$f has $n lines"
done

# The project speaks of itself alone, and reads the same everywhere.
while IFS= read -r hit; do breach "$hit"; done < <(grep -nIE '/home/|/root/|/tmp/bash|\bTODO\b|\bFIXME\b|\bXXX\b' -r runtime ir frontend passes backends trainer tools docs README.md CMakeLists.txt --include='*' 2>/dev/null | head)
[ $bad = 0 ] && echo "lint: no breach"
exit $bad
