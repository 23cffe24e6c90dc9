#!/bin/sh
# run.sh SECONDS: what is given to others is built once more, in another folder, with another cargo home, time zone, language, umask
# and user name, and must have the same bytes as what `make test-reproducible` has built here before. SECONDS is the time of the sources.
set -eu
seconds=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d "${TMPDIR:-/tmp}/folder-of-another-length.XXXXXX")
trap 'rm -rf "$copy"' EXIT
trap 'exit 1' INT TERM

# The source distribution takes all that is in the folder of the sources, so nothing else may be there.
mkdir "$copy/sources" "$copy/cargo-home"
git -C "$root" ls-files -z --cached --others --exclude-standard | tar -C "$root" --null --files-from=- -cf - | tar -C "$copy/sources" -xf -
# The downloaded sources, under another name.
ln -s "${CARGO_HOME:-$HOME/.cargo}"/* "$copy/cargo-home"
(
    unset CARGO_TARGET_DIR MAKEFLAGS MAKELEVEL MFLAGS
    umask 027
    cd "$copy/sources"
    export TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 USER=somebody LOGNAME=somebody CARGO_HOME="$copy/cargo-home"
    make --no-print-directory EPOCH="$seconds" library wheel-files dist recipes deb
)

# Both lists, so that a file that only one of them has differs too.
list() { (cd "$1" && sha256sum build/lib/* dist/*.deb dist/*.tar.gz dist/*.whl); }
list "$root" >"$copy/here"
list "$copy/sources" >"$copy/there"
echo 'built here:' && cat "$copy/here"
echo "built in $copy/sources:" && cat "$copy/there"
diff "$copy/here" "$copy/there" >"$copy/differences" || { echo 'test-reproducible: these differ:' && cat "$copy/differences" && exit 1; }
echo "test-reproducible: two builds gave the same bytes, $(wc -l <"$copy/here") files"
