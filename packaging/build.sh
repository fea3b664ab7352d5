#!/usr/bin/env bash
# Everything that a release consists of, of one commit: build.sh [--arm64 ROOTS] OUTDIR [COMMIT]. DEBs and RPMs, the package for AWS
# Systems Manager Distributor (ssm/), user data (userdata/), CloudFormation templates (cloudformation/), what is in it all
# (sekisho-VERSION.spdx.json) and SHA256SUMS. The same commit gives the same bytes. OUTDIR is replaced when all is done.
#
# With --arm64 also DEBs and RPMs for arm64, cross-compiled in a root that is made in folder ROOTS, and kept there.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
top=$(dirname "$here")
roots=
if [ "${1:-}" = --arm64 ] && [ $# -ge 2 ]; then
  roots=$2
  shift 2
fi
[ $# -ge 1 ] || { echo "usage: build.sh [--arm64 ROOTS] OUTDIR [COMMIT]" >&2; exit 2; }
[ -e "$top/.git" ] || { echo "build.sh: $top is no git checkout" >&2; exit 1; }
out=$(readlink -m "$1")
commit=$(git -C "$top" rev-parse --verify "${2:-HEAD}^{commit}")
if [ -e "$out" ] && [ ! -e "$out/SHA256SUMS" ] && [ -n "$(ls -A "$out")" ]; then
  echo "build.sh: $out holds something else: it would be replaced" >&2
  exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
umask 022
SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
# The rest is made by the scripts of the commit, from its files.
mkdir "$work/tree" "$work/out"
git -C "$top" -c tar.umask=0022 archive "$commit" | tar -x --no-same-owner --no-same-permissions -C "$work/tree"
version=$(sed -nE 's/^project\(sekisho VERSION ([0-9.]+).*/\1/p' "$work/tree/CMakeLists.txt")

say() { printf '== %s\n' "$*"; }

say "DEB"
"$here/deb/build.sh" "$work/out" "$commit"
say "RPM"
"$here/rpm/build.sh" "$work/out" "$commit"
root=
if [ -n "$roots" ]; then
  root=$("$work/tree/packaging/cross/root.sh" "$roots")
  for kind in deb rpm; do
    say "${kind^^} for arm64"
    HOST_ARCH=arm64 "$work/tree/packaging/cross/run.sh" "$root" "$work/tree" "$work/out" "/source/packaging/$kind/build.sh" /out
  done
fi
say "SSM"
"$work/tree/packaging/ssm/build.sh" "$work/out" "$work/out/ssm"
say "user data, CloudFormation"
for kind in userdata cloudformation; do
  [ -d "$work/tree/packaging/$kind" ] || continue
  mkdir "$work/out/$kind"
  find "$work/tree/packaging/$kind" -maxdepth 1 \( -name '*.yaml' -o -name '*.sh' \) -exec install -m 644 {} "$work/out/$kind/" \;
done
say "SBOM, sums"
"$work/tree/packaging/sbom.py" "$work/out" "$work/out/sekisho-$version.spdx.json" ${root:+"$root"}
(cd "$work/out" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >"$work/sums")
mv "$work/sums" "$work/out/SHA256SUMS"
find "$work/out" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$(dirname "$out")"
rm -rf "$out.old" "$out.new"
mv "$work/out" "$out.new"
[ ! -e "$out" ] || mv "$out" "$out.old"
mv "$out.new" "$out"
rm -rf "$out.old"
