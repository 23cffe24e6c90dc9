#!/bin/sh
# program.sh TARGET STAGE: compiles examples/c/session.c for TARGET against the tree STAGE, once with the shared library and once with the
# archive, and runs both against the emulator (scripts/with-sandbox runs this), under qemu where this is another kind of machine.
set -eu
: "${PAYMENTSGATE_BASE_URL:?run by scripts/with-sandbox}"
target=$1 stage=$2

root=$(cd "$(dirname "$0")/../.." && pwd)
machine=${target%%-*}
libc=${target##*-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export PKG_CONFIG_LIBDIR="$stage/lib/pkgconfig"
unset PKG_CONFIG_PATH LD_LIBRARY_PATH PAYMENTSGATE_AUTH_LIB

compile() { # program flags…
    program=$1
    shift
    "$root/build/venv-wheel/bin/python" -m ziglang cc -target "$machine-linux-$libc" -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror \
        "$root/examples/c/session.c" "$@" -o "$work/$program"
}
runs() { # program
    if [ "$machine" = "$(uname -m)" ]; then
        LD_LIBRARY_PATH="$stage/lib" "$work/$1"
    else
        "qemu-$machine-static" -L "/usr/$machine-linux-gnu" -E LD_LIBRARY_PATH="$stage/lib" "$work/$1"
    fi >"$work/said" 2>&1 || { cat "$work/said"; echo "FAILED: $target: $1 ended with an error"; exit 1; }
    grep -q '^token  *[0-9a-f].* generation [0-9]* ' "$work/said" && grep -q '^wallet  *HTTP 200 ' "$work/said" ||
        { cat "$work/said"; echo "FAILED: $target: $1 got no token"; exit 1; }
    echo "passed: $target: $1: $(grep -m 1 '^token' "$work/said")"
}

# shellcheck disable=SC2046 # flags are words
compile shared $(pkg-config --cflags --libs paymentsgate_auth)
# A compiler with libgcc links that by itself.
# shellcheck disable=SC2046
compile archive $(pkg-config --cflags paymentsgate_auth) "$stage/lib/libpaymentsgate_auth.a" \
    $(pkg-config --static --libs paymentsgate_auth | sed 's/-lpaymentsgate_auth//') -lunwind
readelf --dynamic "$work/shared" | grep -q 'NEEDED.*\[libpaymentsgate_auth\.so\.1\]'
! readelf --dynamic "$work/archive" | grep 'NEEDED.*paymentsgate' || exit 1
runs shared
runs archive
