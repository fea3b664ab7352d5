# shellcheck shell=sh
# Shared by install.sh, update.sh and uninstall.sh, which lie beside it in the unpacked package. The SSM agent runs them
# as root with `sh`: POSIX only. It tells the platform in BWS_...; additional arguments arrive as SSM_...
# Exit codes: 2 an argument is wrong or missing, 3 wrong platform or architecture, 4 the package manager failed,
# 5 the host could not enrol, 6 the service does not start. Never 194: that asks the SSM agent for a reboot.

BAD_ARGUMENT=2 BAD_PLATFORM=3 BAD_PACKAGE=4 BAD_ENROLMENT=5 BAD_START=6

CONFIG=/etc/sekisho STATE=/var/lib/sekisho LOGS=/var/log/sekisho
SERVICE=sekisho.service
LOG=
ENROLLED=yes

say() { printf 'sekisho: %s\n' "$*"; }

fail() { # CODE TEXT
  code=$1
  shift
  printf 'sekisho: %s\n' "$*" >&2
  exit "$code"
}

# The SSM agent shows the first 2,500 characters only: what commands say goes to a file, and its end is shown when they fail.
quietly() {
  [ -n "$LOG" ] || LOG=$(mktemp "${TMPDIR:-/tmp}/sekisho-ssm.XXXXXX") || fail "$BAD_PACKAGE" "no room for a log in ${TMPDIR:-/tmp}"
  trap 'rm -f "$LOG"' EXIT
  "$@" >"$LOG" 2>&1
}

show_log() {
  tail -n 15 "$LOG" | cut -c 1-160 >&2
}

# --- which packages ---

# packages.txt, made with the zip: ARCHITECTURE NAME VERSION FILE SHA256. `any` is for all architectures.
choose_packages() {
  [ -f packages.txt ] || fail "$BAD_PLATFORM" "packages.txt is not here: run this in the folder of the unpacked package"
  case ${BWS_ARCHITECTURE:-$(uname -m)} in
    x86_64 | amd64) ARCH=x86_64 ;;
    arm64 | aarch64) ARCH=arm64 ;;
    *) fail "$BAD_PLATFORM" "there is no package for architecture ${BWS_ARCHITECTURE:-$(uname -m)}" ;;
  esac
  FILES='' MAIN_VERSION='' FORM=''
  while read -r arch name version file sum; do
    [ "$arch" = "$ARCH" ] || [ "$arch" = any ] || continue
    [ "$(sha256sum <"$file" | cut -d ' ' -f 1)" = "$sum" ] ||
      fail "$BAD_PACKAGE" "$file is not what it was when it was packed: SHA-256 is wrong"
    FILES="$FILES ./$file"
    FORM=${file##*.}
    [ "$name" != sekisho ] || MAIN_VERSION=$version
  done <packages.txt
  [ -n "$MAIN_VERSION" ] || fail "$BAD_PLATFORM" "this package has nothing for architecture $ARCH"
}

# For uninstall.sh, which is also run where choosing would fail.
find_form() {
  FORM=$(sed -n '1s/.*\.\(deb\|rpm\) .*/\1/p' packages.txt)
  [ -n "$FORM" ] || fail "$BAD_PLATFORM" "packages.txt names no package"
}

check_platform() {
  case $FORM in
    deb) manager=apt-get ;;
    *) manager=dnf ;;
  esac
  command -v "$manager" >/dev/null ||
    fail "$BAD_PLATFORM" "this is the package for $FORM, and ${BWS_PLATFORM_NAME:-this host} ${BWS_PLATFORM_VERSION:-} has no $manager"
}

installed_version() { # PACKAGE; nothing when it is not installed
  if [ "$FORM" = deb ]; then
    # shellcheck disable=SC2016
    dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null | sed -n 's/^installed //p'
  else
    rpm -q --qf '%{VERSION}-%{RELEASE}\n' "$1" 2>/dev/null | grep -v ' ' || :
  fi
}

# --- package manager ---

apt() {
  quietly env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@"
}

install_files() {
  # shellcheck disable=SC2086 # one word a file
  if [ "$FORM" = deb ]; then
    apt install --no-install-recommends --allow-downgrades $FILES || # perhaps dependencies are not known yet
      { apt update && apt install --no-install-recommends --allow-downgrades $FILES; }
  else
    quietly dnf -y install $FILES && { [ "$(installed_version sekisho)" = "$MAIN_VERSION" ] || quietly dnf -y downgrade $FILES; }
  fi
}

install_packages() {
  was=$(installed_version sekisho)
  if ! install_files; then
    show_log
    fail "$BAD_PACKAGE" "the package manager could not install version $MAIN_VERSION"
  fi
  is=$(installed_version sekisho)
  [ "$is" = "$MAIN_VERSION" ] || fail "$BAD_PACKAGE" "version ${is:-none} is installed, and $MAIN_VERSION should be"
  if [ "$was" = "$is" ]; then say "version $is was installed already"; else say "version $is is installed${was:+, before it $was}"; fi
}

is_known() { # PACKAGE: installed, or removed with its configuration left
  if [ "$FORM" = deb ]; then
    # shellcheck disable=SC2016
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx 'installed\|config-files\|half-.*\|unpacked'
  else
    [ -n "$(installed_version "$1")" ]
  fi
}

remove_packages() { # remove or purge
  there=
  for name in sekisho sekisho-rules; do
    if [ "$1" = purge ] && is_known "$name" || [ -n "$(installed_version "$name")" ]; then there="$there $name"; fi
  done
  # shellcheck disable=SC2086
  if [ -z "$there" ]; then
    say "nothing is installed"
  elif [ "$FORM" = deb ]; then
    apt "$1" $there
  else
    quietly dnf -y remove $there
  fi || {
    show_log
    fail "$BAD_PACKAGE" "the package manager could not remove$there"
  }
}

# Of this host's agent alone: a manager on the same host keeps its own.
remove_traces() {
  if command -v nft >/dev/null && nft list table inet sekisho >/dev/null 2>&1; then nft delete table inet sekisho; fi
  rm -f "$CONFIG"/drain.conf "$CONFIG"/sekisho.yaml "$CONFIG"/sekisho.yaml.rpmsave "$CONFIG"/sekisho.yaml.dpkg-*
  rm -rf "$STATE" "$LOGS"
  rmdir "$CONFIG" 2>/dev/null || :
}

# --- arguments ---

check_arguments() {
  [ -z "${SSM_SEKISHO_TOKEN:-}" ] ||
    fail "$BAD_ARGUMENT" "SSM_SEKISHO_TOKEN: a token's secret would be in Systems Manager's history; put it into a parameter and give its name, SSM_SEKISHO_TOKEN_PARAMETER"
  for value in "${SSM_SEKISHO_TOKEN_PARAMETER:-}" "${SSM_SEKISHO_TOKEN_SECRET:-}" "${SSM_SEKISHO_CA_PARAMETER:-}"; do
    case $value in
      *[!A-Za-z0-9_./:@+=-]* | -*)
        fail "$BAD_ARGUMENT" "SSM_SEKISHO_TOKEN_PARAMETER, SSM_SEKISHO_TOKEN_SECRET and SSM_SEKISHO_CA_PARAMETER want a name" ;;
    esac
  done
  case ${SSM_SEKISHO_CA_FINGERPRINT:-} in
    *[!0-9A-Fa-f:]*) fail "$BAD_ARGUMENT" "SSM_SEKISHO_CA_FINGERPRINT wants what \`sekisho-manager ca show\` prints" ;;
  esac
  case ${SSM_SEKISHO_LIFECYCLE_HOOK:-} in
    *[!A-Za-z0-9/_-]*) fail "$BAD_ARGUMENT" "SSM_SEKISHO_LIFECYCLE_HOOK is no name of a lifecycle hook" ;;
  esac
  case ${SSM_SEKISHO_RETRY:-2m} in
    *[!0-9smh]* | [!0-9]*) fail "$BAD_ARGUMENT" "SSM_SEKISHO_RETRY wants a time as 90s, 10m or 1h" ;;
  esac
  case ${SSM_SEKISHO_MANAGER:-} in
    '') return 0 ;;
    https://*) ;;
    *) fail "$BAD_ARGUMENT" "SSM_SEKISHO_MANAGER wants https://HOST:PORT, and is ${SSM_SEKISHO_MANAGER}" ;;
  esac
  is_enrolled || [ -n "${SSM_SEKISHO_TOKEN_PARAMETER:-}${SSM_SEKISHO_TOKEN_SECRET:-}" ] ||
    fail "$BAD_ARGUMENT" "SSM_SEKISHO_MANAGER is given, and neither SSM_SEKISHO_TOKEN_PARAMETER nor SSM_SEKISHO_TOKEN_SECRET: the name of what holds the token"
  [ -z "${SSM_SEKISHO_TOKEN_PARAMETER:-}" ] || [ -z "${SSM_SEKISHO_TOKEN_SECRET:-}" ] ||
    fail "$BAD_ARGUMENT" "SSM_SEKISHO_TOKEN_PARAMETER and SSM_SEKISHO_TOKEN_SECRET do not go together"
  [ -z "${SSM_SEKISHO_CA_PARAMETER:-}" ] || [ -z "${SSM_SEKISHO_CA_FINGERPRINT:-}" ] ||
    fail "$BAD_ARGUMENT" "SSM_SEKISHO_CA_PARAMETER and SSM_SEKISHO_CA_FINGERPRINT do not go together"
}

# --- enrolment and service ---

is_enrolled() { [ -e "$STATE/uplink/agent.json" ]; }

# The agent reads the parameter itself: the token is in no argument, environment or file.
enrol() {
  if [ -z "${SSM_SEKISHO_MANAGER:-}" ]; then
    is_enrolled || say "SSM_SEKISHO_MANAGER is not given: this host stays on its own"
    return 0
  fi
  if is_enrolled; then
    say "this host has enrolled already"
    return 0
  fi
  set -f
  old_ifs=$IFS
  IFS=,
  set --
  for tag in ${SSM_SEKISHO_TAGS:-}; do set -- "$@" --tag "$tag"; done
  IFS=$old_ifs
  set +f
  [ -z "${SSM_SEKISHO_TOKEN_PARAMETER:-}" ] || set -- "$@" --token-parameter "$SSM_SEKISHO_TOKEN_PARAMETER"
  [ -z "${SSM_SEKISHO_TOKEN_SECRET:-}" ] || set -- "$@" --token-secret "$SSM_SEKISHO_TOKEN_SECRET"
  [ -z "${SSM_SEKISHO_CA_FINGERPRINT:-}" ] || set -- "$@" --ca-fingerprint "$SSM_SEKISHO_CA_FINGERPRINT"
  [ -z "${SSM_SEKISHO_CA_PARAMETER:-}" ] || set -- "$@" --ca-parameter "$SSM_SEKISHO_CA_PARAMETER"
  [ -z "${BWS_REGION:-}" ] || set -- "$@" --region "$BWS_REGION"
  if ! quietly sekisho enroll --if-needed --retry "${SSM_SEKISHO_RETRY:-2m}" --manager "$SSM_SEKISHO_MANAGER" "$@"; then
    show_log
    ENROLLED=no # without a manager the host is protected all the same
    return 0
  fi
  say "enrolled with $SSM_SEKISHO_MANAGER"
}

end() {
  [ "$ENROLLED" = yes ] ||
    fail "$BAD_ENROLMENT" "installed, and not enrolled with $SSM_SEKISHO_MANAGER; the next run tries again"
}

has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

is_active() { has_systemd && systemctl -q is-active "$SERVICE"; }

# When its Auto Scaling group ends this host, sekisho-drain.service tells the manager what waits, and the hook that it may go.
drain() {
  [ -n "${SSM_SEKISHO_LIFECYCLE_HOOK:-}" ] || return 0
  printf 'SEKISHO_DRAIN_OPTIONS="--lifecycle-hook %s"\n' "$SSM_SEKISHO_LIFECYCLE_HOOK" >"$CONFIG/drain.conf" ||
    fail "$BAD_START" "$CONFIG/drain.conf cannot be written"
  start sekisho-drain.service
}

start() { # SERVICE
  if ! has_systemd; then
    say "systemd does not run here: $1 is not started"
    return 0
  fi
  if ! quietly systemctl enable --now "$1"; then
    show_log
    fail "$BAD_START" "$1 does not start: journalctl -u $1 tells why"
  fi
  [ "$1" != "$SERVICE" ] || check_version
  say "$1 runs"
}

# An upgrade leaves the agent before in its place when the new one would not start (see its own words in the journal).
check_version() {
  pid=$(systemctl show -p MainPID --value "$SERVICE")
  case $pid in '' | 0 | *[!0-9]*) return 0 ;; esac
  [ "$(stat -Lc %d:%i "/proc/$pid/exe" 2>/dev/null)" != "$(stat -Lc %d:%i /usr/bin/sekisho 2>/dev/null)" ] || return 0
  if quietly /usr/bin/sekisho check --restart="$pid"; then return 0; fi
  show_log
  fail "$BAD_START" "$SERVICE goes on with the version before: the one that is installed would not start"
}
