#!/usr/bin/env bash
# A Debian 12 that compiles for arm64, and an emulator to run what comes of it: root.sh FOLDER makes it in FOLDER, unless it
# is there, and prints its path. It has what packaging/deb/debian/control names, of arm64, so that this machine's dpkg need
# know no other architecture. Needs root, mmdebstrap, and the mirrors that apt knows here. Remove FOLDER to have newer packages.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
suite=bookworm
recipe=1 # another number: made anew
[ $# = 1 ] || { echo "usage: root.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(readlink -f "$1")

# Libraries and pkg-config of the other architecture, tools of this one.
wanted=$(sed -n '/^Build-Depends:/,/^[^ ]/s/^ \([a-z0-9.+-]*\).*/\1/p' "$here/../deb/debian/control" |
  sed -E '/-dev$|^pkg-config$/s/$/:arm64/')
wanted="$wanted build-essential crossbuild-essential-arm64 dpkg-dev ccache rpm cpio zstd qemu-user-static"
key=$(printf '%s\n' "$recipe" "$suite" "$wanted" | sha256sum | cut -c 1-16)
root=$folder/arm64-$key

[ -d "$root" ] || [ "$(id -u)" = 0 ] || { echo "root.sh: needs root to make a root folder" >&2; exit 1; }
exec 9>"$folder/lock"
flock 9
if [ ! -d "$root" ]; then
  echo "making a root that compiles for arm64" >&2
  # shellcheck disable=SC2016 # apt's own words
  sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    grep -E "^deb [^ ]+ $suite(-updates|-security)? main\$" | sort -u)
  [ -n "$sources" ] || { echo "root.sh: apt knows no mirror of $suite here: apt-get update" >&2; exit 1; }
  rm -rf "$folder/new" "$folder"/arm64-*
  # Lists of packages stay, so that apt can say what a package needs. Of emulators one is enough.
  # shellcheck disable=SC2016,SC2086
  mmdebstrap --quiet --variant=minbase --architectures=amd64,arm64 --skip=cleanup/apt --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include="$(echo $wanted | tr ' ' ,)" \
    --customize-hook='chroot "$1" apt-get clean' \
    --customize-hook='find "$1/usr/bin" -name "qemu-*-static" ! -name qemu-aarch64-static -delete' \
    --customize-hook='mkdir "$1/source" "$1/out" "$1/ccache"' \
    "$suite" "$folder/new" - <<<"$sources" >&2
  mv "$folder/new" "$root"
fi
printf '%s\n' "$root"
