#!/bin/sh
# threads.sh LIBRARY RUNTIMES: the C programs that use the library in several threads, under ThreadSanitizer, against the library
# that Rust compiled with it in the folder LIBRARY. A process has one runtime of a sanitizer: programs get that of Rust, from the folder
# RUNTIMES, whose functions the compilers of C call by the same names.
set -eu
library=$1 runtimes=$2

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

ln -s "$root/$library/libpaymentsgate_auth.so" "$work/libpaymentsgate_auth.so.1"
runtime=$(ls "$root/$runtimes"/librustc-*_rt.tsan.a)
# Before the release, which make puts there.
export LD_LIBRARY_PATH="$work"
# The library looks for the runtime's functions in the program.
# shellcheck disable=SC2046 # words
build() { # source program
    ${CC:-cc} -std=c11 -g -O1 -fsanitize=thread -I "$root/include" -c "$1" -o "$work/$2.o"
    ${CC:-cc} -pthread -o "$work/$2" "$work/$2.o" "$work/libpaymentsgate_auth.so.1" -Wl,-rpath,"$work" \
        -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -Wl,--export-dynamic $(pkg-config --libs libcurl) -ldl -lm -lrt
}

build "$root/tests/sanitizers/threads.c" threads
if "$work/threads" race >"$work/log" 2>&1 || ! grep -q 'data race' "$work/log"; then
    cat "$work/log"
    echo 'threads.sh: ThreadSanitizer finds no race where there is one' >&2
    exit 1
fi
# session.c wants the account's key too, which `run.sh` has from the emulator's address.
cat >"$work/run" <<'END'
PG_SANDBOX_KEY=$(sed -n 's/.*"public_key": "\([^"]*\)".*/\1/p' "$PAYMENTSGATE_CREDENTIALS_FILE") no_proxy=127.0.0.1 exec "$@"
END
build "$root/tests/c/session.c" session
for program in threads session; do "$root/scripts/with-sandbox" sh "$work/run" "$work/$program"; done
