#!/bin/sh
# user.sh FOLDER MACHINE: the steps of a user of what is in FOLDER/made, with the C compiler, Go and Python of this system: the relocatable
# archive, the Debian packages, the wheels. Run in a system of its own, in which /src is the tree, by tests/platforms/arm64.sh.
set -eu
work=$1 machine=$2
cd "$work"
test "$(uname -m)" = "$machine"
passed=0

# name command…: one test. Its output is shown only where it fails.
passes() {
    name=$1
    shift
    if ! "$@" >"$work/log" 2>&1; then
        cat "$work/log"
        echo "FAILED: $name ($passed passed before it)"
        exit 1
    fi
    passed=$((passed + 1))
    echo "passed: $name$(grep -m 1 -o 'token .* left$\|[0-9]* passed.*' "$work/log" | sed 's/^/: /')"
}

got_a_token() { grep -q '^token  *[0-9a-f].* generation [0-9]* ' "$1" && grep -q '^wallet  *HTTP 200 ' "$1"; }
# shellcheck disable=SC2046 # flags are words
c_shared() { # options of pkg-config
    cc -std=c99 -O1 -Wall -Wextra -Werror /src/examples/c/session.c $(pkg-config "$@" --cflags --libs paymentsgate_auth) -o shared &&
        ./shared | tee said && got_a_token said && readelf --dynamic shared | grep 'NEEDED.*libpaymentsgate_auth.so.1'
}
# shellcheck disable=SC2046
c_archive() {
    cc -std=c99 -O1 -Wall -Wextra -Werror /src/examples/c/session.c $(pkg-config "$@" --cflags paymentsgate_auth) -l:libpaymentsgate_auth.a \
        $(pkg-config "$@" --static --libs paymentsgate_auth | sed 's/-lpaymentsgate_auth//') -o archive &&
        ./archive | tee said && got_a_token said && ! readelf --dynamic archive | grep 'NEEDED.*paymentsgate'
}
# shellcheck disable=SC2046
c_static() {
    cc -static -std=c99 -O1 /src/examples/c/session.c $(pkg-config --static --cflags --libs paymentsgate_auth) -o static &&
        ./static | tee said && got_a_token said && ! readelf --program-headers static | grep INTERP
}
go_program() { # tags
    (cd /src/examples/go && GOPROXY=off GOFLAGS=-buildvcs=false go build -tags "$1" -o "$work/go_program" ./session) &&
        ./go_program | tee said && grep 'token' said
}
archive_is_unpacked() {
    mkdir unpacked && tar -xzf made/paymentsgate-auth-*-"$machine"-unknown-linux-gnu.tar.gz -C unpacked --strip-components=1 &&
        unpacked/bin/pg-sandbox --version && unpacked/bin/paymentsgate-auth --version
}
command_works() { "$1/paymentsgate-auth" status --json | grep '"phase": *"fresh"'; }
packages_are_installed() { dpkg --install made/*.deb && test "$(dpkg-query --show --showformat='${db:Status-Status}' libpaymentsgate-auth-dev)" = installed; }
packages_are_removed() { dpkg --purge libpaymentsgate-auth-dev libpaymentsgate-auth1 paymentsgate-auth && ! find /usr -name '*paymentsgate*' | grep .; }
wheels_are_installed() { python3 -m venv --system-site-packages venv && venv/bin/pip install --no-index --no-deps made/*.whl; }
# With the emulator of the wheel, on this kind of machine too.
python_tests() {
    library=$(echo venv/lib/python3*/site-packages/paymentsgate_auth/libpaymentsgate_auth.so.1) &&
        PAYMENTSGATE_AUTH_LIB="$work/$library" PG_SANDBOX="$work/venv/bin/pg-sandbox" PYTHONDONTWRITEBYTECODE=1 \
            venv/bin/python -m pytest -q -p no:cacheprovider -c /dev/null --rootdir "$work" -o pythonpath=/src/tests/support -W error \
            /src/bindings/python/tests/test_session.py /src/bindings/python/tests/test_token_cache.py /src/bindings/python/tests/test_client.py
}
python_program() {
    venv/bin/python -I -c 'import paymentsgate_auth as p; s = p.Session.from_env(); t = s.token(timeout=60); assert s.request("GET", "/wallet").status == 200
print("token", t.fingerprint, round(t.remaining), "s left", p.__file__)' | tee said && grep "$work/venv/" said
}

passes 'archive' archive_is_unpacked
export LD_LIBRARY_PATH="$work/unpacked/lib" PKG_CONFIG_PATH="$work/unpacked/lib/pkgconfig"
passes 'archive: C, shared' c_shared
passes 'archive: C, archive' c_archive
passes 'archive: the command line' command_works unpacked/bin
unset LD_LIBRARY_PATH PKG_CONFIG_PATH

passes 'debian: install' packages_are_installed
passes 'debian: C, shared' c_shared
passes 'debian: C, archive' c_archive
passes 'debian: C, static' c_static
passes 'debian: Go, shared' go_program ''
passes 'debian: Go, archive' go_program pgauth_static
passes 'debian: the command line' command_works /usr/bin
passes 'debian: remove' packages_are_removed

passes 'wheels: install' wheels_are_installed
passes 'wheels: Python' python_program
passes 'wheels: the command line' command_works venv/bin
passes 'wheels: tests of the Python binding' python_tests
echo "$passed passed, 0 failed: $(uname -m), $(. /etc/os-release && echo "$PRETTY_NAME"), $(python3 --version), $(go version | cut -d ' ' -f 3)"
