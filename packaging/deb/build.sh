#!/bin/sh
# Debian packages of a commit: build.sh OUTDIR [COMMIT]. The same commit gives the same bytes. Needs no root, and what
# packaging/deb/debian/control names. From a tree without git: SOURCE_DATE_EPOCH=SECONDS build.sh OUTDIR.
# DEB_VERSION: another version than CMakeLists.txt's. HOST_ARCH=arm64: the packages of that architecture alone, by cross
# compilation, which wants its libraries beside this machine's (packaging/cross).
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname "$(dirname "$here")")
[ $# -ge 1 ] || { echo "usage: build.sh OUTDIR [COMMIT]" >&2; exit 2; }
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd)
commit=${2:-HEAD}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
tree=$work/sekisho
mkdir "$tree"
if [ -e "$top/.git" ]; then
  SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct "$commit")
  git -C "$top" archive "$commit" | tar -x -C "$tree"
elif [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
  (cd "$top" && tar -c --exclude=./build .) | tar -x -C "$tree"
else
  echo "build.sh: $top is no git checkout: set SOURCE_DATE_EPOCH to the time of its sources" >&2
  exit 1
fi
export SOURCE_DATE_EPOCH
cp -r "$tree/packaging/deb/debian" "$tree/debian"

version=${DEB_VERSION:-$(sed -nE 's/^project\(sekisho VERSION ([0-9.]+).*/\1/p' "$tree/CMakeLists.txt")}
[ -n "$version" ] || { echo "build.sh: CMakeLists.txt names no version" >&2; exit 1; }
# For who has CMAKE_C_COMPILER_LAUNCHER=ccache, which does not tell apart where paths are mapped to (debian/rules).
export CCACHE_BASEDIR="$work" CCACHE_NOHASHDIR=1 CCACHE_NAMESPACE="/usr/src/sekisho-$version"
cat >"$tree/debian/changelog" <<CHANGELOG
sekisho ($version) unstable; urgency=medium

  * What is new is in CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' "$tree/debian/control")  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
CHANGELOG

cd "$tree"
export LC_ALL=C.UTF-8 TZ=UTC
if [ -n "${HOST_ARCH:-}" ]; then
  DEB_BUILD_OPTIONS=nocheck dpkg-buildpackage -B -a "$HOST_ARCH" -us -uc -ui
else
  dpkg-buildpackage -b -us -uc -ui
fi
for f in "$work"/*.deb; do
  install -m 644 "$f" "$out/"
  echo "$out/${f##*/}"
done
