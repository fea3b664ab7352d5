#!/bin/sh
# RPM packages of a commit for Amazon Linux 2023 and RHEL 9, built on Debian 12: build.sh OUTDIR [COMMIT]. The same commit
# gives the same bytes. Needs no root, and what PACKAGE_PACKAGES and BUILD_PACKAGES in `dev` name. From a tree without git:
# SOURCE_DATE_EPOCH=SECONDS build.sh OUTDIR.
#
# HOST_ARCH=arm64: the packages of that architecture (Debian's name) alone, by cross compilation, which wants its libraries
# beside this machine's (packaging/cross).
#
# For tests: RPM_VERSION is another version than CMakeLists.txt's, RPM_FILES a folder with the files of all three packages,
# in place of compiling: packed fast, and without a source package.
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
version=${RPM_VERSION:-$(sed -nE 's/^project\(sekisho VERSION ([0-9.]+).*/\1/p' "$top/CMakeLists.txt")}
[ -n "$version" ] || { echo "build.sh: CMakeLists.txt names no version" >&2; exit 1; }
mkdir -p "$work/rpm/SOURCES"
source=$work/rpm/SOURCES/sekisho-$version.tar.gz
if [ -e "$top/.git" ]; then
  SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct "$commit")
  git -C "$top" -c tar.umask=0022 archive --prefix="sekisho-$version/" "$commit" | gzip -9n >"$source"
elif [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
  (cd "$top" && tar -c --exclude=./build --sort=name --owner=root:0 --group=root:0 --mtime="@$SOURCE_DATE_EPOCH" \
    --transform="s,^\./,sekisho-$version/," .) | gzip -9n >"$source"
else
  echo "build.sh: $top is no git checkout: set SOURCE_DATE_EPOCH to the time of its sources" >&2
  exit 1
fi
export SOURCE_DATE_EPOCH
tar -xzf "$source" --no-same-owner --no-same-permissions -C "$work" --strip-components=3 "sekisho-$version/packaging/rpm"

DEB_BUILD_MAINT_OPTIONS=hardening=+all
# Instead of paths of this build the binaries name where the source package can be unpacked for a debugger. ccache makes
# paths relative, before the compiler maps them: the same bytes with and without it. With relative ones only, GCC would note
# where a file was compiled when it is linked elsewhere (LTO).
home=/usr/src/sekisho-$version
built_in() { # FOLDER
  DEB_BUILD_PATH=$1
  DEB_CFLAGS_MAINT_APPEND="-ffile-prefix-map=$1=$home -ffile-prefix-map=..=$home"
}
built_in "$work/rpm/BUILD/sekisho-$version"
export DEB_BUILD_PATH DEB_BUILD_MAINT_OPTIONS DEB_CFLAGS_MAINT_APPEND
# For who has CMAKE_C_COMPILER_LAUNCHER=ccache, which does not tell maps apart.
export CCACHE_BASEDIR="$work" CCACHE_NOHASHDIR=1 CCACHE_NAMESPACE="$home"
export LC_ALL=C.UTF-8 TZ=UTC
build() { # WHAT OPTION...
  what=$1
  shift
  rpmbuild "$what" --nodeps --load="$work/debian.macros" --define "sekisho_version $version" \
    ${RPM_FILES:+--define "sekisho_files $RPM_FILES" --define "_binary_payload w1.zstdio"} "$@" "$work/sekisho.spec"
}
if [ -n "${HOST_ARCH:-}" ]; then
  # What debian.macros asks dpkg-architecture and dpkg-buildflags for.
  eval "$(dpkg-architecture -f -a "$HOST_ARCH" -s)"
  # rpm forgets what was loaded when it is told another machine, and reads its own files again.
  cp "$work/debian.macros" "$work/.rpmmacros"
  export HOME="$work"
  # shellcheck disable=SC2154 # dpkg-architecture's
  build -bb --define "_topdir $work/rpm" --target "$DEB_HOST_GNU_CPU" --define "sekisho_cross $DEB_HOST_GNU_TYPE"
  rm -f "$work"/rpm/RPMS/noarch/*.rpm
else
  build -bb --define "_topdir $work/rpm"
  # The source package holds the spec as it was read, with all the places that it names: none of this build.
  [ -n "${RPM_FILES:-}" ] || (cd "$work/rpm/SOURCES" && built_in /source && build -bs --define '_topdir /' --define '_sourcedir .' \
    --define '_builddir /' --define '_buildrootdir /' --define '_rpmdir .' --define '_srcrpmdir .')
fi
for f in "$work"/rpm/RPMS/*/*.rpm "$work"/rpm/SOURCES/*.src.rpm; do
  [ -e "$f" ] || continue
  install -m 644 "$f" "$out/"
  echo "$out/${f##*/}"
done
