#!/bin/sh
# Sekisho on Amazon Linux 2023: installs the agent, makes this host one of a fleet, and starts it. Safe to run again.
# User data of an instance, or a script to run as root. Made from packaging/userdata by make.py. docs/enrolment.md.

# The manager: https://HOST:PORT
SEKISHO_MANAGER=''
# Packages: s3://BUCKET/PREFIX or https://HOST/PATH or /FOLDER with the packages and their SHA256SUMS;
# or: repository, for one that is set up on this host and whose signatures are checked.
SEKISHO_SOURCE=''
# SHA-256 of that file SHA256SUMS, which vouches for the packages; not for a repository.
SEKISHO_SUMS_SHA256=''
# Region of the bucket, if it is not the instance's; and S3's address, if it is not AWS's own.
SEKISHO_S3_REGION=''
SEKISHO_S3_ENDPOINT=''
# Where the token is, one of: a parameter of Parameter Store, a secret of Secrets Manager, a file. Never the token
# itself: everybody on the instance can read user data.
SEKISHO_TOKEN_PARAMETER=''
SEKISHO_TOKEN_SECRET=''
SEKISHO_TOKEN_FILE=''
# The manager's CA, one of: its fingerprint (SHA-256), a parameter that holds the fingerprint or the certificate. None:
# the system's CAs.
SEKISHO_CA_FINGERPRINT=''
SEKISHO_CA_PARAMETER=''
# Shown with this host: KEY=VALUE KEY=VALUE
SEKISHO_TAGS=''
# How long the manager is waited for.
SEKISHO_RETRY='15m'
# Further options of `sekisho enroll`.
SEKISHO_ENROLL_OPTIONS=''
# Settings of this instance: KEY=VALUE KEY=VALUE; and yes: also those of its tags sekisho:KEY.
SEKISHO_SETTINGS=''
SEKISHO_SETTINGS_FROM_TAGS=''
# yes: when its Auto Scaling group, or EC2 a spot instance, ends this host, it tells the manager what waits, and retires.
SEKISHO_DRAIN=''
# The group's lifecycle hook that waits for that, if there is one.
SEKISHO_LIFECYCLE_HOOK=''
# ---- nothing to set below ----

set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
LOG=/var/log/sekisho-userdata.log
WORK=

say() {
  printf '%s sekisho-userdata: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" | tee -a "$LOG"
}
finish() {
  [ -z "$WORK" ] || rm -rf "$WORK"
}
die() {
  say "$*" >&2
  exit 1
}
# Its output goes to the log only, and its end to the console when it fails.
run() {
  "$@" >>"$LOG" 2>&1 && return 0
  run_rc=$?
  tail -n 3 "$LOG" >&2
  return "$run_rc"
}
# A mirror, or the lock of another installer, may be in the way for a moment. 4: fetch.py says that it is not.
run_again() {
  for pause in 5 15 30 60 0; do
    again_rc=0
    run "$@" || again_rc=$?
    case $again_rc in 0 | 4) break ;; esac
    [ "$pause" = 0 ] || sleep "$pause"
  done
  return "$again_rc"
}

check_settings() {
  [ "$(id -u)" = 0 ] || { echo 'sekisho-userdata: run it as root' >&2; exit 1; }
  [ -e "$LOG" ] || (umask 077 && : >"$LOG")
  WORK=$(mktemp -d)
  trap finish EXIT
  [ -n "$SEKISHO_MANAGER" ] || die 'SEKISHO_MANAGER is not set'
  [ -n "$SEKISHO_SOURCE" ] || die 'SEKISHO_SOURCE is not set'
  [ -n "$SEKISHO_TOKEN_PARAMETER$SEKISHO_TOKEN_SECRET$SEKISHO_TOKEN_FILE" ] ||
    die 'set SEKISHO_TOKEN_PARAMETER, SEKISHO_TOKEN_SECRET or SEKISHO_TOKEN_FILE'
  case $SEKISHO_LIFECYCLE_HOOK in *[!A-Za-z0-9/_-]*) die 'SEKISHO_LIFECYCLE_HOOK is no name of a hook' ;; esac
  case $SEKISHO_SOURCE in
    repository) ;;
    s3://?*/* | https://?* | /?*) [ -n "$SEKISHO_SUMS_SHA256" ] || die 'SEKISHO_SUMS_SHA256 is not set' ;;
    *) die 'SEKISHO_SOURCE is s3://BUCKET/PREFIX, https://HOST/PATH, /FOLDER or repository' ;;
  esac
}

fetch() { # NAME
  case $SEKISHO_SOURCE in
    /*) run cp "$SEKISHO_SOURCE/$1" "$WORK/$1" ;;
    *) run_again "$PYTHON" "$WORK/fetch.py" "$SEKISHO_SOURCE/$1" "$WORK/$1" "$SEKISHO_S3_REGION" "$SEKISHO_S3_ENDPOINT" ;;
  esac || die "$SEKISHO_SOURCE/$1 cannot be had"
}
sum_of() { # FILE
  sha256sum "$1" | cut -d ' ' -f 1
}
# The one package in SHA256SUMS that has such a name, fetched and checked: its name goes to FOUND.
fetch_package() { # REGULAR-EXPRESSION
  FOUND=$(sed -nE "s#^[0-9a-f]{64} [ *](\\./)?($1)\$#\\2#p" "$WORK/SHA256SUMS")
  case $FOUND in
    '') die "SHA256SUMS names no package $1" ;;
    *[!A-Za-z0-9._+~-]*) die "SHA256SUMS names more than one package $1" ;;
  esac
  fetch "$FOUND"
  want=$(sed -nE "s#^([0-9a-f]{64}) [ *](\\./)?$FOUND\$#\\1#p" "$WORK/SHA256SUMS" | tr -d '\n')
  [ "$(sum_of "$WORK/$FOUND")" = "$want" ] || die "$FOUND has not the sum that SHA256SUMS says"
}
fetch_packages() {
  SEKISHO_SOURCE=$(printf '%s' "$SEKISHO_SOURCE" | sed 's#/*$##')
  PYTHON=$(command -v python3 || command -v /usr/libexec/platform-python) || die 'no Python to fetch with'
  cat >"$WORK/fetch.py" <<'PYTHON'
import hashlib, hmac, json, os, shutil, sys, time, urllib.error, urllib.parse, urllib.request
IMDS = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/") + "/latest/"
local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def imds(path):
    ask = urllib.request.Request(IMDS + "api/token", method="PUT", headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"})
    token = local.open(ask, timeout=5).read().decode()
    ask = urllib.request.Request(IMDS + "meta-data/" + path, headers={"x-aws-ec2-metadata-token": token})
    return local.open(ask, timeout=5).read().decode()
def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
def s3(bucket, key, region, endpoint):
    region = region or imds("placement/region")
    role = "iam/security-credentials/"
    creds = json.loads(imds(role + imds(role).split()[0]))
    path = "/" + urllib.parse.quote(key)
    host = "s3.%s.amazonaws.com%s" % (region, ".cn" if region.startswith("cn-") else "")
    if endpoint or "." in bucket:
        path = "/" + bucket + path
    else:
        host = bucket + "." + host
    base = endpoint.rstrip("/") or "https://" + host
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    head = {"host": urllib.parse.urlsplit(base).netloc, "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
            "x-amz-date": now, "x-amz-security-token": creds["Token"]}
    names = ";".join(sorted(head))
    canonical = "\n".join(["GET", path, ""] + ["%s:%s" % h for h in sorted(head.items())] + ["", names,
                                                                                             head["x-amz-content-sha256"]])
    scope = [now[:8], region, "s3", "aws4_request"]
    k = ("AWS4" + creds["SecretAccessKey"]).encode()
    for part in scope:
        k = mac(k, part)
    text = "\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    head["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        creds["AccessKeyId"], "/".join(scope), names, mac(k, text).hex())
    return urllib.request.Request(base + path, headers=head)
url, out, region, endpoint = sys.argv[1:5]
try:
    u = urllib.parse.urlsplit(url)
    ask = s3(u.netloc, u.path[1:], region, endpoint) if u.scheme == "s3" else url
    with urllib.request.urlopen(ask, timeout=60) as r, open(out, "wb") as f:
        shutil.copyfileobj(r, f)
except Exception as e:
    print("%s: %s" % (url, e))
    sys.exit(4 if isinstance(e, urllib.error.HTTPError) and e.code < 500 and e.code != 429 else 1)
PYTHON
  fetch SHA256SUMS
  [ "$(sum_of "$WORK/SHA256SUMS")" = "$SEKISHO_SUMS_SHA256" ] || die 'SHA256SUMS has not the sum SEKISHO_SUMS_SHA256'
  fetch_package "$RULES_NAME"
  RULES="$WORK/$FOUND"
  fetch_package "$AGENT_NAME"
  AGENT="$WORK/$FOUND"
}

AGENT_NAME="sekisho-[0-9][^/]*\\.$(uname -m)\\.rpm"
RULES_NAME='sekisho-rules-[0-9][^/]*\.noarch\.rpm'
install_packages() {
  run_again dnf -y install "$@"
}

# Only names and places go to the command line. What is empty is left out.
enroll() {
  set -- --manager "$SEKISHO_MANAGER" --retry "$SEKISHO_RETRY" --if-needed
  [ -z "$SEKISHO_TOKEN_PARAMETER" ] || set -- "$@" --token-parameter "$SEKISHO_TOKEN_PARAMETER"
  [ -z "$SEKISHO_TOKEN_SECRET" ] || set -- "$@" --token-secret "$SEKISHO_TOKEN_SECRET"
  [ -z "$SEKISHO_TOKEN_FILE" ] || set -- "$@" --token-file "$SEKISHO_TOKEN_FILE"
  [ -z "$SEKISHO_CA_FINGERPRINT" ] || set -- "$@" --ca-fingerprint "$SEKISHO_CA_FINGERPRINT"
  [ -z "$SEKISHO_CA_PARAMETER" ] || set -- "$@" --ca-parameter "$SEKISHO_CA_PARAMETER"
  for tag in $SEKISHO_TAGS; do set -- "$@" --tag "$tag"; done
  for option in $SEKISHO_ENROLL_OPTIONS; do set -- "$@" "$option"; done
  run sekisho enroll "$@"
}

configure() {
  set --
  [ "$SEKISHO_SETTINGS_FROM_TAGS" != yes ] || set -- --from-tags
  for setting in $SEKISHO_SETTINGS; do set -- "$@" "$setting"; done
  [ $# != 0 ] || return 0
  run sekisho configure "$@" || die 'the settings of this instance do not fit'
  run systemctl try-restart sekisho.service || say 'sekisho.service does not start again'
  say 'the settings of this instance are written'
}
enable_drain() {
  options=
  [ -z "$SEKISHO_LIFECYCLE_HOOK" ] || options="--lifecycle-hook $SEKISHO_LIFECYCLE_HOOK"
  printf 'SEKISHO_DRAIN_OPTIONS="%s"\n' "$options" >/etc/sekisho/drain.conf
  run systemctl enable --now sekisho-drain.service || die 'sekisho-drain.service does not start'
  say 'sekisho-drain.service is enabled and started'
}

main() {
  check_settings
  say "installing from $SEKISHO_SOURCE"
  if [ "$SEKISHO_SOURCE" = repository ]; then
    AGENT=sekisho
    RULES=sekisho-rules
  else
    fetch_packages
  fi
  install_packages "$AGENT" "$RULES" || die 'the packages cannot be installed'
  say "installed: $(sekisho --version)"
  configure
  rc=0
  enroll || rc=$?
  # Without a manager the host is protected all the same.
  run systemctl enable --now sekisho.service || die 'sekisho.service does not start: journalctl -u sekisho'
  say 'sekisho.service is enabled and started'
  [ "$SEKISHO_DRAIN" != yes ] || enable_drain
  case $rc in
    0) say "enrolled with $SEKISHO_MANAGER" ;;
    3) die "not enrolled: $SEKISHO_MANAGER, or AWS, does not answer" ;;
    4) die 'not enrolled: the token or this instance is refused, or AWS does not let the token be read' ;;
    5) die 'not enrolled: the certificate of the manager is not trusted' ;;
    *) die 'not enrolled' ;;
  esac
}

main
