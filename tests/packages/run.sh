#!/bin/sh
# The steps of an outside user: takes the library as installed, archived and packaged, builds programs with it away from
# this tree, and runs them against the emulator (scripts/with-sandbox runs this). Ends at the first failure. With `cargo-c` as
# the third word it takes the library as cargo-c installs it, and nothing else.
set -eu
: "${PAYMENTSGATE_BASE_URL:?run by scripts/with-sandbox}"
version=${1:?the version} dist=${2:?the folder of the archive and the Debian packages} only=${3:-}

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
# These tests must not find the tree that the other tests build against.
unset PKG_CONFIG_PATH LD_LIBRARY_PATH PAYMENTSGATE_AUTH_LIB
# libcurl uses https_proxy, and no proxy reaches this machine's loopback.
export no_proxy=127.0.0.1
warnings='-Wall -Wextra -Wpedantic -Werror'
# shellcheck source=tests/support/passes.sh
. "$root/tests/support/passes.sh"

shared() { readelf -d "$1" | grep -q 'NEEDED.*libpaymentsgate_auth.so.1\]'; }
alone() { ! readelf -d "$1" | grep -q 'NEEDED.*paymentsgate'; }
whole() { ! readelf -l "$1" | grep -q INTERP; }

# Selects the tree: its prefix, and the path for pkg-config.
use() { # prefix libdir options…
    prefix=$1 libdir=$2
    shift 2
    pc_options=$*
    export PKG_CONFIG_LIBDIR="$prefix/$libdir/pkgconfig:$(pkg-config --variable pc_path pkg-config)"
    shop=$(mktemp -d "$work/shop.XXXXXX")
    cp "$root"/tests/packages/outside/* "$root/tests/support/broken_clock.h" "$root"/examples/c/*.c "$root"/examples/cpp/*.cpp "$shop"
}
# shellcheck disable=SC2086 # options are words
pc() { pkg-config $pc_options "$@"; }

# program options… : a session's program, in C or C++, built by pkg-config.
# shellcheck disable=SC2046 # flags are words
c() { program=$1; shift; "${CC:-cc}" -std=c99 $warnings "$shop/session.c" "$@" -o "$shop/$program"; }
cpp() { program=$1; shift; "${CXX:-c++}" -std=c++17 $warnings "$shop/session.cpp" "$@" -o "$shop/$program"; }
# As docs/c.md says.
archive_flags() {
    echo "$(pc --cflags paymentsgate_auth) -l:libpaymentsgate_auth.a $(pc --static --libs paymentsgate_auth | sed 's/-lpaymentsgate_auth//')"
}

# shellcheck disable=SC2046
build_by_pkg_config() {
    test "$(pc --modversion paymentsgate_auth)" = "$version" &&
        c c $(pc --cflags --libs paymentsgate_auth) &&
        cpp cpp $(pc --cflags --libs paymentsgate_auth) &&
        c c_archive $(archive_flags) && cpp cpp_archive $(archive_flags)
}
# shellcheck disable=SC2046
build_static_by_pkg_config() {
    c c_static -static $(pc --static --cflags --libs paymentsgate_auth) &&
        cpp cpp_static -static $(pc --static --cflags --libs paymentsgate_auth)
}

# The archive has the symbols of the reviewed list and no other, so that it may be linked beside another one in Rust.
archive_exports() {
    nm -g --defined-only "$prefix/$libdir/libpaymentsgate_auth.a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort >"$work/exported" &&
        sed '/^#/d' "$root/abi/exports.txt" | LC_ALL=C sort | diff - "$work/exported"
}
# shellcheck disable=SC2046,SC2086
beside_another_archive() {
    other=$work/libother.a
    test -s "$other" || rustc --edition 2024 --crate-type staticlib -C opt-level=2 -o "$other" "$root/tests/packages/outside/other.rs"
    libraries=$(pc --static --libs paymentsgate_auth | sed 's/-lpaymentsgate_auth//')
    for archives in "-l:libpaymentsgate_auth.a $other" "$other -l:libpaymentsgate_auth.a"; do
        for way in '' '-Wl,--gc-sections' '-static'; do
            "${CC:-cc}" -std=c99 $warnings "$shop/beside.c" $(pc --cflags --libs-only-L paymentsgate_auth) $way $archives $libraries \
                -o "$shop/beside" && runs_alone beside alone || return 1
        done
    done
}

build_by_cmake() {
    env -u CC -u CXX cmake -S "$shop" -B "$shop/build" -DCMAKE_PREFIX_PATH="$prefix" -DWANTED="$version" &&
        cmake --build "$shop/build" && mv "$shop"/build/cmake_c* "$shop" &&
        grep -q "PaymentsgateAuth_DIR:PATH=$prefix/" "$shop/build/CMakeCache.txt"
}

# The library as a part of the program's own build, without optimization. Cargo's folder stays, for the next time.
fetched() { # generator
    generated=$shop/fetched_$(echo "$1" | tr -d ' ')
    cmake -G "$1" -S "$root/tests/packages/fetched" -B "$generated" -DCMAKE_BUILD_TYPE=Debug -DSOURCES="$root" \
        -DPROGRAM="$shop/session.c" -DPAYMENTSGATE_AUTH_TARGET_DIR="$target/cmake" &&
        cmake --build "$generated" && "$generated/fetched_c" && shared "$generated/fetched_c" &&
        "$generated/fetched_c_archive" && alone "$generated/fetched_c_archive" &&
        # Nothing is built twice.
        cmake --build "$generated" | tee "$work/second_build" && ! grep 'with cargo' "$work/second_build"
}
# A change of a source or of the lock file is seen.
fetched_depends_on_the_sources() {
    ninja -C "$shop/fetched_Ninja" -t query _deps/paymentsgateauth-build/libpaymentsgate_auth.a >"$work/inputs" &&
        grep "$root/src/lib.rs" "$work/inputs" && grep "$root/Cargo.lock" "$work/inputs"
}
# The page's project, with these sources instead of those of the repository.
fetched_as_the_page_says() {
    page=$shop/page_fetched
    mkdir "$page" && block c.md c 1 >"$page/shop.c" && block c.md cmake 2 >"$page/CMakeLists.txt" &&
        cmake -S "$page" -B "$page/build" -DFETCHCONTENT_SOURCE_DIR_PAYMENTSGATEAUTH="$root" \
            -DPAYMENTSGATE_AUTH_TARGET_DIR="$target/cmake" &&
        cmake --build "$page/build" && "$page/build/shop" | grep 'a token: '
}
# The example with its tests. They find the emulator where the tree has it, and not the one of these tests.
is_tested_by_ctest() {
    rm -rf "$shop/ctest" && cp -R "$root/examples/ctest" "$shop/ctest" && (
        cd "$shop/ctest" && unset CC CXX PAYMENTSGATE_BASE_URL PAYMENTSGATE_CREDENTIALS_FILE PAYMENTSGATE_TLS_CA_FILE &&
            cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" && grep "^PG_SANDBOX:FILEPATH=$prefix/bin/pg-sandbox$" build/CMakeCache.txt &&
            cmake --build build && ctest --test-dir build --output-on-failure --parallel 4 | tee said &&
            grep '100% tests passed, 0 tests failed out of 8' said
    )
}

runs() { LD_LIBRARY_PATH="$prefix/$libdir" "$shop/$1" && "$2" "$shop/$1"; }
# Without the tree.
runs_alone() { "$shop/$1" && "$2" "$shop/$1"; }

is_used_by_pkg_config() { # name
    passes "$1: build with pkg-config" build_by_pkg_config
    for program in c cpp; do passes "$1: $program" runs $program shared; done
    for program in c_archive cpp_archive; do passes "$1: $program" runs_alone $program alone; done
}
is_used() { # name
    is_used_by_pkg_config "$1"
    passes "$1: build static with pkg-config" build_static_by_pkg_config
    for program in c_static cpp_static; do passes "$1: $program" runs_alone $program whole; done
    passes "$1: symbols of the archive" archive_exports
    passes "$1: build with CMake" build_by_cmake
    for program in cmake_c cmake_cpp; do passes "$1: $program" runs $program shared; done
    for program in cmake_c_archive cmake_cpp_archive; do passes "$1: $program" runs_alone $program alone; done
}

# The headers together with libcurl.
# shellcheck disable=SC2046
beside_libcurl() {
    "${CC:-cc}" -std=c99 $warnings "$shop/curl.c" $(pc --cflags --libs paymentsgate_auth libcurl) -o "$shop/curl_c" &&
        after_a_401 curl_c
}

# shellcheck disable=SC2046
beside_libcurl_in_cpp() { # compiler
    for standard in c++17 c++20; do
        "$1" -std=$standard -fno-rtti $warnings "$shop/curl.cpp" $(pc --cflags --libs paymentsgate_auth libcurl) \
            -o "$shop/curl_cpp" && after_a_401 curl_cpp || return 1
    done
}

after_a_401() {
    curl --noproxy '*' -fsS "$PG_SANDBOX_ADMIN/faults" -d '{"route": "wallet", "action": {"kind": "status", "status": 401}}' &&
        LD_LIBRARY_PATH="$prefix/$libdir" "$shop/$1" | tee "$shop/said" && test "$(grep -c '^HTTP' "$shop/said")" = 2
}

# Go, in another module. CGO_LDFLAGS separates the cached builds of the trees.
go_program() { # package tags
    rm -rf "$shop/go" && mkdir "$shop/go" && cp "$1"/*.go "$shop/go/" && (
        cd "$shop/go" && cat >go.mod <<END && cp "$root/bindings/go/pgoauth2/go.sum" . &&
module outside
go 1.24.0
require github.com/paymentsgate-auth/paymentsgate-auth/bindings/go v0.1.0
require github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgoauth2 v0.1.0
require golang.org/x/oauth2 v0.34.0
replace github.com/paymentsgate-auth/paymentsgate-auth/bindings/go => $root/bindings/go
replace github.com/paymentsgate-auth/paymentsgate-auth/bindings/go/pgoauth2 => $root/bindings/go/pgoauth2
END
            CGO_LDFLAGS="-L$prefix/$libdir" go build -tags "$2" -o "$shop/go_program" .)
}
go_shared() { go_program "$root/examples/go/session" '' && runs go_program shared; }
# The example as it is packaged, with the binding's sources that are beside it.
go_as_packaged() { (cd "$1/examples/go" && CGO_CPPFLAGS="-I$prefix/include" CGO_LDFLAGS="-L$prefix/$libdir" go build -o "$shop/go_as_packaged" .); }
go_static() { go_program "$root/examples/go/session" pgauth_static && runs_alone go_program alone; }

# The nth block of a language in a page of docs/.
block() { awk -v lang="$2" -v nth="$3" '$0 == "```" lang { n++; on = n == nth; next } /^```/ { on = 0 } on' "$root/docs/$1"; }
blocks() { grep -c "^\`\`\`$2\$" "$root/docs/$1"; }

# Every command line of a page, in a folder with the page's program, which then runs.
page_of() { # page language file
    (
        mkdir -p "$shop/page_$2" && cd "$shop/page_$2" && block "$1" "$2" 1 >"$3" && export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig" &&
            for nth in $(seq "$(blocks "$1" sh)"); do
                rm -f shop && block "$1" sh "$nth" >commands && sh -eux commands &&
                    LD_LIBRARY_PATH="$prefix/$libdir" ./shop | tee said && grep 'a token: ' said || exit 1
            done &&
            block "$1" cmake 1 >CMakeLists.txt && cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" && cmake --build build &&
            ./build/shop | grep 'a token: '
    )
}
page_of_go() {
    # The first block comes last: the commands of the page build it.
    for nth in $(seq "$(blocks go.md go)" -1 1); do
        mkdir -p "$shop/go_$nth" && block go.md go "$nth" >"$shop/go_$nth/main.go" &&
            gofmt -l "$shop/go_$nth" | (! grep .) && go_program "$shop/go_$nth" '' || return 1
    done
    test -d "$shop/go_2" && runs go_program shared &&
        # Go does not ask pkg-config about a package that it has built before, with a library in another place.
        (cd "$shop/go" && export CGO_CPPFLAGS="-I$prefix/include" &&
            export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig" LD_LIBRARY_PATH="$prefix/$libdir" &&
            for nth in $(seq "$(blocks go.md sh)"); do
                rm -f shop && block go.md sh "$nth" >commands && sh -eux commands && ./shop | grep 'a token: ' || exit 1
            done)
}

# The package as cargo would publish it, so that a missing file is noticed. Without whole-program optimization, which takes a minute.
cargo_cinstall() {
    package="$work/package/paymentsgate-auth-$version"
    (cd "$root" && cargo package --no-verify --allow-dirty --package paymentsgate-auth --target-dir "$work/packaged") &&
        mkdir "$work/package" && tar -xzf "$work/packaged/package/paymentsgate-auth-$version.crate" -C "$work/package" &&
        (cd "$package" && export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 &&
            cargo cinstall --prefix="$work/prefix" --libdir=lib --locked --target-dir "$target/capi")
}
make_install() { make -C "$root" --no-print-directory "$@" DESTDIR= PREFIX="$work/prefix" LIBDIR="$work/prefix/lib"; }
versioned() {
    (cd "$work/prefix/lib" && test -L libpaymentsgate_auth.so && test -L libpaymentsgate_auth.so.1 &&
        test "$(readlink -f libpaymentsgate_auth.so)" = "$(readlink -f libpaymentsgate_auth.so.1)" &&
        readlink -f libpaymentsgate_auth.so | grep 'so\.1\.[0-9.]*$' &&
        readelf -d libpaymentsgate_auth.so | grep 'SONAME.*\[libpaymentsgate_auth.so.1\]')
}
# Each symbol of the reviewed list with the version of the ABI, and no other.
symbols_have_versions() { # library
    readelf --dyn-syms --wide "$1" | awk '$1 ~ /^[0-9]+:$/ && $7 != "UND" { print $8 }' | LC_ALL=C sort >"$work/exported"
    sed '/^#/d; s/$/@@PAYMENTSGATE_AUTH_1/' "$root/abi/exports.txt" | LC_ALL=C sort | diff - "$work/exported"
}
# A library of this name that lacks a function, or the whole ABI: the loader says so before the program runs.
older_library_is_told() { # library
    old=$work/old
    mkdir "$old" && echo 'const char *pg_version(void) { return "0.0.1"; }' >"$old/library.c" &&
        echo 'const char *pg_version(void); unsigned pg_abi_version(void); int main(void) { return !pg_version() + !pg_abi_version(); }' \
            >"$old/program.c" && "${CC:-cc}" -o "$old/program" "$old/program.c" "$1" &&
        LD_LIBRARY_PATH=$(dirname "$1") LD_BIND_NOW=1 "$old/program" || return 1
    for abi in 1 0; do
        echo "PAYMENTSGATE_AUTH_$abi { pg_*; };" >"$old/map"
        "${CC:-cc}" -shared -fPIC -Wl,-soname,libpaymentsgate_auth.so.1 -Wl,--version-script="$old/map" \
            -o "$old/libpaymentsgate_auth.so.1" "$old/library.c" || return 1
        LD_LIBRARY_PATH=$old LD_BIND_NOW=1 "$old/program" 2>"$old/said$abi" && return 1
    done
    grep 'undefined symbol: pg_abi_version, version PAYMENTSGATE_AUTH_1' "$old/said1" &&
        grep "version .PAYMENTSGATE_AUTH_1' not found" "$old/said0"
}
nothing_left() { test -z "$(find "$1" ! -type d)"; }

archive=paymentsgate-auth-$version-$(rustc -vV | sed -n 's/^host: //p')
archive_is_whole() {
    (cd "$dist" && sha256sum --check --strict SHA256SUMS && grep -q "  $archive.tar.gz\$" SHA256SUMS) &&
        tar -xzf "$dist/$archive.tar.gz" -C "$work" && (cd "$work/$archive" && for file in README.md CHANGELOG.md \
            LICENSE-MIT LICENSE-APACHE THIRD-PARTY-NOTICES.txt paymentsgate-auth.cdx.json paymentsgate-auth-cli.cdx.json pg-sandbox.cdx.json docs/c.md \
            include/paymentsgate_auth.h \
            include/paymentsgate_auth.hpp lib/libpaymentsgate_auth.a lib/libpaymentsgate_auth.so \
            lib/pkgconfig/paymentsgate_auth.pc lib/cmake/PaymentsgateAuth/PaymentsgateAuthConfig.cmake; do
            test -s $file || { echo "$file is missing"; exit 1; }
        done) && no_path_of_this_machine "$work/$archive" &&
        grep -q '^ring ' "$work/$archive/THIRD-PARTY-NOTICES.txt" && grep -q '^clap ' "$work/$archive/THIRD-PARTY-NOTICES.txt" &&
        grep -q '"pkg:cargo/ring@' "$work/$archive/paymentsgate-auth.cdx.json" && ! grep 'cargo/clap@' "$work/$archive/paymentsgate-auth.cdx.json" &&
        grep -q '"pkg:cargo/clap@' "$work/$archive/paymentsgate-auth-cli.cdx.json" &&
        grep -q '^axum ' "$work/$archive/THIRD-PARTY-NOTICES.txt" && grep -q '"pkg:cargo/axum@' "$work/$archive/pg-sandbox.cdx.json" &&
        say_what_is_in_them "$work/$archive" "$work/$archive/lib/libpaymentsgate_auth.so" "$work/$archive/bin/paymentsgate-auth" \
            "$work/$archive/bin/pg-sandbox"
}
# folder with bills, library, command, emulator
say_what_is_in_them() {
    "$root/tests/support/audit_data.py" "$2" "$1/paymentsgate-auth.cdx.json" &&
        "$root/tests/support/audit_data.py" "$3" "$1/paymentsgate-auth-cli.cdx.json" &&
        "$root/tests/support/audit_data.py" "$4" "$1/pg-sandbox.cdx.json"
}
# Not in the text of a panic either.
no_path_of_this_machine() { ! grep -rlaF -e "$root/" -e "$HOME/" -e "${CARGO_HOME:-$HOME/.cargo}/" "$1"; }
# Every link of every page leads to what is there, or to another host.
pages_are_linked() { "$root/build/venv/bin/python" "$root/tests/docs/pages.py" "$@"; }
# The emulator by itself, and by the command line, which finds it where it lies.
emulator_is_whole() { # folder
    # shellcheck disable=SC2016 # the program's shell has the variables
    test "$("$1/pg-sandbox" --version)" = "pg-sandbox $version" &&
        PATH=/usr/bin:/bin "$1/paymentsgate-auth" sandbox --switch access_lifetime_s=60 -- \
            sh -c 'curl --noproxy "*" -fsS "$PG_SANDBOX_ADMIN/switches"' | grep '"access_lifetime_s":60'
}
# The command line, the emulator, their manual pages, and what shells complete.
command_line_is_whole() { # prefix zsh's folder
    test "$("$1/bin/paymentsgate-auth" --version)" = "paymentsgate-auth $version" &&
        PAYMENTSGATE_STORE="file:$work/no-session" "$1/bin/paymentsgate-auth" status | grep none &&
        for command in '' -login -token -exec -refresh -status -metrics -doctor -agent -logout -sandbox; do
            gunzip -cf "$1/share/man/man1/paymentsgate-auth$command.1"* | grep -q '^\.TH' || { echo "no page $command"; return 1; }
        done &&
        gunzip -cf "$1/share/man/man1/pg-sandbox.1"* | grep -q '^\.TH' && emulator_is_whole "$1/bin" &&
        bash -c ". '$1/share/bash-completion/completions/paymentsgate-auth' && complete -p paymentsgate-auth" &&
        grep -q doctor "$1/share/fish/vendor_completions.d/paymentsgate-auth.fish" && grep -q '^#compdef' "$1/share/zsh/$2/_paymentsgate-auth"
}
archive_is_reproducible() {
    make -C "$root" --no-print-directory dist DIST="$work/again" && cmp "$dist/$archive.tar.gz" "$work/again/$archive.tar.gz"
}

# The recipes with the archive of this folder instead of the released one.
recipes_of_the_archive() {
    tar -xzf "$dist/paymentsgate-auth-$version-recipes.tar.gz" -C "$work" &&
        mv "$work/paymentsgate-auth-$version-recipes" "$work/recipes" &&
        for file in "$work/recipes/conan/conandata.yml" "$work"/recipes/vcpkg/*/portfile.cmake; do
            sed -i "s|https://github.com/.*/download/v$version|file://$dist|" "$file" && grep "file://$dist" "$file" || return 1
        done
}
conan() { CONAN_HOME=$work/conan env -u CC -u CXX "$root/build/venv-packages/bin/conan" "$@"; }
# Its test builds a program with the package and runs it.
conan_creates() { # shared
    test -e "$work/conan/profiles/default" || conan profile detect || return 1
    conan create "$work/recipes/conan" --no-remote -o "&:shared=$1" -vverbose >"$work/said" 2>&1 || { cat "$work/said"; return 1; }
    cat "$work/said"
    grep "^paymentsgate-auth $version\$" "$work/said" &&
        { [ "$1" = True ] || grep -rl PaymentsgateAuth::paymentsgate_auth_static "$work/recipes/conan/test_package/build"; }
}
conan_refuses_another_machine() {
    ! conan create "$work/recipes/conan" --no-remote -s:h arch=s390x >"$work/said" 2>&1 && grep 'has no archive for Linux on s390x' "$work/said"
}
conan_package_is_whole() { # shared pattern
    package=$(conan cache path "$(conan list --format=compact --filter-options="&:shared=$1" "paymentsgate-auth/$version:*" | grep -o 'paymentsgate-auth/[^ ]*:[^ ]*')") &&
        test "$(cd "$package/lib" && echo *)" = "$2" && test -s "$package/licenses/THIRD-PARTY-NOTICES.txt" &&
        test -s "$package/include/paymentsgate_auth.hpp"
}
# A project finds the port by CMake, as with vcpkg's toolchain file.
vcpkg_installs() {
    case $(uname -m) in x86_64) architecture=x64 ;; aarch64) architecture=arm64 ;; esac
    cmake -D PORT_FOLDER="$work/recipes/vcpkg/paymentsgate-auth" -D WORK="$work/vcpkg" -D ARCHITECTURE="$architecture" \
        -P "$root/tests/packages/vcpkg.cmake"
}

# Also from a checkout with other times.
debs_are_reproducible() {
    touch -d 2020-01-01 "$root/examples/deploy/kubernetes/sidecar.yaml"
    make -C "$root" --no-print-directory deb DIST="$work/debs_again" && for deb in $(debs); do
        cmp "$deb" "$work/debs_again/$(basename "$deb")" || exit 1
    done
}
debs() { ls "$dist"/*paymentsgate-auth*_"${version}"_*.deb; }
# apt accepts the packages on this system as they are: everything that they need can be installed.
# shellcheck disable=SC2046
debs_fit_this_system() { apt-get install --simulate --no-install-recommends $(debs); }
debs_by_lintian() { debs | xargs lintian --allow-root --fail-on error,warning,pedantic --pedantic; }
# Into a root of their own, so that this system stays as it is.
# shellcheck disable=SC2046
install_debs() {
    mkdir -p "$work/deb/var/lib/dpkg/info" "$work/deb/var/lib/dpkg/updates" && : >"$work/deb/var/lib/dpkg/status" &&
        dpkg --root="$work/deb" --force-depends --force-script-chrootless --force-not-root --install $(debs) &&
        find "$work/deb/usr" -name '*.pc' | xargs grep '^prefix=/usr$' && no_path_of_this_machine "$work/deb/usr"
}
notices_in_debs() {
    for package in libpaymentsgate-auth1 libpaymentsgate-auth-dev paymentsgate-auth; do
        zcat "$work/deb/usr/share/doc/$package/THIRD-PARTY-NOTICES.txt.gz" | cmp - "$root/THIRD-PARTY-NOTICES.txt" || return 1
    done
}
# As text: dh_compress must leave them alone.
bills_in_debs() {
    (cd "$work/deb/usr/share/doc" && grep -q '"pkg:cargo/ring@' libpaymentsgate-auth1/paymentsgate-auth.cdx.json &&
        cmp libpaymentsgate-auth1/paymentsgate-auth.cdx.json libpaymentsgate-auth-dev/paymentsgate-auth.cdx.json &&
        grep -q '"pkg:cargo/clap@' paymentsgate-auth/paymentsgate-auth-cli.cdx.json &&
        grep -q '"pkg:cargo/axum@' paymentsgate-auth/pg-sandbox.cdx.json &&
        cp libpaymentsgate-auth1/paymentsgate-auth.cdx.json paymentsgate-auth/*.cdx.json "$work") &&
        say_what_is_in_them "$work" "$work/deb/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/libpaymentsgate_auth.so.1" \
            "$work/deb/usr/bin/paymentsgate-auth" "$work/deb/usr/bin/pg-sandbox"
}
remove_debs() {
    dpkg --root="$work/deb" --force-depends --force-not-root --purge libpaymentsgate-auth-dev libpaymentsgate-auth1 paymentsgate-auth &&
        nothing_left "$work/deb/usr"
}

if [ "$only" = cargo-c ]; then
    passes 'cargo cinstall' cargo_cinstall
    passes 'cargo cinstall: the library has its links' versioned
    use "$work/prefix" lib
    is_used_by_pkg_config 'cargo cinstall'
    echo "$passed passed, 0 failed"
    exit
fi

passes 'cmake: versions' cmake -D TEMPLATE="$root/cmake/PaymentsgateAuthConfigVersion.cmake.in" -D WORK="$work" \
    -P "$root/tests/packages/versions.cmake"

passes 'install' make_install install
passes 'install: the library has its links' versioned
passes 'install: no path of this machine in the static library' no_path_of_this_machine "$work/prefix/lib/libpaymentsgate_auth.a"
passes 'install: the symbols of the library have versions' symbols_have_versions "$work/prefix/lib/libpaymentsgate_auth.so"
passes 'install: the loader tells an older library' older_library_is_told "$work/prefix/lib/libpaymentsgate_auth.so"
passes 'install: the command line' command_line_is_whole "$work/prefix" site-functions
use "$work/prefix" lib
is_used 'install'
passes 'install: beside another archive in Rust' beside_another_archive
passes 'install: ctest' is_tested_by_ctest
passes 'install: libcurl' beside_libcurl
for compiler in g++ clang++; do
    passes "install: libcurl, $compiler, C++17 and C++20 without RTTI" beside_libcurl_in_cpp $compiler
done
passes 'install: go' go_shared
passes 'install: go, static' go_static
for generator in Ninja 'Unix Makefiles'; do passes "FetchContent: $generator" fetched "$generator"; done
passes 'FetchContent: sources' fetched_depends_on_the_sources
passes 'docs: c.md, FetchContent' fetched_as_the_page_says
passes 'docs: c.md' page_of c.md c shop.c
passes 'docs: cpp.md' page_of cpp.md cpp shop.cpp
passes 'docs: go.md' page_of_go
cp -a "$work/prefix" "$work/moved"
passes 'uninstall' make_install uninstall
passes 'uninstall: nothing is left' nothing_left "$work/prefix"
use "$work/moved" lib --define-prefix
is_used 'install, moved'

passes 'archive' archive_is_whole
use "$work/$archive" lib
is_used 'archive'
passes 'archive: beside another archive in Rust' beside_another_archive
passes 'archive: reproducible' archive_is_reproducible
mv "$work/$archive" "$work/elsewhere"
use "$work/elsewhere" lib
passes 'archive, moved: the command line' command_line_is_whole "$work/elsewhere" site-functions
is_used 'archive, moved'
passes 'archive, moved: go, static' go_static
passes 'archive, moved: its own example in Go' go_as_packaged "$prefix"
passes 'archive, moved: links of the pages' pages_are_linked "$prefix"
passes 'archive, moved: ctest' is_tested_by_ctest

passes 'recipes' recipes_of_the_archive
for shared in True False; do passes "conan: shared=$shared" conan_creates $shared; done
passes 'conan: shared=True, files' conan_package_is_whole True 'libpaymentsgate_auth.so libpaymentsgate_auth.so.1 libpaymentsgate_auth.so.1.0.0'
passes 'conan: shared=False, files' conan_package_is_whole False 'libpaymentsgate_auth.a'
passes 'conan: another kind of machine' conan_refuses_another_machine
passes 'vcpkg' vcpkg_installs
use "$work/vcpkg/packages" lib
is_used 'vcpkg'

passes 'debian: fits this system' debs_fit_this_system
passes 'debian: lintian' debs_by_lintian
passes 'debian: install' install_debs
passes 'debian: the licences of others' notices_in_debs
passes 'debian: bills of materials' bills_in_debs
use "$work/deb/usr" "lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)" --define-variable=prefix="$work/deb/usr"
passes 'debian: links of the pages' pages_are_linked "$prefix"/share/doc/*
passes 'debian: its own example in Go' go_as_packaged "$prefix/share/doc/libpaymentsgate-auth-dev"
passes 'debian: the command line' command_line_is_whole "$work/deb/usr" vendor-completions
is_used 'debian'
passes 'debian: beside another archive in Rust' beside_another_archive
passes 'debian: remove' remove_debs
passes 'debian: reproducible' debs_are_reproducible
echo "$passed passed, 0 failed"
