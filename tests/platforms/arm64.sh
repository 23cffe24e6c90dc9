#!/bin/sh
# arm64.sh FOLDER: installs what `make wheel dist deb` made for ARM in FOLDER in an ARM Debian, under qemu, and uses it there
# (tests/platforms/user.sh). The emulator runs here (scripts/with-sandbox runs this). Uses its own Debian in build/; so it needs root.
set -eu
: "${PAYMENTSGATE_BASE_URL:?run by scripts/with-sandbox}"
if [ "$(id -u)" != 0 ]; then
    echo "test-arm64: makes and enters a Debian of its own, which takes root; try: sudo make test-arm64" >&2
    exit 1
fi
# Mounts in its own namespace, which ends with it.
[ -n "${PG_UNSHARED:-}" ] || PG_UNSHARED=1 exec unshare --mount "$0" "$@"

root=$(cd "$(dirname "$0")/../.." && pwd)
made=$1
system=$root/build/arm64
packages='gcc libc6-dev pkgconf golang-go python3-venv python3-pytest python3-prometheus-client'

[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64

inside() {
    chroot "$system" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PAYMENTSGATE_BASE_URL="$PAYMENTSGATE_BASE_URL" PAYMENTSGATE_CREDENTIALS_FILE=/tmp/credentials.json \
        PAYMENTSGATE_TLS_CA_FILE=/tmp/authority.pem "$@"
}

# The folder of the last step shows that the system is complete. Cargo, which reads the whole tree, would follow the link.
if [ ! -d "$system/src" ]; then
    rm -rf --one-file-system "$system"
    debootstrap --arch=arm64 --variant=minbase trixie "$system" http://deb.debian.org/debian
    rm -f "$system/dev/fd"
    mkdir "$system/src"
fi
mount --bind "$root" "$system/src"
mount -o remount,bind,ro "$system/src"
mount --bind "$made" "$system/mnt"
mount -o remount,bind,ro "$system/mnt"
mount -t proc proc "$system/proc"
mount --rbind /dev "$system/dev"
mount -t tmpfs tmpfs "$system/tmp"
if [ "$(cat "$system/packages" 2>/dev/null)" != "$packages" ]; then
    cp /etc/resolv.conf /etc/hosts "$system/etc/"
    inside apt-get update -qq
    # shellcheck disable=SC2086 # packages are words
    inside apt-get install -yqq --no-install-recommends $packages >/dev/null
    inside apt-get clean
    echo "$packages" >"$system/packages"
fi

cp "$PAYMENTSGATE_CREDENTIALS_FILE" "$system/tmp/credentials.json"
cp "$PAYMENTSGATE_TLS_CA_FILE" "$system/tmp/authority.pem"
inside sh /src/tests/platforms/user.sh /mnt aarch64
