#!/usr/bin/env python3
"""The package for AWS Systems Manager Distributor, with a stand-in for the SSM agent: it chooses a zip by the manifest, checks
its SHA-256, unpacks it, and runs the scripts with `sh` and what the agent puts into their environment.

Root, for a file system that can be thrown away: an overlay over this host's own, in a mount namespace of its own. There
apt-get, dpkg and rpm are the real ones; dnf, systemctl and, without --packages, the program are stand-ins.

Usage: ssm.py                  everything, with packages that are made here
       ssm.py --packages DIR   the packages that `./dev package` has put there: installed, updated, removed
"""
import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/live"))
from bed import Tally  # noqa: E402

BUILD = os.path.join(ROOT, "packaging/ssm/build.sh")
ARCH_NAMES = {"x86_64": {"deb": "amd64", "rpm": "x86_64"}, "arm64": {"deb": "arm64", "rpm": "aarch64"},
             "any": {"deb": "all", "rpm": "noarch"}}
MANAGER = "https://manager.example.com:8443"
ENROL = {"SSM_SEKISHO_MANAGER": MANAGER, "SSM_SEKISHO_TOKEN_PARAMETER": "/sekisho/token",
         "SSM_SEKISHO_CA_FINGERPRINT": "ab" * 32, "SSM_SEKISHO_TAGS": "role=web,stage=a b*"}
ENROL_ARGUMENTS = ["enroll", "--if-needed", "--retry", "2m", "--manager", MANAGER, "--tag", "role=web", "--tag", "stage=a b*", "--token-parameter",
                   "/sekisho/token", "--ca-fingerprint", "ab" * 32, "--region", "eu-west-1"]

# What stands in for the program: tells how it was called, enrols unless it is to fail.
PROGRAM = """#!/bin/sh
{ for a in "$@"; do printf '%s\\n' "$a"; done; echo --end--; } >>/called.sekisho
if [ -e /fail.enrol ]; then echo 'sekisho: the manager does not answer' >&2; exit 1; fi
mkdir -p /var/lib/sekisho/uplink && echo '{}' >/var/lib/sekisho/uplink/agent.json
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>/called.systemctl
case "$*" in
  *is-active*) [ -e /is.active ] ;;
  *enable*--now*) [ ! -e /fail.start ] && : >/is.active ;;
  "stop sekisho.service") rm -f /is.active ;;
esac
"""
# dnf without repositories: rpm itself does the work.
DNF = """#!/bin/sh
[ ! -e /fail.dnf ] || { echo 'Error: Failed to download metadata for repo' >&2; exit 1; }
shift # -y
verb=$1
shift
case $verb in
  install)
    for f in "$@"; do # what is newer already is left alone, as dnf does
      rpm -U --force-debian --nodeps --replacepkgs "$f" 2>&1 | grep -v 'is already installed' || :
    done ;;
  downgrade) rpm -U --force-debian --nodeps --oldpackage --replacepkgs "$@" ;;
  remove) rpm -e --nodeps "$@" ;;
  *) exit 1 ;;
esac
"""


# ---- packages ----

def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)


def make_deb(out, name, version, arch, depends=""):
    with tempfile.TemporaryDirectory() as d:
        write(d + "/DEBIAN/control", "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: A Test <a@example.com>\n%s"
              "Description: made by a test\n" % (name, version, ARCH_NAMES[arch]["deb"], depends and "Depends: %s\n" % depends))
        if name == "sekisho":
            write(d + "/usr/bin/sekisho", PROGRAM, 0o755)
            write(d + "/etc/sekisho/sekisho.yaml", "# a test's\n", 0o640)
            write(d + "/DEBIAN/conffiles", "/etc/sekisho/sekisho.yaml\n")
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", d, out + "/%s_%s_%s.deb" % (
            name, version, ARCH_NAMES[arch]["deb"])], check=True, stdout=subprocess.DEVNULL)


def make_rpm(out, name, version, arch):
    with tempfile.TemporaryDirectory() as d:
        if name == "sekisho":
            write(d + "/src/sekisho", PROGRAM)
            write(d + "/src/sekisho.yaml", "# a test's\n")
        install = ("mkdir -p %%{buildroot}/usr/bin %%{buildroot}/etc/sekisho\ninstall -m 755 %s/src/sekisho %%{buildroot}/usr/bin/"
                   "\ninstall -m 640 %s/src/sekisho.yaml %%{buildroot}/etc/sekisho/\n" % (d, d)) if name == "sekisho" else ""
        files = "/usr/bin/sekisho\n%config(noreplace) /etc/sekisho/sekisho.yaml\n" if name == "sekisho" else ""
        write(d + "/p.spec", "%%global __os_install_post %%{nil}\n%%global debug_package %%{nil}\nName: %s\nVersion: %s\nRelease: 1\n"
              "Summary: s\nLicense: GPL\n%s%%description\nd\n%%install\n%s%%files\n%s" % (
                  name, version, "BuildArch: noarch\n" if arch == "any" else "", install, files))
        subprocess.run(["rpmbuild", "--quiet", "-bb", "--target", ARCH_NAMES[arch]["rpm"], "--define", "_topdir " + d + "/top",
                        "--define", "_rpmdir " + out, "--define", "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
                        d + "/p.spec"], check=True, capture_output=True)


def make_packages(out, version, architectures=("x86_64", "arm64"), forms=("deb", "rpm")):
    os.makedirs(out, exist_ok=True)
    for form in forms:
        make = make_deb if form == "deb" else make_rpm
        for arch in architectures:
            make(out, "sekisho", version, arch)
        make(out, "sekisho-rules", version, "any")
        make(out, "sekisho-manager", version, "x86_64")  # belongs to no agent
    return out


def build(packages, out, env=None):
    return subprocess.run([BUILD, packages, out], capture_output=True, text=True, env=dict(os.environ, **(env or {})))


# ---- the SSM agent ----

def choose_key(key, choices):
    """As the agent: the very key, then the longest pattern that fits, then _any."""
    if key in choices:
        return key
    parts, best = key.split("."), ""
    for pattern in choices:
        want = pattern[:-2].split(".")
        if pattern.endswith(".*") and parts[:len(want)] == want and len(pattern) > len(best):
            best = pattern
    return best or ("_any" if "_any" in choices else None)


def choose(manifest, platform, version, arch):
    at = manifest["packages"]
    for key, patterns in ((platform, False), (version, True), (arch, False)):
        found = choose_key(key, at) if patterns else key if key in at else "_any" if "_any" in at else None
        if found is None:
            return None
        at = at[found]
    return at["file"]


class Host:
    """A file system of its own over this host's, for one platform."""
    serial = 0

    def __init__(self, work, form):
        Host.serial += 1
        self.form, self.dir = form, "%s/host%d" % (work, Host.serial)
        self.root = self.dir + "/root"
        for d in ("upper", "work", "root"):
            os.makedirs(self.dir + "/" + d)
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", "lowerdir=/,upperdir=%s/upper,workdir=%s/work" % (
            self.dir, self.dir), self.root], check=True)
        for fs, at in (("proc", "/proc"), ("tmpfs", "/tmp"), ("tmpfs", "/run"), ("tmpfs", "/dev")):
            os.makedirs(self.root + at, exist_ok=True)
            subprocess.run(["mount", "-t", fs, fs, self.root + at], check=True)
        for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
            os.mknod(self.root + "/dev/" + name, 0o020666, os.makedev(1, minor))
            os.chmod(self.root + "/dev/" + name, 0o666)
        os.symlink("/proc/self/fd", self.root + "/dev/fd")
        for at in ("/etc/sekisho", "/var/lib/sekisho"):
            shutil.rmtree(self.root + at, ignore_errors=True)
        os.makedirs(self.root + "/run/systemd/system")
        self.file("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        self.file("usr/bin/systemctl", SYSTEMCTL, 0o755)
        if form == "rpm":
            self.file("usr/bin/dnf", DNF, 0o755)
            self.link("usr/bin/sh", "bash")
            for path in glob.glob("/usr/lib/*/libpcap.so.0.8"):  # its name on RPM platforms
                self.link(os.path.join(os.path.dirname(path)[1:], "libpcap.so.1"), "libpcap.so.0.8")
        else:
            self.link("usr/bin/sh", "dash")

    def file(self, path, text, mode=0o644):
        path = self.root + "/" + path
        if os.path.lexists(path):
            os.unlink(path)
        write(path, text, mode)

    def link(self, path, to):
        path = self.root + "/" + path
        os.symlink(to, path + ".new")
        os.rename(path + ".new", path)

    def flag(self, name, on=True):
        if on:
            self.file(name, "")
        elif self.has(name):
            os.unlink(self.root + "/" + name)

    def has(self, path):
        return os.path.lexists(self.root + "/" + path)

    def text(self, path):
        try:
            with open(self.root + "/" + path, encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def calls(self):
        """How the program was called, list of argument lists; forgets it."""
        text = self.text("called.sekisho")
        self.flag("called.sekisho", False)
        return [c.strip("\n").split("\n") for c in text.split("--end--\n") if c]

    def run(self, *command, env=None, cwd="/"):
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"}
        return subprocess.run(["chroot", self.root, "/usr/bin/env", "-C", cwd] + list(command), env=dict(clean, **(env or {})),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)

    def version(self, name="sekisho"):
        if self.form == "deb":
            got = self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name).stdout.split()
            return got[1] if got[:1] == ["installed"] else ""
        got = self.run("rpm", "-q", "--qf", "%{VERSION}", name)
        return got.stdout if got.returncode == 0 else ""

    def unpack(self, folder, platform, version, arch="x86_64"):
        """As the agent: by the manifest, with its checksum. Returns the folder in the host."""
        with open(folder + "/manifest.json", encoding="utf-8") as f:
            manifest = json.load(f)
        name = choose(manifest, platform, version, arch)
        with open(folder + "/" + name, "rb") as f:
            assert hashlib.sha256(f.read()).hexdigest() == manifest["files"][name]["checksums"]["sha256"]
        at = "/var/lib/amazon/ssm/packages/sekisho/" + manifest["version"]
        shutil.rmtree(self.root + at, ignore_errors=True)
        with zipfile.ZipFile(folder + "/" + name) as z:
            z.extractall(self.root + at)  # without the modes: the agent calls `sh FILE`
        return at

    def action(self, at, name, platform, version, arch="x86_64", **arguments):
        env = {"BWS_ACTION_NAME": name, "BWS_PLATFORM_NAME": platform, "BWS_PLATFORM_VERSION": version,
               "BWS_PLATFORM_FAMILY": "debian" if self.form == "deb" else "rhel", "BWS_ARCHITECTURE": arch,
               "BWS_INIT_SYSTEM": "systemd", "BWS_PACKAGE_MANAGER": "apt" if self.form == "deb" else "yum",
               "BWS_INSTANCE_ID": "i-0123456789abcdef0", "BWS_INSTANCE_TYPE": "t3.micro", "BWS_REGION": "eu-west-1",
               "BWS_ACCOUNT_ID": "123456789012", "BWS_AVAILABILITY_ZONE": "eu-west-1a", "https_proxy": "", "http_proxy": "",
               "no_proxy": ""}
        got = self.run("sh", name + ".sh", env=dict(env, **arguments), cwd=at)
        got.all = got.stdout + got.stderr
        return got

    def end(self):
        subprocess.run(["umount", "-R", self.root], check=True)
        shutil.rmtree(self.dir)


# ---- tests ----

def test_build(t, work, forms):
    one, two = make_packages(work + "/p1", "1.2.3", forms=forms), work + "/out"
    got = build(one, two)
    t.check("build.sh", got.returncode == 0, got.stderr)
    with open(two + "/manifest.json", encoding="utf-8") as f:
        manifest = json.load(f)
    t.check("manifest: schema and version", (manifest["schemaVersion"], manifest["version"]) == ("2.0", "1.2.3"))
    copy = work + "/p1-copy"
    shutil.copytree(one, copy)
    for f in os.listdir(copy):
        os.utime(copy + "/" + f, (1e9, 1e9))
        os.chmod(copy + "/" + f, 0o600)
    build(copy, work + "/again", {"TZ": "Asia/Tokyo", "LC_ALL": "C"})
    names = sorted(os.listdir(two))
    same = [open(two + "/" + n, "rb").read() == open(work + "/again/" + n, "rb").read() for n in names]
    t.check("built again from files of other times and modes: the same bytes", all(same) and len(names) == 1 + len(forms), names)
    build(copy, work + "/later", {"SOURCE_DATE_EPOCH": "1893456000"})
    with zipfile.ZipFile(work + "/later/" + next(n for n in names if n.endswith(".zip"))) as z:
        t.check("times are SOURCE_DATE_EPOCH", {i.date_time for i in z.infolist()} == {(2030, 1, 1, 0, 0, 0)})
        t.check("no manager in it", not any("manager" in n for n in z.namelist()), z.namelist())
    shutil.rmtree(work + "/again")
    shutil.rmtree(work + "/later")
    return manifest


def test_choice(t, manifest, forms):
    for platform, version, form in [
            ("debian", "12", "deb"), ("ubuntu", "22.04", "deb"), ("ubuntu", "24.04", "deb"), ("amazon", "2023", "rpm"),
            ("redhat", "9.4", "rpm"), ("rocky", "9.5", "rpm"), ("almalinux", "9.4", "rpm"), ("centos", "9", "rpm"),
            ("debian", "11", None), ("ubuntu", "20.04", None), ("amazon", "2", None), ("redhat", "8.9", None),
            ("redhat", "10.0", None), ("centos", "99", None), ("suse", "15.5", None)]:
        if form not in forms and form is not None:
            continue
        for arch in ("x86_64", "arm64"):
            want = form and "sekisho_1.2.3_%s.zip" % form
            got = choose(manifest, platform, version, arch)
            t.check("%s %s, %s: %s" % (platform, version, arch, want or "none"), got == want, got)
    t.check("debian 12 on another architecture: none", choose(manifest, "debian", "12", "riscv64") is None)


def test_refusals(t, work):
    p = make_packages(work + "/bad", "1.0", architectures=("x86_64",), forms=("deb",))
    out = work + "/bad-out"
    got = build(p, out)
    with open(out + "/manifest.json", encoding="utf-8") as f:
        m = json.load(f)
    t.check("DEBs alone: no RPM platform in the manifest, and said", "no rpm of sekisho" in got.stderr and
            set(m["packages"]) == {"debian", "ubuntu"}, got.stderr)
    t.check("no arm64 package: none promised", choose(m, "debian", "12", "arm64") is None and choose(m, "debian", "12", "x86_64"))
    make_deb(p, "sekisho", "1.1", "x86_64")
    got = build(p, out)
    t.check("two versions: refused, both named", got.returncode == 1 and "sekisho_1.0" in got.stderr and "sekisho_1.1" in got.stderr,
            got.stderr)
    os.unlink(p + "/sekisho_1.1_amd64.deb")
    os.unlink(p + "/sekisho-rules_1.0_all.deb")
    got = build(p, out)
    t.check("no rules beside the agent: refused", got.returncode == 1 and "sekisho-rules" in got.stderr, got.stderr)
    shutil.rmtree(p)
    os.makedirs(p)
    t.check("an empty folder: refused", build(p, out).returncode == 1)
    t.check("no such folder: refused", build(p + "/x", out).returncode == 1)
    t.check("usage: 2", subprocess.run([BUILD], capture_output=True).returncode == 2)
    shutil.rmtree(out)


class Case:
    """One platform with packages of two versions."""

    def __init__(self, t, work, form):
        self.t, self.work, self.form = t, work, form
        self.platform, self.release = ("debian", "12") if form == "deb" else ("amazon", "2023")
        self.old, self.new = work + "/out", work + "/out2"
        self.host = Host(work, form)
        self.at = self.host.unpack(self.old, self.platform, self.release)

    def act(self, name, at=None, arch="x86_64", **arguments):
        return self.host.action(at or self.at, name, self.platform, self.release, arch, **arguments)

    def check(self, what, ok, detail=""):
        self.t.check(self.form + ": " + what, ok, detail)

    def failures(self):
        h = self.host
        got = self.act("install", arch="riscv64")
        self.check("another architecture: 3", got.returncode == 3 and "riscv64" in got.stderr, got.all)
        got = self.act("install", SSM_SEKISHO_MANAGER=MANAGER)
        self.check("a manager and no token's name: 2, and which", got.returncode == 2 and "SSM_SEKISHO_TOKEN_PARAMETER" in got.stderr,
                   got.all)
        got = self.act("install", **dict(ENROL, SSM_SEKISHO_TOKEN_SECRET="x"))
        self.check("a parameter and a secret: 2", got.returncode == 2, got.all)
        got = self.act("install", **dict(ENROL, SSM_SEKISHO_CA_PARAMETER="x"))
        self.check("a CA and its fingerprint: 2", got.returncode == 2, got.all)
        for name, value in [("MANAGER", "http://manager"), ("TOKEN_PARAMETER", "a b"), ("TOKEN_PARAMETER", "--again"),
                            ("TOKEN_PARAMETER", "$(reboot)"), ("CA_PARAMETER", "a;b"), ("RETRY", "soon"), ("LIFECYCLE_HOOK", "x\" y"), ("CA_FINGERPRINT", "what?")]:
            got = self.act("install", **dict(ENROL, **{"SSM_SEKISHO_" + name: value}))
            self.check("%s %s: 2" % (name, value), got.returncode == 2 and "SSM_SEKISHO_" + name in got.stderr, got.all)
        got = self.act("install", SSM_SEKISHO_TOKEN="very-secret", **ENROL)
        self.check("the token itself: 2, and not shown", got.returncode == 2 and "very-secret" not in got.all, got.all)
        got = self.act("uninstall", SSM_SEKISHO_PURGE="perhaps")
        self.check("purge, perhaps: 2", got.returncode == 2, got.all)
        tool = "apt-get" if self.form == "deb" else "dnf"
        os.rename(h.root + "/usr/bin/" + tool, h.root + "/usr/bin/hidden")
        got = self.act("install", **ENROL)
        os.rename(h.root + "/usr/bin/hidden", h.root + "/usr/bin/" + tool)
        self.check("no %s: 3" % tool, got.returncode == 3 and tool in got.stderr, got.all)
        self.broken_package()
        self.package_manager_fails()
        self.check("after all that nothing is installed, nobody enrolled", not h.version() and not h.calls())

    def broken_package(self):
        path = self.host.root + self.at
        name = next(n for n in sorted(os.listdir(path)) if n.startswith("sekisho-rules"))
        with open(path + "/" + name, "ab") as f:
            f.write(b"x")
        got = self.act("install")
        self.check("a file that was changed: 4, and which", got.returncode == 4 and name in got.stderr, got.all)
        self.at = self.host.unpack(self.old, self.platform, self.release)

    def package_manager_fails(self):
        if self.form == "rpm":
            self.host.flag("fail.dnf")
            at = self.at
        else:
            p = make_packages(self.work + "/pd", "1.2.4", ("x86_64",), ("deb",))
            make_deb(p, "sekisho", "1.2.4", "x86_64", depends="there-is-no-such-package")
            build(p, self.work + "/outd")
            at = self.host.unpack(self.work + "/outd", self.platform, self.release)
            self.host.file("etc/apt/sources.list", "")
            shutil.rmtree(self.host.root + "/etc/apt/sources.list.d", ignore_errors=True)
        got = self.act("install", at=at, **ENROL)
        why = "Failed to download" if self.form == "rpm" else "there-is-no-such-package"
        self.check("the package manager fails: 4, with its words", got.returncode == 4 and why in got.stderr, got.all)
        self.check("in what the SSM agent shows", len(got.stderr) < 2500, len(got.stderr))
        self.host.flag("fail.dnf", False)

    def install(self):
        h = self.host
        h.flag("fail.enrol")
        got = self.act("install", **ENROL)
        self.check("enrolling fails: 5, with its words; installed, and running", got.returncode == 5 and "does not answer" in got.stderr
                   and h.version() == "1.2.3" and h.has("is.active"), got.all)
        h.flag("fail.enrol", False)
        h.flag("fail.start")
        h.calls()
        got = self.act("install", **ENROL)
        self.check("the service does not start: 6", got.returncode == 6 and "journalctl" in got.stderr, got.all)
        self.check("enrolled with names, not with secrets", h.calls() == [ENROL_ARGUMENTS])
        h.flag("fail.start", False)
        got = self.act("install", **ENROL)
        self.check("again: 0, and says what was done already", got.returncode == 0 and "installed already" in got.stdout and
                   "enrolled already" in got.stdout and h.has("is.active"), got.all)
        self.check("not enrolled twice", h.calls() == [])
        self.check("with rules", h.version("sekisho-rules") == "1.2.3")
        got = self.act("install")
        self.check("again without arguments: 0", got.returncode == 0, got.all)
        self.check("no group waits for it: no drain", not h.has("etc/sekisho/drain.conf"))
        got = self.act("install", SSM_SEKISHO_LIFECYCLE_HOOK="sekisho")
        self.check("a group with a hook waits for it: drain.conf and its service", got.returncode == 0 and h.text(
            "etc/sekisho/drain.conf") == 'SEKISHO_DRAIN_OPTIONS="--lifecycle-hook sekisho"\n' and
            "enable --now sekisho-drain.service" in h.text("called.systemctl"), got.all)
        self.check("no log is left in /tmp", os.listdir(h.root + "/tmp") == [], os.listdir(h.root + "/tmp"))

    def update(self):
        h = self.host
        with open(h.root + "/etc/sekisho/sekisho.yaml", "a", encoding="ascii") as f:
            f.write("# mine\n")
        at = h.unpack(self.new, self.platform, self.release)
        got = self.act("update", at=at)
        self.check("update: 0, the new version", got.returncode == 0 and h.version() == "1.3.0" and "before it 1.2.3" in got.stdout,
                   got.all)
        self.check("configuration and enrolment stay", h.text("etc/sekisho/sekisho.yaml").endswith("# mine\n") and
                   h.has("var/lib/sekisho/uplink/agent.json") and h.calls() == [])
        h.flag("is.active", False)
        got = self.act("update", at=at)
        self.check("a service that was stopped stays stopped", got.returncode == 0 and not h.has("is.active") and
                   "is not started" in got.stdout, got.all)
        got = self.act("install", **ENROL)
        self.check("back to the version before: 0", got.returncode == 0 and h.version() == "1.2.3", got.all)

    def uninstall(self):
        h = self.host
        got = self.act("uninstall")
        self.check("uninstall: 0, stopped, removed", got.returncode == 0 and not h.version() and not h.has("is.active"), got.all)
        self.check("the enrolment stays", h.has("var/lib/sekisho/uplink/agent.json"))
        got = self.act("uninstall")
        self.check("again: 0", got.returncode == 0 and "nothing is installed" in got.stdout, got.all)
        got = self.act("install", **ENROL)
        self.check("installed again: the same agent", got.returncode == 0 and h.version() == "1.2.3" and h.calls() == [], got.all)
        h.file("etc/sekisho/manager.yaml", "names: [a]\n")
        got = self.act("uninstall", SSM_SEKISHO_PURGE="yes")
        self.check("purge: 0, nothing of the agent is left", got.returncode == 0 and not h.version() and
                   os.listdir(h.root + "/etc/sekisho") == ["manager.yaml"], got.all)
        self.check("nor its state", not h.has("var/lib/sekisho"))
        got = self.act("uninstall", SSM_SEKISHO_PURGE="yes")
        self.check("purge again: 0", got.returncode == 0, got.all)

    def without_systemd(self):
        os.rmdir(self.host.root + "/run/systemd/system")
        got = self.act("install")
        self.check("without systemd: 0, and said", got.returncode == 0 and "systemd does not run here" in got.stdout, got.all)
        got = self.act("uninstall", SSM_SEKISHO_PURGE="yes")
        self.check("and uninstall", got.returncode == 0, got.all)

    def run(self):
        try:
            for part in (self.failures, self.install, self.update, self.uninstall, self.without_systemd):
                part()
        finally:
            self.host.end()


def test_real(t, work, folder, form):
    """The packages of this build; the RPMs with rpm alone, on the file system of a Debian host."""
    platform, release = ("debian", "12") if form == "deb" else ("amazon", "2023")
    host = Host(work, form)

    def check(what, got, want, *more):
        t.check("real %s: %s" % (form, what), got.returncode == want and all(more), got.stdout + got.stderr)
    try:
        at = host.unpack(folder, platform, release)
        check("install.sh", host.action(at, "install", platform, release), 0, host.version())
        check("configuration and rules that came with it are right", host.run("sekisho", "check"), 0)
        got = host.action(at, "install", platform, release, SSM_SEKISHO_MANAGER="https://127.0.0.1:1", SSM_SEKISHO_RETRY="1s",
                          SSM_SEKISHO_TOKEN_PARAMETER="/sekisho/token", AWS_EC2_METADATA_DISABLED="true")
        check("no parameter to be had: 5, and why", got, 5, "credentials" in got.stderr or "metadata" in got.stderr)
        check("update.sh", host.action(at, "update", platform, release), 0)
        host.file("etc/sekisho/sekisho.yaml", host.text("etc/sekisho/sekisho.yaml") + "# mine\n")
        got = host.action(at, "uninstall", platform, release)
        kept = host.text("etc/sekisho/sekisho.yaml") or host.text("etc/sekisho/sekisho.yaml.rpmsave")
        check("uninstall.sh keeps the configuration", got, 0, not host.version(), kept.endswith("# mine\n"))
        got = host.action(at, "uninstall", platform, release, SSM_SEKISHO_PURGE="yes")
        check("purge", got, 0, not host.has("etc/sekisho/sekisho.yaml"), not host.has("etc/sekisho/sekisho.yaml.rpmsave"),
              not host.has("usr/bin/sekisho"), not host.has("var/lib/sekisho"))
    finally:
        host.end()


def test_real_other(t, work, packages, form):
    """With packages for another machine beside: it is promised, and gets its own."""
    other = "arm64" if os.uname().machine == "x86_64" else "x86_64"
    files = sorted(f for f in os.listdir(packages) if re.fullmatch("sekisho(-rules)?[-_][0-9].*[._](%s|%s)\\.%s" % (
        ARCH_NAMES[other][form], ARCH_NAMES["any"][form], form), f))
    with open(work + "/real/manifest.json", encoding="utf-8") as f:
        promised = choose(json.load(f), *(("debian", "12") if form == "deb" else ("amazon", "2023")), other)
    if not any("rules" not in f for f in files):
        t.check("real %s: no package for %s: none promised" % (form, other), promised is None, promised)
        return
    at = "%s/other-%s" % (work, form)
    with zipfile.ZipFile("%s/real/%s" % (work, promised)) as z:
        z.extractall(at)
    got = subprocess.run(["sh", "-euc", ". ./common.sh; choose_packages; echo $FILES"], cwd=at, capture_output=True, text=True,
                         env={"PATH": os.environ["PATH"], "BWS_ARCHITECTURE": other})
    t.check("real %s: on %s its own packages are chosen" % (form, other), got.returncode == 0 and len(files) == 2 and
            sorted(got.stdout.split()) == ["./" + f for f in files], got.stdout + got.stderr)


def tests(t, work):
    forms = ("deb", "rpm") if shutil.which("rpmbuild") else ("deb",)
    if len(forms) == 1:
        t.skip("RPM platforms", "rpmbuild is not installed")
    manifest = test_build(t, work, forms)
    test_choice(t, manifest, forms)
    test_refusals(t, work)
    make_packages(work + "/p2", "1.3.0", ("x86_64",), forms)
    build(work + "/p2", work + "/out2")
    for form in forms:
        Case(t, work, form).run()


def real_tests(t, work, packages):
    got = build(packages, work + "/real")
    if t.check("build.sh with the packages of this build", got.returncode == 0, got.stderr):
        for form in ("deb", "rpm"):
            test_real(t, work, work + "/real", form)
            test_real_other(t, work, packages, form)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--packages")
    args = ap.parse_args()
    t = Tally("ssm")
    if os.geteuid() != 0:
        t.skip("SSM Distributor", "needs root for a mount namespace")
        return t.end()
    if os.environ.get("SSM_TEST_NAMESPACE") != "1":
        os.environ["SSM_TEST_NAMESPACE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, "-B"] + sys.argv)
    work = tempfile.mkdtemp(prefix="sekisho-ssm-")
    try:
        subprocess.run(["mount", "-t", "tmpfs", "sekisho-ssm", work], check=True)
        if args.packages:
            real_tests(t, work, os.path.abspath(args.packages))
        else:
            tests(t, work)
    finally:
        subprocess.run(["umount", "-R", work], check=False)
        os.rmdir(work)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
