#!/bin/sh
# user.sh FOLDER MACHINE: the steps of a user of what is in FOLDER, with the C compiler, Go and Python of this system: the relocatable
# archive, the Debian packages, the wheels. Run in a system of its own, in which /src is the tree, by tests/platforms/arm64.sh.
set -eu
made=$1 machine=$2
work=$(mktemp -d)
cd "$work"
test "$(uname -m)" = "$machine"
# shellcheck source=tests/support/passes.sh
. /src/tests/support/passes.sh
about() { grep -m 1 -o 'token .* left$\|[0-9]* passed.*' "$work/log" | sed 's/^/: /'; }

got_a_token() { grep -q '^token  *[0-9a-f].* generation [0-9]* ' said && grep -q '^wallet  *HTTP 200 ' said; }
# Runs a program against the emulator.
runs() { "./$1" >said && cat said && got_a_token; }
shared() { readelf --dynamic "$1" | grep 'NEEDED.*\[libpaymentsgate_auth\.so\.1\]'; }
alone() { ! readelf --dynamic "$1" | grep 'NEEDED.*paymentsgate'; }
whole() { ! readelf --program-headers "$1" | grep INTERP; }

# A C program of a session, with what pkg-config says.
compile() { program=$1; shift; cc -std=c99 -O1 -Wall -Wextra -Wpedantic -Werror /src/examples/c/session.c "$@" -o "$program"; }
# shellcheck disable=SC2046 # flags are words
c_shared() { compile c_shared $(pkg-config --cflags --libs paymentsgate_auth) && runs c_shared && shared c_shared; }
# As docs/c.md says.
# shellcheck disable=SC2046
c_archive() {
    compile c_archive $(pkg-config --cflags paymentsgate_auth) -l:libpaymentsgate_auth.a \
        $(pkg-config --static --libs paymentsgate_auth | sed 's/-lpaymentsgate_auth//') && runs c_archive && alone c_archive
}
# shellcheck disable=SC2046
c_static() { compile c_static -static $(pkg-config --static --cflags --libs paymentsgate_auth) && runs c_static && whole c_static; }
# Go finds the library and the headers where the Debian packages have them.
go_program() { # tags
    (cd /src/examples/go && GOPROXY=off GOFLAGS=-buildvcs=false go build -tags "$1" -o "$work/go_program" ./session) && runs go_program
}
go_shared() { go_program '' && shared go_program; }
go_archive() { go_program pgauth_static && alone go_program; }

# The command line and the emulator.
programs_run() { # folder
    "$1/paymentsgate-auth" --version | grep '^paymentsgate-auth [0-9]' && "$1/pg-sandbox" --version | grep '^pg-sandbox [0-9]'
}
archive_is_unpacked() { mkdir unpacked && tar -xzf "$made"/paymentsgate-auth-*-"$machine"-unknown-linux-gnu.tar.gz -C unpacked --strip-components=1; }
packages_are_installed() {
    dpkg --install "$made"/*.deb &&
        for package in libpaymentsgate-auth1 libpaymentsgate-auth-dev paymentsgate-auth; do
            test "$(dpkg-query --show --showformat='${db:Status-Status}' $package)" = installed || return 1
        done
}
packages_are_removed() {
    dpkg --purge libpaymentsgate-auth-dev libpaymentsgate-auth1 paymentsgate-auth && ! find /usr -name '*paymentsgate*' | grep .
}

# With the pip that venv would install, which takes minutes here.
wheels_are_installed() {
    python3 -m venv --system-site-packages --without-pip venv &&
        venv/bin/python "$(echo /usr/share/python-wheels/pip-*.whl)/pip" install --no-index --no-deps --no-compile "$made"/*.whl
}
python_program() {
    venv/bin/python -I /src/tests/platforms/wheel_user.py >said && cat said &&
        grep "^$work/venv/.*/libpaymentsgate_auth\.so\.1$" said
}
# Those that judge no time, with the emulator of the wheel: on this kind of machine too.
python_tests() {
    tests=/src/bindings/python/tests
    env -u PAYMENTSGATE_BASE_URL -u PAYMENTSGATE_CREDENTIALS_FILE -u PAYMENTSGATE_TLS_CA_FILE PYTHONDONTWRITEBYTECODE=1 \
        PAYMENTSGATE_AUTH_LIB="$(echo "$work"/venv/lib/python3*/site-packages/paymentsgate_auth/libpaymentsgate_auth.so.1)" \
        PG_SANDBOX="$work/venv/bin/pg-sandbox" venv/bin/python -m pytest -q -p no:cacheprovider \
        -c /dev/null --rootdir "$work" -o pythonpath=/src/tests/support -W error \
        $tests/test_client.py::test_a_pair_is_issued_and_refreshed_and_works \
        $tests/test_client.py::test_the_environment_is_python_s_copy \
        $tests/test_client.py::test_settings_override_the_environment \
        $tests/test_session.py::test_one_call_obtains_a_working_token \
        $tests/test_session.py::test_forty_threads_at_the_start_share_one_issue \
        $tests/test_session.py::test_a_token_that_is_refused_is_replaced_once \
        $tests/test_session.py::test_a_new_key_recovers_a_session \
        $tests/test_session.py::test_invalid_credentials_are_refused \
        $tests/test_session.py::test_health $tests/test_session.py::test_metrics \
        $tests/test_request.py::test_a_read_with_the_session_s_token \
        $tests/test_token_cache.py
}

# This system may have been left in the middle.
passes 'nothing is installed' packages_are_removed

passes 'archive: unpack' archive_is_unpacked
export LD_LIBRARY_PATH="$work/unpacked/lib" PKG_CONFIG_PATH="$work/unpacked/lib/pkgconfig"
passes 'archive: the programs' programs_run unpacked/bin
passes 'archive: C, shared' c_shared
passes 'archive: C, archive' c_archive
passes 'archive: C, static' c_static
unset LD_LIBRARY_PATH PKG_CONFIG_PATH

passes 'debian: install' packages_are_installed
passes 'debian: the programs' programs_run /usr/bin
passes 'debian: C, shared' c_shared
passes 'debian: C, archive' c_archive
passes 'debian: C, static' c_static
passes 'debian: Go, shared' go_shared
passes 'debian: Go, archive' go_archive
passes 'debian: remove' packages_are_removed

passes 'wheels: install' wheels_are_installed
passes 'wheels: the programs' programs_run venv/bin
passes 'wheels: Python' python_program
passes 'wheels: tests of the Python binding' python_tests
echo "$passed passed, 0 failed: $(uname -m), $(. /etc/os-release && echo "$PRETTY_NAME"), $(python3 --version), $(go version | cut -d ' ' -f 3)"
