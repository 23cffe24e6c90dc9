#!/bin/sh
# The library for macOS, compiled and linked on another system; nothing is run: run.sh RUST ZIG, the two folders that
# `make test-macos` makes. zig has the headers and libSystem of macOS, but no frameworks: what needs those stays undefined.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PWD/$1/bin:$PWD/$2/bin:$PATH
export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_unwind
work=$PWD/build/macos
built=$work/target/aarch64-apple-darwin/debug
mkdir -p "$work"

fail() { echo "test-macos: $*" >&2; exit 1; }
same() { [ "$2" = "$3" ] || fail "$1: there is '$2', and '$3' is expected"; }

# All crates but the models, without a warning.
for target in x86_64-apple-darwin aarch64-apple-darwin; do
    cargo-zigbuild clippy --locked --target-dir "$work/target" --target $target --workspace --exclude pg-loom --lib --bins \
        -- --deny warnings
done

# The frameworks that rustc asks for, with nothing in them. One more would not be found.
for framework in Security CoreFoundation; do
    mkdir -p "$work/frameworks/$framework.framework"
    cat > "$work/frameworks/$framework.framework/$framework.tbd" <<TBD
--- !tapi-tbd
tbd-version: 4
targets: [ arm64-macos ]
install-name: '/System/Library/Frameworks/$framework.framework/Versions/A/$framework'
...
TBD
done
cargo-zigbuild rustc --locked --target-dir "$work/target" --target aarch64-apple-darwin --package paymentsgate-auth --lib \
    --crate-type cdylib,staticlib -- -C link-arg=-F"$work/frameworks" -C link-arg=-Wl,-undefined,dynamic_lookup \
    --print native-static-libs 2>&1 | tee "$work/log"

# The tree that users of macOS would install.
rm -rf "$work/stage"
make --no-print-directory place SYSTEM=Darwin DESTDIR= BUILT="$built" PREFIX="$work/stage" LIBDIR="$work/stage/lib" PC_PREFIX="$work/stage"
library=$work/stage/lib/libpaymentsgate_auth.1.0.0.dylib
for link in libpaymentsgate_auth.1.dylib libpaymentsgate_auth.dylib; do
    same "the link $link" "$(readlink -f "$work/stage/lib/$link")" "$library"
done
name=@rpath/libpaymentsgate_auth.1.dylib
same 'the install name' "$(llvm-objdump --macho --dylib-id "$library" | tail -n 1)" $name
llvm-nm --extern-only --defined-only --format=just-symbols "$library" | sed -n 's/^_pg_/pg_/p' | sort > "$work/exports"
sed '/^#/d' abi/exports.txt | sort | cmp - "$work/exports" || fail 'the exports are not those of abi/exports.txt'

# What is not in libSystem is in one of the two frameworks.
llvm-nm --undefined-only --format=darwin "$library" | sed -n 's/^ *(undefined) external \([^ ]*\)$/\1/p' > "$work/undefined"
[ -s "$work/undefined" ] || fail 'no symbol of a framework is found'
if grep -vE '^_k?CF|^_k?Sec|^_(Authorization|CMS|SSL)[A-Z]' "$work/undefined"; then
    fail 'these symbols are in none of Security, CoreFoundation and libSystem'
fi

# A program in C, with the shared library and with the archive.
export PKG_CONFIG_PATH="$work/stage/lib/pkgconfig"
program() { # program NAME FLAGS…
    output=$work/$1
    shift
    python-zig cc -target aarch64-macos -std=c99 -Wall -Wextra -Werror -o "$output" tests/macos/program.c "$@" \
        -F"$work/frameworks" -Wl,-undefined,dynamic_lookup
}
# shellcheck disable=SC2046 # words of the command line
program shared $(pkg-config --cflags --libs paymentsgate_auth)
llvm-objdump --macho --dylibs-used "$work/shared" | grep -qF "$name" || fail 'the program does not name the library'
cp "$built/libpaymentsgate_auth.a" "$work/stage/lib/"
static=$(pkg-config --static --libs-only-l --libs-only-other paymentsgate_auth)
# shellcheck disable=SC2086
program static -I"$work/stage/include" "$work/stage/lib/libpaymentsgate_auth.a" \
    $(printf '%s\n' $static | grep -vxF -e -lpaymentsgate_auth -e -liconv)
! llvm-objdump --macho --dylibs-used "$work/static" | grep -qF libpaymentsgate_auth || fail 'the static program names the library'
wanted=$(sed -n 's/.*native-static-libs: //p' "$work/log" | sed 's/-framework \([A-Za-z]*\)/-Wl,-framework,\1/g; s/-lSystem -lc //')
same 'what the archive links besides' "$(printf '%s\n' $static | grep -vxF -e -lpaymentsgate_auth | tr '\n' ' ')" "$wanted "

echo "test-macos: compiled for two targets, linked for one: $(wc -l < "$work/undefined") symbols of Security and CoreFoundation stay open"
