#!/bin/sh
# musl_python.sh FOLDER PYTHON: installs the wheels in FOLDER with the pip of this system in a CPython for musl, and uses them there. The
# emulator runs beside it (scripts/with-sandbox runs this).
set -eu
: "${PAYMENTSGATE_BASE_URL:?run by scripts/with-sandbox}"
made=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work"
# The library is that of the wheel.
unset PAYMENTSGATE_AUTH_LIB LD_LIBRARY_PATH
export PYTHONDONTWRITEBYTECODE=1
# shellcheck source=tests/support/passes.sh
. "$root/tests/support/passes.sh"
about() { grep -m 1 -o 'token .* left$\|[0-9]* passed.*' "$work/log" | sed 's/^/: /'; }

# Pip runs in that interpreter, and takes no wheel for another libc.
installs() { "$root/build/venv/bin/python" -m pip --python "$python" install --no-index --no-deps --target "$work/installed" "$@"; }
of_musl_are_installed() { installs "$made"/*.whl; }
of_glibc_are_refused() {
    for wheel in "$made"/*.whl; do
        other=$work/$(basename "$wheel" | sed 's/musllinux_1_2/manylinux_2_17/')
        cp "$wheel" "$other"
        ! installs "$other" >refused 2>&1 && grep 'is not a supported wheel on this platform' refused || return 1
    done
}
programs_run() { installed/bin/paymentsgate-auth --version && installed/bin/pg-sandbox --version; }
gets_a_token() {
    PYTHONPATH=installed "$python" -W error "$root/tests/platforms/wheel_user.py" >said && cat said &&
        grep "^$work/installed/paymentsgate_auth/libpaymentsgate_auth\.so\.1$" said && grep 'x86_64-linux-musl/libc\.so$' said &&
        ! grep 'libc\.so\.6' said
}
# Those that need no other packages, with the emulator of the wheel. Four are left out, which need other packages or the module ssl.
python_tests() {
    (
        cd "$root/bindings/python" && env -u PAYMENTSGATE_BASE_URL -u PAYMENTSGATE_CREDENTIALS_FILE -u PAYMENTSGATE_TLS_CA_FILE \
            PAYMENTSGATE_AUTH_LIB="$work/installed/paymentsgate_auth/libpaymentsgate_auth.so.1" PG_SANDBOX="$work/installed/bin/pg-sandbox" \
            PYTHONPATH="$work/installed" "$python" -W error -m pytest -q -p no:cacheprovider -o pythonpath=../../tests/support \
            -k 'not other_than_asyncio and not issued_and_refreshed_and_works and not obtains_a_working_token and not test_metrics' \
            tests/test_client.py tests/test_session.py tests/test_threads.py tests/test_token_cache.py tests/test_request.py \
            tests/test_events.py tests/test_async_session.py
    )
}

passes 'musl: wheels for glibc are refused' of_glibc_are_refused
passes 'musl: the wheels are installed' of_musl_are_installed
passes 'musl: the programs' programs_run
passes 'musl: Python gets a token' gets_a_token
passes 'musl: tests of the Python binding' python_tests
echo "$passed passed, 0 failed: $("$python" --version)"
