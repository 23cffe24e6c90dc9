#!/bin/sh
# bindings.sh LIBRARY RUNTIMES PYTHON: the tests of the Python and the Go binding with the library that Rust compiled with
# ThreadSanitizer, in the folder LIBRARY. A process has one runtime of a sanitizer, and it must be in the program: so Python is
# started by a program that has Rust's, from the folder RUNTIMES, and Go's tests are linked with it. PYTHON has what the tests import.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
library=$root/$1 python=$3
runtime=$(ls "$root/$2"/librustc-*_rt.tsan.a)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
ln -s "$library/libpaymentsgate_auth.so" "$work/libpaymentsgate_auth.so.1"
libraries='-ldl -lm -lrt -lpthread'

# Go ends a process without the sanitizer's say, so it ends at the first report.
export TSAN_OPTIONS=halt_on_error=1

# command…: it must report a race.
finds_a_race() {
    if "$@" >"$work/log" 2>&1 || ! grep -q 'data race' "$work/log"; then
        cat "$work/log"
        echo "bindings.sh: ThreadSanitizer finds no race where there is one: $*" >&2
        exit 1
    fi
}

# ---- Python

about() { "$python" -c "import sysconfig; print($1)"; }
shared=$(about 'sysconfig.get_config_var("LIBDIR") + "/" + (sysconfig.get_config_var("INSTSONAME") or "")')
case $shared in
*.so*)
    cat >"$work/python.c" <<'END'
int Py_BytesMain(int argc, char **argv);

int main(int argc, char **argv)
{
    return Py_BytesMain(argc, argv);
}
END
    # shellcheck disable=SC2086 # words
    ${CC:-cc} -o "$work/python" "$work/python.c" "$shared" -Wl,-rpath,"${shared%/*}" \
        -Wl,--whole-archive "$runtime" -Wl,--no-whole-archive -Wl,--export-dynamic $libraries
    cat >"$work/race.py" <<'END'
import ctypes, threading

memset = ctypes.CDLL(None).memset
memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
block = ctypes.create_string_buffer(1 << 20)


both = threading.Barrier(2)


def write(value: int) -> None:
    both.wait()
    for _ in range(100):
        memset(ctypes.addressof(block), value, len(block))


threads = [threading.Thread(target=write, args=(value,)) for value in (1, 2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
END
    finds_a_race "$work/python" "$work/race.py"
    # In a forked child of a process with threads ThreadSanitizer starts none.
    (cd "$root/bindings/python" && PAYMENTSGATE_AUTH_LIB="$work/libpaymentsgate_auth.so.1" PG_CALLS=100 \
        PYTHONPATH="src:$(about 'sysconfig.get_path("purelib")')" "$work/python" -m pytest -q -p no:cacheprovider -k 'not forked_child' \
        tests/test_threads.py tests/test_session.py tests/test_token_cache.py tests/test_request.py tests/test_events.py \
        tests/test_store.py tests/test_client.py tests/test_async_session.py tests/test_async_client.py)
    ;;
*) echo "bindings.sh: $python has no shared library (CPython's --enable-shared): THE PYTHON BINDING IS NOT RUN" >&2 ;;
esac

# ---- Go

# cgo tells the sanitizer of the orders that goroutines have.
export CGO_CFLAGS='-fsanitize=thread -g -O1'
export CGO_LDFLAGS="$work/libpaymentsgate_auth.so.1 $runtime -Wl,--export-dynamic $libraries"
export LD_LIBRARY_PATH="$work${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
mkdir "$work/race"
cat >"$work/race/main.go" <<'END'
package main

// static int begun;
// static long count;
// static void add(void) {
//     __atomic_add_fetch(&begun, 1, __ATOMIC_RELAXED);
//     while (__atomic_load_n(&begun, __ATOMIC_RELAXED) < 2) { }
//     for (long i = 0; i < 1000000; i++) count += i;
// }
import "C"
import "sync"

func main() {
	var both sync.WaitGroup
	both.Add(2)
	for range 2 {
		go func() {
			defer both.Done()
			C.add()
		}()
	}
	both.Wait()
}
END
(cd "$work/race" && go mod init race >"$work/log" 2>&1 && go build -o race . && finds_a_race ./race)
(cd "$root/bindings/go" && go test -c -o "$work/go_binding" .)
unset CGO_CFLAGS CGO_LDFLAGS
(cd "$root/bindings/go" && "$work/go_binding" -test.count=1 -test.short)
