#!/bin/sh
# Installs the Debian/Ubuntu packages that building and testing need, if any is missing,
# and those named as arguments.
set -eu
packages="gcc g++ make libpopt-dev libjansson-dev libzstd-dev zlib1g-dev libzip-dev
 libdnnl-dev libhts-dev zstd groff-base python3 tabix samtools"

missing=
for p in $packages "$@"; do
    state=$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "make deps: install these, or what your system calls them:$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "make deps: as root, run: apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "make deps: installing$missing"
$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
