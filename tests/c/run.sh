#!/bin/sh
# The C and C++ tests, against the library installed in $STAGE and the emulator $PG_SANDBOX: as they are, then
# under AddressSanitizer with UBSan and LSan, then under valgrind. Ends at the first failure. `run.sh PROGRAM…` plays those
# programs alone, plain and under the sanitizers.
set -eu
only=$*
: "${STAGE:?give the absolute path of the installed library (make build: build/stage)}"
: "${PG_SANDBOX:?give the absolute path of the emulator (make build: build/pg-sandbox)}"
if ! command -v valgrind >/dev/null; then
    echo 'run.sh: valgrind IS NOT INSTALLED, and without it this proves too little: apt-get install valgrind' >&2
    exit 1
fi

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root/tests/c"
work=$(mktemp -d)
sandbox=''
trap 'test -z "$sandbox" || kill "$sandbox"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

export PKG_CONFIG_PATH="$STAGE/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
# Lazily bound, so that the dynamic linker tells of a function when it is called.
link="$(pkg-config --cflags --libs paymentsgate_auth libcurl sqlite3) -pthread -ldl -Wl,-rpath,$STAGE/lib -Wl,-z,lazy"
warnings='-Wall -Wextra -Wpedantic -Werror'
sanitizers='-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer'
# The library's thread lives as long as the process, by design: what it holds is reachable, and no leak.
# A thread that only computes must not keep the others from running.
memcheck='valgrind --fair-sched=try --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite'
memcheck="$memcheck --suppressions=valgrind.supp --error-exitcode=99"
programs='abi session queue news request store hpp kept example_c example_session_c example_queue_c example_curl_c example_cpp'
programs="$programs example_session_cpp example_curl_cpp unit_test_c unit_test_cpp"
# Those that neither a sanitizer nor valgrind can run.
plain_programs='driving fork fork_session fork_queue fork_store fork_epoch membarrier descriptors streams clocks time_namespace wiped'
# shellcheck source=tests/support/passes.sh
. "$root/tests/support/passes.sh"
# What a program says of itself.
about() { sed -n 's/^ok [a-z]*: \(.*\)/ (\1)/p' "$work/log"; }

# source program options…
# shellcheck disable=SC2086 # lists of options are words
build() {
    source=$1 output=$2
    shift 2
    case $source in
        *.cpp) ${CXX:-c++} -std=c++17 -g $warnings "$@" "$source" -o "$work/$output" $link ;;
        *) ${CC:-cc} -std=c99 -g $warnings "$@" "$source" -o "$work/$output" $link ;;
    esac
}

# program: its source, and options.
source_of() {
    case $1 in
        example_session_cpp) echo ../../examples/cpp/session.cpp ;;
        example_curl_cpp) echo ../../examples/cpp/curl.cpp ;;
        example_cpp) echo ../../examples/cpp/issue_refresh.cpp ;;
        example_c) echo ../../examples/c/issue_refresh.c ;;
        unit_test_c) echo '../../examples/ctest/unit_test.c ../../examples/ctest/wallet.c' ;;
        unit_test_cpp) echo ../../examples/ctest/unit_test.cpp ;;
        example_*_c) name=${1#example_} && echo "../../examples/c/${name%_c}.c" ;;
        sqlite_store) echo ../../examples/c/sqlite_store.c ;;
        driver_*) echo "../behaviours/driver.${1#driver_}" ;;
        hpp | kept) echo "$1.cpp" ;;
        fork) echo 'fork/fork.c -std=c11' ;;
        fork_*) echo "fork/${1#fork_}.c -std=c11" ;;
        abi | session | news | request | store) echo "$1.c" ;;
        *) echo "$1.c -std=c11" ;;
    esac
}

build_program() { # program suffix options…
    made=$1$2 words=$(source_of "$1")
    shift 2
    # shellcheck disable=SC2086 # options are words
    build "${words%% *}" "$made" ${words#"${words%% *}"} "$@"
}

build_all() { # suffix options…
    suffix_of_all=$1
    shift
    for each in $programs sqlite_store driver_c driver_cpp; do build_program "$each" "$suffix_of_all" "$@" || return 1; done
}

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$work/address"; }

start_sandbox() {
    "$PG_SANDBOX" >"$work/address" &
    sandbox=$!
    waits=0
    until [ -s "$work/address" ]; do
        waits=$((waits + 1))
        [ $waits -le 100 ] || { echo "run.sh: $PG_SANDBOX does not start" >&2; exit 1; }
        sleep 0.1
    done
    PAYMENTSGATE_BASE_URL=$(field https)
    PAYMENTSGATE_CREDENTIALS_FILE=$(field credentials_file)
    PAYMENTSGATE_TLS_CA_FILE=$(field ca_file)
    PG_SANDBOX_ADMIN=$(field admin)
    PG_SANDBOX_KEY=$(field public_key)
    # libcurl heeds https_proxy, and no proxy reaches this machine's loopback.
    no_proxy=127.0.0.1
    export PAYMENTSGATE_BASE_URL PAYMENTSGATE_CREDENTIALS_FILE PAYMENTSGATE_TLS_CA_FILE PG_SANDBOX_ADMIN PG_SANDBOX_KEY no_proxy
}

# Text with \n for line ends.
hex() { printf %b "$1" | od -An -v -tx1 | tr -d ' \n'; }

# Play commands through a driver, and compare the statuses that it answers with the first column.
plays() { # driver commands…
    commands=$1
    shift
    cut -f 2- "$commands" >"$work/input"
    cut -f 1 "$commands" | while read -r status; do hex "$status"; echo; done >"$work/wanted"
    "$@" <"$work/input" >"$work/answers" && sed -n 's/^status	//p' "$work/answers" >"$work/found" &&
        diff "$work/wanted" "$work/found"
}

# Eight processes on one database have one token.
share_a_database() { # program
    pids=''
    "$1" "$work/$2.db" check || return 1
    for process in 1 2 3 4 5 6 7 8; do
        "$1" "$work/$2.db" >"$work/token.$process" &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid" || return 1; done
    [ "$(cut -c 1-40 "$work"/token.? | sort -u | wc -l)" = 1 ] && [ "$(cat "$work"/token.? | wc -l)" = 8 ]
}

write_commands() {
    cat >"$work/cpp.commands" <<END
PG_ERR_UNKNOWN_SETTING	set	x$(hex no.such)	x31
PG_ERR_INVALID_SETTING	set	x$(hex user_agent)	x$(hex shop)00
PG_ERR_INVALID_UTF8	set	x$(hex user_agent)	xff
PG_ERR_MISSING_SETTING	client
PG_OK	env
PG_OK	set	x$(hex user_agent)	x$(hex shop/1.0)
PG_OK	client
PG_ERR_TIMEOUT	issue	-	-	0
PG_ERR_INVALID_ARGUMENT	issue	-	-	-2
PG_ERR_INVALID_PEM	issue	x61	x62	-1
PG_OK	issue	-	-	-1
PG_OK	issue	x$(hex "$(field account_id)")	x$(hex "$(field public_key)")	10000
PG_OK	refresh	@access	@refresh	-1
PG_OK	refresh	-	@refresh	10000
PG_ERR_REFUSED	refresh	-	x$(hex no-such-token)	-1
PG_ERR_INVALID_ARGUMENT	refresh	-	x	-1
PG_ERR_INVALID_ARGUMENT	refresh	-	x6100	-1
PG_OK	open
PG_ERR_TIMEOUT	token	0	0
PG_OK	token	-1	0
PG_OK	token	5000	60000
PG_OK	token	0	0
PG_ERR_INVALID_ARGUMENT	token	-2	0
PG_ERR_INVALID_ARGUMENT	token	0	-1
PG_ERR_INVALID_ARGUMENT	reject	0
PG_OK	reject	403
PG_OK	reject	401
PG_OK	token	-1	0
PG_OK	renew	-1
PG_ERR_INVALID_ARGUMENT	renew	-2
PG_ERR_TIMEOUT	renew	0
PG_OK	renew	10000
PG_ERR_INVALID_ARGUMENT	credentials	x$(hex another)	x$(hex "$(field public_key)")
PG_ERR_INVALID_PEM	credentials	x61	x62
PG_OK	credentials	x$(hex "$(field account_id)")	x$(hex "$(field public_key)")
PG_OK	health
PG_OK	open
PG_OK	subscribe	4
PG_OK	token	10000	0
PG_OK	request	x$(hex GET)	x$(hex /wallet)	-	-	-1
PG_OK	request	x$(hex POST)	x$(hex /deals/payin)	x$(hex 'X-Trace\n7')	x$(hex '{}')	10000
PG_OK	request	x$(hex POST)	x$(hex /deals/payin)	-	x	10000
PG_ERR_INVALID_ARGUMENT	request	x$(hex GET)	x$(hex /..)	-	-	-1
PG_ERR_INVALID_ARGUMENT	request	x$(hex GET)	x$(hex /wallet)	x$(hex 'Host\nx')	-	-1
PG_OK	events
PG_OK	issue	-	-	-1
PG_OK	open_pair	@access	@refresh	-
PG_OK	subscribe	0
PG_OK	token	10000	0
PG_OK	events
PG_ERR_INVALID_ARGUMENT	subscribe	5
PG_OK	issue	-	-	-1
PG_OK	open_pair	@access	@refresh	x$(hex 3600)
PG_OK	token	0	0
PG_OK	version
PG_OK	settings
PG_OK	metrics
PG_OK	start	issue	-	-	-1
PG_OK	end
PG_OK	start	refresh	@access	@refresh	-1
PG_OK	end
PG_OK	check_store	memory
PG_ERR_INVALID_ARGUMENT	check_store	forgetful
PG_ERR_STORE	check_store	down
PG_OK	store	memory
PG_OK	open
PG_OK	start	token	-1	0
PG_OK	end
PG_OK	start	renew	-1
PG_OK	end
PG_OK	start	request	x$(hex GET)	x$(hex /wallet)	-	-	-1
PG_OK	end
PG_OK	subscribe	3
END
    cp "$work/cpp.commands" "$work/c.commands"
    for what in set-null-config set-null-name set-null-value client-null-config client-null-out issue-null-client \
        issue-null-out refresh-null-client refresh-null-out refresh-null-refresh session-open-null-client \
        session-open-null-config session-open-null-out session-token-null-session session-token-null-out \
        session-refresh-null-session session-refresh-null-out session-reject-null-token session-health-null-out \
        copy-null-buffer queue-new-null-out queue-fd-null-queue queue-fd-null-out queue-poll-null-queue \
        queue-poll-null-out queue-cancel-null-queue token-start-null-session token-start-null-queue \
        refresh-start-null-session refresh-start-null-queue subscribe-null-session subscribe-null-queue \
        request-null-session request-null-method request-null-path request-null-body request-null-out \
        request-start-null-session request-start-null-queue; do
        printf 'PG_ERR_NULL_POINTER\traw\t%s\n' "$what"
    done >>"$work/c.commands"
    cat >>"$work/c.commands" <<END
PG_ERR_INVALID_ARGUMENT	raw	copy-small-buffer
PG_ERR_UNKNOWN_SETTING	raw	error-out-null
PG_OK	raw	free-nulls
END
    for commands in "$work"/*.commands; do
        cat >>"$commands" <<END
PG_OK	close	-1
PG_OK	events
PG_ERR_CLOSED	token	-1	0
PG_ERR_CLOSED	renew	-1
PG_ERR_CLOSED	request	x$(hex GET)	x$(hex /wallet)	-	-	-1
PG_ERR_CLOSED	reject	401
PG_ERR_CLOSED	health
PG_OK	close	0
END
    done
}

# A tool that does not catch these is not on.
write_broken_program() {
    cat >"$work/broken.c" <<'END'
#include <limits.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    char *volatile room = NULL;
    int volatile most = INT_MAX;
    for (int i = 0; i < 100; i++)
        room = calloc(4, 1);
    switch (arguments[1][0]) {
    case 'o': return room[count + 2];
    case 'u': return most + count == 0;
    default: room = NULL; return 0;
    }
}
END
}

catches() { # words that the tool says, command…
    words=$1
    shift
    ! "$@" >"$work/caught" 2>&1 && grep "$words" "$work/caught"
}

has_asan() { for program in "$work"/*.asan; do nm "$program" | grep -q ' __asan_init' || return 1; done; }

# A library of another ABI: the C++ header must refuse it before anything else.
refuses_another_abi() {
    echo 'unsigned pg_abi_version(void); unsigned pg_abi_version(void) { return 4711; }' >"$work/other.c"
    ${CC:-cc} -shared -fPIC "$work/other.c" -o "$work/other.so" &&
        catches 'ABI 4711' env LD_PRELOAD="$work/other.so" "$work/example_cpp"
}

# What C programs have called, by the dynamic linker's own account: it binds a function at its first call. What stands before
# the program begins was only looked up, as C++ does with all it may call.
every_export_is_called() {
    for account in "$work"/bound.*; do
        sed -n '1,/transferring control/!s/.*binding file .*\/\([^/ ]*\) \[.*libpaymentsgate_auth[^ ]* .*symbol `\(pg_[a-z0-9_]*\).*/\1 \2/p' "$account"
    done | grep -v '^libpaymentsgate_auth' | cut -d ' ' -f 2 | sort -u >"$work/called"
    grep -v '^#' "$root/abi/exports.txt" | sort >"$work/exports"
    test -s "$work/called" && ! comm -13 "$work/called" "$work/exports" | grep .
}
noting_calls() { LD_DEBUG=bindings LD_DEBUG_OUTPUT="$work/bound" "$@"; }

start_sandbox
write_commands
write_broken_program

# shellcheck disable=SC2086 # words
for program in $only; do
    passes "build: $program" build_program "$program" ''
    passes "$program" "$work/$program"
    case " $programs " in
        *" $program "*)
            passes "asan: build: $program" build_program "$program" .asan $sanitizers
            passes "asan: $program" "$work/$program.asan"
            ;;
    esac
done
if [ -n "$only" ]; then
    echo "$passed passed, 0 failed"
    exit
fi

passes 'headers' ./header.sh
passes 'build' build_all ''
for program in $plain_programs; do passes "build: $program" build_program "$program" ''; done
# Not linked with the library: it loads it.
passes 'build: unload' "${CC:-cc}" -std=c99 -g -Wall -Wextra -Werror -I "$STAGE/include" unload.c -ldl -o "$work/unload"
for program in $programs $plain_programs; do
    passes "$program" noting_calls "$work/$program"
done
passes 'sqlite_store' share_a_database "$work/sqlite_store" plain
passes 'unload' "$work/unload" "$STAGE/lib/libpaymentsgate_auth.so.1"
for driver in c cpp; do passes "driver_$driver" plays "$work/$driver.commands" "$work/driver_$driver"; done
passes 'every export is called by a test in C' every_export_is_called
passes 'another ABI is refused' refuses_another_abi

# shellcheck disable=SC2086 # words
passes 'asan: build' build_all .asan $sanitizers
# shellcheck disable=SC2086
passes 'asan: build what is broken' build "$work/broken.c" broken.asan $sanitizers
passes 'asan: it is in every program' has_asan
passes 'asan: it sees an overflow' catches 'AddressSanitizer: heap-buffer-overflow' "$work/broken.asan" o
passes 'asan: UBSan sees a signed overflow' catches 'runtime error: signed integer overflow' "$work/broken.asan" u
passes 'asan: LSan sees a leak' catches 'LeakSanitizer: detected memory leaks' "$work/broken.asan" l
for program in $programs; do passes "asan: $program" "$work/$program.asan"; done
passes 'asan: sqlite_store' share_a_database "$work/sqlite_store.asan" asan
for driver in c cpp; do passes "asan: driver_$driver" plays "$work/$driver.commands" "$work/driver_$driver.asan"; done

passes 'valgrind: build what is broken' build "$work/broken.c" broken
# shellcheck disable=SC2086
{
    passes 'valgrind: it sees an overflow' catches 'Invalid read' $memcheck "$work/broken" o
    passes 'valgrind: it sees a leak' catches 'definitely lost' $memcheck "$work/broken" l
    for program in $programs; do passes "valgrind: $program" $memcheck "$work/$program"; done
    for driver in c cpp; do
        passes "valgrind: driver_$driver" plays "$work/$driver.commands" $memcheck "$work/driver_$driver"
    done
}
echo "$passed passed, 0 failed"
