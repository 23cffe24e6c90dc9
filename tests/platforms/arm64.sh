#!/bin/sh
# arm64.sh FOLDER: installs what `make wheel dist deb` made for ARM in FOLDER in an ARM Debian, under qemu, and uses it there
# (tests/platforms/user.sh). The emulator runs here (scripts/with-sandbox runs this). Uses its own Debian in build/; so it needs root.
set -eu
: "${PAYMENTSGATE_BASE_URL:?run by scripts/with-sandbox}"
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "test-arm64: makes and enters a Debian of its own, which takes root or sudo" >&2; exit 1; }
    exec sudo --preserve-env "$0" "$@"
fi
# Mounts in its own namespace, which ends with it.
[ -n "${PG_UNSHARED:-}" ] || PG_UNSHARED=1 exec unshare --mount "$0" "$@"

root=$(cd "$(dirname "$0")/../.." && pwd)
system=$root/build/arm64
packages=gcc,libc6-dev,pkgconf,golang-go,python3-venv,python3-pytest,python3-prometheus-client

[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64

# The folder of the last step shows that the system is complete.
if [ ! -d "$system/src" ]; then
    rm -rf --one-file-system "$system"
    debootstrap --arch=arm64 --variant=minbase --include=$packages trixie "$system" http://deb.debian.org/debian
    rm -rf "$system"/var/cache/apt/archives/*.deb
    mkdir "$system/src"
fi

rm -rf "$system/root/work"
mkdir "$system/root/work"
cp "$PAYMENTSGATE_CREDENTIALS_FILE" "$system/root/work/credentials.json"
cp "$PAYMENTSGATE_TLS_CA_FILE" "$system/root/work/authority.pem"
cp -R "$1" "$system/root/work/made"
mount --bind "$root" "$system/src"
mount -o remount,bind,ro "$system/src"
mount -t proc proc "$system/proc"
mount --rbind /dev "$system/dev"
mount -t tmpfs tmpfs "$system/tmp"

chroot "$system" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PAYMENTSGATE_BASE_URL="$PAYMENTSGATE_BASE_URL" \
    PAYMENTSGATE_CREDENTIALS_FILE=/root/work/credentials.json PAYMENTSGATE_TLS_CA_FILE=/root/work/authority.pem \
    sh /src/tests/platforms/user.sh /root/work aarch64
