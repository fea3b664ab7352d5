#!/bin/sh
# Runs a command in a root of root.sh: run.sh ROOT SOURCE OUT COMMAND... SOURCE is /source there, to be read, OUT is /out.
# What it writes elsewhere is gone afterwards, and there is no network: the root stays as it was made. Needs root.
set -eu
[ $# -ge 4 ] || { echo "usage: run.sh ROOT SOURCE OUT COMMAND..." >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck disable=SC2016
unshare --mount --net --pid --fork --kill-child sh -euc '
  scratch=$1 root=$2 source=$3 out=$4
  shift 4
  mount --make-rprivate /
  mount --bind "$root" "$root"
  mount -o remount,bind,ro "$root"
  mount --bind /dev "$root/dev"
  mount -t proc proc "$root/proc"
  mount --bind "$scratch" "$root/tmp"
  mount --bind "$scratch" "$root/var/tmp"
  mount --bind "$source" "$root/source"
  mount -o remount,bind,ro "$root/source"
  mount --bind "$out" "$root/out"
  if [ -n "${CCACHE_DIR:-}" ]; then
    mkdir -p "$CCACHE_DIR"
    mount --bind "$CCACHE_DIR" "$root/ccache"
  fi
  exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 TZ=UTC SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-}" \
    ${CMAKE_C_COMPILER_LAUNCHER:+CMAKE_C_COMPILER_LAUNCHER="$CMAKE_C_COMPILER_LAUNCHER"} CCACHE_DIR=/ccache \
    ${CCACHE_MAXSIZE:+CCACHE_MAXSIZE="$CCACHE_MAXSIZE"} ${CCACHE_SLOPPINESS:+CCACHE_SLOPPINESS="$CCACHE_SLOPPINESS"} \
    ${HOST_ARCH:+HOST_ARCH="$HOST_ARCH"} chroot "$root" "$@"
' run.sh "$scratch" "$@"
