#!/bin/sh
# The Rust tests on other architectures, ARM under qemu and 32-bit x86: run.sh [TARGET…].
# Uses its own Debian in build/, whose Rust has a standard library for each target; so it needs root.
set -eu
if [ "$(id -u)" != 0 ]; then
    echo "test-architectures: makes and enters a Debian of its own, which takes root; try: sudo make test-architectures" >&2
    exit 1
fi
# Mounts in its own namespace, which ends with it.
[ -n "${PG_UNSHARED:-}" ] || PG_UNSHARED=1 exec unshare --mount "$0" "$@"

root=$(cd "$(dirname "$0")/../.." && pwd)
system=$root/build/architectures
archive=http://deb.debian.org/debian

inside() {
    chroot "$system" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        SSL_CERT_FILE=/etc/roots.pem CARGO_HTTP_CAINFO=/etc/roots.pem CARGO_TARGET_DIR=/root/target \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc \
        sh -euc "cd /src && $1"
}

# Debian's name of a target.
debian() {
    case $1 in
        aarch64-*) echo arm64 ;;
        i686-*) echo i386 ;;
        *) echo "test-architectures: $1 is not known; aarch64-unknown-linux-gnu and i686-unknown-linux-gnu are" >&2; exit 2 ;;
    esac
}

# The folder of the last step shows that the system is complete.
make_system() {
    rm -rf --one-file-system "$system"
    debootstrap --variant=minbase trixie "$system" "$archive"
    printf 'deb %s trixie main\ndeb [arch=amd64] %s trixie-backports main\n' $archive $archive \
        >"$system/etc/apt/sources.list"
    chroot "$system" sh -euc '
        dpkg --add-architecture arm64
        dpkg --add-architecture i386
        apt-get update -qq
        apt-get install -yqq --no-install-recommends -t trixie-backports rustc cargo
        apt-get install -yqq --no-install-recommends libc6-dev g++-aarch64-linux-gnu g++-i686-linux-gnu redis-server \
            libc6:arm64 libgcc-s1:arm64 libc6:i386 libgcc-s1:i386'
    mkdir "$system/src"
}

# Extracted from its package, since its installation would add the compiler's libraries for the other architecture.
add_standard_library() {
    version=$(chroot "$system" dpkg-query --show --showformat='${Version}' libstd-rust-dev)
    curl -fsSo "$system/root/std.deb" "$archive/pool/main/r/rustc/libstd-rust-dev_${version}_$(debian "$1").deb"
    chroot "$system" dpkg --extract /root/std.deb /
}

[ -d "$system/src" ] || make_system
cp /etc/resolv.conf /etc/hosts "$system/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$system/etc/roots.pem"
mount --bind "$root" "$system/src"
mount -o remount,bind,ro "$system/src"
mount -t proc proc "$system/proc"
mount --rbind /dev "$system/dev"
mount -t tmpfs tmpfs "$system/tmp"
if [ ! -e /proc/sys/fs/binfmt_misc/register ]; then mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; fi
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then update-binfmts --enable qemu-aarch64; fi

[ $# -gt 0 ] || set -- aarch64-unknown-linux-gnu i686-unknown-linux-gnu
for target in "$@"; do
    [ -d "$system/usr/lib/rustlib/$target" ] || add_standard_library "$target"
    inside "cargo test --locked --no-fail-fast --target $target"
    echo "test-architectures: $target passed"
done
