#!/usr/bin/env bash
# Runs one cli test in a scratch folder: run.sh TEST.sh. Functions below are what a test may use.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
failures=0

# skip REASON: the test cannot run here.
skip() { echo "skipped: $*"; exit 77; }
# need FILE: skips where the file is absent.
need() { [ -e "$1" ] || skip "$1 is not here"; }
# fail TEXT: counts a failure and goes on.
fail() { echo "FAIL: $*"; failures=$((failures + 1)); }
# expect RC COMMAND...: runs it with output in out and err; fails where the exit code differs or a signal killed it.
expect() {
  local want=$1 rc=0
  shift
  "$@" >out 2>err </dev/null || rc=$?
  [ "$rc" = "$want" ] || { fail "exit $rc, wanted $want: $*"; tail -5 err; }
}
# says FILE PATTERN: fails where no line of FILE matches the extended regular expression.
says() { grep -Eq -- "$2" "$1" || { fail "no line of $1 matches '$2'"; head -5 "$1"; }; }
# silent FILE PATTERN: fails where a line matches.
silent() { ! grep -Eq -- "$2" "$1" || { fail "a line of $1 matches '$2'"; grep -E -- "$2" "$1" | head -3; }; }

. "$1"
[ $failures -eq 0 ] || { echo "$failures failures"; exit 1; }
