#!/bin/sh
# instructions.sh PROGRAM: counts all instructions of copying a fresh token. The first thousand calls, with the one that
# waits, are subtracted. valgrind has no membarrier: a real run needs a few instructions less.
set -eu
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count FUNCTION CALLS
count() {
    valgrind --tool=callgrind --toggle-collect="$1" --callgrind-out-file="$work/out" \
        "$program" "$2" >"$work/length" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    sed -n 's/.*Collected : //p' "$work/log"
}

each() {
    few=$(count "$1" 1000)
    many=$(count "$1" 11000)
    echo "$(((many - few) / 10000))"
}

ours=$(each pg_session_copy_access_token)
floor=$(each copy_in_c)
printf 'row\tinstructions of pg_session_copy_access_token, %s\tload, coarse clock, memcpy in C\t\t%s\t%s\t0\t0\n' \
    "$(cat "$work/length")" "$ours" "$floor"
