#!/bin/sh
# instructions.sh PROGRAM: counts all instructions of copying a fresh token. The first thousand calls, with the one that
# waits, are subtracted. valgrind has no membarrier: a real run needs a few instructions less.
set -eu
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

count() {
    valgrind --tool=callgrind --toggle-collect=pg_session_copy_access_token --callgrind-out-file="$work/out" \
        "$program" "$1" >"$work/length" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    sed -n 's/.*Collected : //p' "$work/log"
}

few=$(count 1000)
many=$(count 11000)
echo "$(((many - few) / 10000)) instructions for a copy of $(cat "$work/length")"
