#!/usr/bin/env python3
"""packaging/userdata: the scripts install packages, enrol and start, in an overlay of this machine's own files, which is
gone afterwards. The manager and AWS are played by the test; apt, dpkg and `sekisho enroll` are real; systemctl and dnf
are stand-ins that write down what they were told.

    userdata.py --agent PATH
"""
import argparse
import hashlib
import http.server
import os
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import threading

import yaml

from aws_fake import Fake
from bed import ROOT, Tally
from fake_manager import FakeManager, openssl
from uplink_enroll import TOKEN

FOLDER = os.path.join(ROOT, "packaging/userdata")
sys.path.insert(0, FOLDER)
sys.dont_write_bytecode = True
import make  # noqa: E402  # pylint: disable=import-error,wrong-import-position

HERE = "eu-central-1"
STAND_IN = """#!/bin/sh
printf '%s %s\\n' "$(basename "$0")" "$*" >>/var/log/stand-ins
"""
DNF = STAND_IN + """for f in "$@"; do
  case $f in *.rpm) tar -C / -xf "$f" ;; esac
done
"""


def files(t):
    """What is checked in."""
    done = subprocess.run([sys.executable, "-B", os.path.join(FOLDER, "make.py"), "--check"], capture_output=True, text=True,
                          check=False)
    t.check("files: in step with what they are made from", done.returncode == 0, done.stdout)
    for platform in make.PLATFORMS:
        path = os.path.join(FOLDER, platform)
        script, cloud = (open(path + end, encoding="utf-8").read() for end in (".sh", ".yaml"))
        doc = yaml.safe_load(cloud)
        t.check(f"files: {platform}: cloud-config holds the script", cloud.startswith("#cloud-config\n") and
                doc["write_files"][0]["content"] == script and doc["write_files"][0]["permissions"] == "0700" and
                doc["runcmd"] == [[doc["write_files"][0]["path"]]])
        t.check(f"files: {platform}: small enough for EC2", len(cloud.encode()) <= 16384)
        # Fn::Sub of CloudFormation and templatefile of Terraform take "${" for their own.
        t.check(f"files: {platform}: nothing in it is for a template", "${" not in cloud and "%{" not in cloud)
        t.check(f"files: {platform}: a plain shell reads it", subprocess.run(["dash", "-n", path + ".sh"],
                                                                             check=False).returncode == 0)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", *(os.path.join(FOLDER, p + ".sh") for p in make.PLATFORMS)], capture_output=True,
                              text=True, check=False)
        t.check("files: shellcheck", done.returncode == 0, done.stdout)


class Root:
    """This machine's files, and what is written over them: in a mount namespace that ends with us."""

    def __init__(self, folder):
        self.dir = folder
        os.makedirs(folder)
        self.root = os.path.join(folder, "root")
        self.holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-ec",
             'cd "$0"; mount -t tmpfs none .; cd "$0"; mkdir upper work root; mount -t overlay overlay -o '
             "lowerdir=/,upperdir=upper,workdir=work root; mount -t proc none root/proc; mount --bind /dev root/dev; "
             "mount -t tmpfs none root/tmp; echo ready; exec sleep 3600", folder], stdout=subprocess.PIPE, text=True)
        self.works = self.holder.stdout.readline().strip() == "ready"

    def run(self, *words, env=None, stdin=None):
        inside = ["nsenter", "-t", str(self.holder.pid), "-m", "chroot", self.root, *words]
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        return subprocess.run(inside, env=dict(clean, **(env or {})), input=stdin, capture_output=True, text=True,
                              timeout=300, check=False)

    def write(self, path, data, mode=0o644):
        data = data if isinstance(data, bytes) else data.encode()
        inside = ["nsenter", "-t", str(self.holder.pid), "-m", "chroot", self.root, "sh", "-c",
                  'mkdir -p "$(dirname "$0")"; rm -f "$0"; cat >"$0"; chmod "$1" "$0"', path, oct(mode)[2:]]
        subprocess.run(inside, input=data, check=True)

    def read(self, path):
        done = self.run("cat", path)
        return done.stdout if done.returncode == 0 else None

    def end(self):
        self.holder.kill()
        self.holder.wait()


class Packages:
    """A folder as a release has it. Packages of the agent that was built, and of its rules."""

    def __init__(self, folder, agent):
        self.dir = folder
        arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
        self.tree(agent)
        self.deb("sekisho", arch, self.dir + "/agent", "Depends: sekisho-rules\n")
        self.deb("sekisho-rules", "all", self.dir + "/rules")
        for name, tree in (("sekisho-0.1.0-1.%s.rpm" % os.uname().machine, "agent"), ("sekisho-rules-0.1.0-1.noarch.rpm",
                                                                                      "rules")):
            subprocess.run(["tar", "-C", os.path.join(self.dir, tree), "-cf", self.path(name), "."], check=True)
        other = {"amd64": ("arm64", "aarch64"), "arm64": ("amd64", "x86_64")}[arch]
        for name in ("sekisho-manager_0.1.0_%s.deb" % arch, "sekisho-debuginfo-0.1.0-1.x86_64.rpm",
                     "sekisho_0.1.0_%s.deb" % other[0], "sekisho-0.1.0-1.%s.rpm" % other[1]):
            with open(self.path(name), "w", encoding="ascii") as f:
                f.write("not this one\n")
        self.sums()

    def path(self, name):
        return os.path.join(self.dir, name)

    def tree(self, agent):
        os.makedirs(self.path("agent/usr/bin"))
        os.makedirs(self.path("rules/usr/share/sekisho/rules"))
        os.makedirs(self.path("agent/etc/sekisho"))
        shutil.copy2(agent, self.path("agent/usr/bin/sekisho"))
        shutil.copy2(os.path.join(ROOT, "agent/sekisho.yaml"), self.path("agent/etc/sekisho"))
        shutil.copy2(os.path.join(ROOT, "rules/sekisho-starter.rules"), self.path("rules/usr/share/sekisho/rules"))

    def deb(self, name, arch, tree, more=""):
        os.makedirs(tree + "/DEBIAN")
        with open(tree + "/DEBIAN/control", "w", encoding="ascii") as f:
            f.write(f"Package: {name}\nVersion: 0.1.0\nArchitecture: {arch}\nMaintainer: Test <test@example.org>\n{more}"
                    "Description: of a test\n")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, self.path(f"{name}_0.1.0_{arch}.deb")], check=True,
                       capture_output=True)
        shutil.rmtree(tree + "/DEBIAN")

    def names(self):
        return sorted(n for n in os.listdir(self.dir) if n.endswith((".deb", ".rpm")))

    def sums(self):
        with open(self.path("SHA256SUMS"), "w", encoding="ascii") as f:
            for n in self.names():
                f.write(f"{hashlib.sha256(open(self.path(n), 'rb').read()).hexdigest()}  {n}\n")
        self.sum = hashlib.sha256(open(self.path("SHA256SUMS"), "rb").read()).hexdigest()


class Bed:
    def __init__(self, folder, args):
        self.folder, self.n = folder, 0
        self.packages = Packages(os.path.join(folder, "packages"), args.agent)
        self.fake = FakeManager(os.path.join(folder, "m")).start()
        self.fake.tokens[TOKEN] = None
        self.fake.identity = True
        self.aws = Fake().start()
        self.aws.identity_dir()
        sha = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", self.fake.ca.pem).decode().split("=")[1].strip()
        self.aws.parameters.update({(HERE, "/sekisho/token"): TOKEN, (HERE, "/sekisho/ca"): sha})

    def root(self):
        """A machine on which the packages are not installed; its sources are empty: nothing is asked of a mirror."""
        self.n += 1
        r = Root(os.path.join(self.folder, f"root-{self.n}"))
        if r.works:
            r.run("sh", "-c", "rm -rf /etc/apt/sources.list* /var/lib/apt/lists/* /var/lib/sekisho /etc/sekisho; mkdir /srv/p")
            r.write("/usr/bin/systemctl", STAND_IN, 0o755)
            r.write("/usr/bin/dnf", DNF, 0o755)
            for name in [*self.packages.names(), "SHA256SUMS"]:
                r.write("/srv/p/" + name, open(self.packages.path(name), "rb").read())
        return r

    def settings(self, **over):
        s = {"SEKISHO_MANAGER": self.fake.url, "SEKISHO_SOURCE": "/srv/p", "SEKISHO_SUMS_SHA256": self.packages.sum,
             "SEKISHO_TOKEN_PARAMETER": "/sekisho/token", "SEKISHO_CA_PARAMETER": "/sekisho/ca", "SEKISHO_TAGS": "env=test team=a",
             "SEKISHO_RETRY": "5s", "SEKISHO_DRAIN": "yes", "SEKISHO_SETTINGS": "decide.dry-run=yes",
             "SEKISHO_LIFECYCLE_HOOK": "my-hook", "SEKISHO_ENROLL_OPTIONS": f"--imds {self.aws.url} --aws-endpoint {self.aws.url}"}
        return [f"{k}={v}" for k, v in dict(s, **over).items() if v is not None]

    def boot(self, root, name="debian.sh", env=None, **over):
        root.write("/var/lib/cloud/user-data", make.make(name, self.settings(**over)), 0o700)
        return root.run("dash", "/var/lib/cloud/user-data", env=dict({
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.aws.url, "ASAN_OPTIONS": "detect_leaks=0"}, **(env or {})))

    def end(self):
        self.fake.stop()
        self.aws.stop()


def whole(t, b, r):
    done = b.boot(r)
    t.check("whole: works", done.returncode == 0 and "enrolled with" in done.stdout, (done.stdout, done.stderr))
    sent = b.fake.enrolled[-1] if b.fake.enrolled else {}
    t.check("whole: the manager has it, with its tags", sent.get("token") == TOKEN and sent.get("tags") == {
        "env": "test", "team": "a"}, sent)
    t.check("whole: both packages are installed", r.run("dpkg-query", "-W", "-f", "${db:Status-Status} ", "sekisho",
                                                        "sekisho-rules").stdout == "installed installed ")
    t.check("whole: the service is enabled and started", "systemctl enable --now sekisho.service" in
            (r.read("/var/log/stand-ins") or ""))
    t.check("whole: it leaves the fleet when it ends", "enable --now sekisho-drain.service" in r.read("/var/log/stand-ins") and
            r.read("/etc/sekisho/drain.conf") == 'SEKISHO_DRAIN_OPTIONS="--lifecycle-hook my-hook"\n')
    t.check("whole: its settings are written", "\ndecide.dry-run=yes\n" in (r.read("/etc/sekisho/instance.conf") or ""))
    done = b.boot(r)
    t.check("whole: once more", done.returncode == 0 and len(b.fake.enrolled) == 1, (done.stdout, done.stderr))
    log = r.read("/var/log/sekisho-userdata.log") or ""
    mode = r.run("stat", "-c", "%a", "/var/log/sekisho-userdata.log").stdout.strip()
    t.check("whole: the log is root's, and tells what was done", mode == "600" and log.count("installing from") == 2 and
            "Enrolled already" in log, (mode, log[-600:]))
    script = r.read("/var/lib/cloud/user-data")
    t.check("whole: the token is in no file and in no output", TOKEN not in log + done.stdout + done.stderr + script and
            r.run("grep", "-rlF", TOKEN, "/var/log", "/var/lib/cloud", "/var/lib/sekisho", "/etc").stdout == "")
    t.check("whole: nothing is left in /tmp", r.run("ls", "/tmp").stdout == "", r.run("ls", "/tmp").stdout)


def nothing_installed(r):
    return r.run("dpkg-query", "-W", "-f", "${db:Status-Status}", "sekisho").stdout in ("", "not-installed") and \
        "systemctl" not in (r.read("/var/log/stand-ins") or "") and r.run("ls", "/tmp").stdout == ""


def refused(t, b, r):
    before = len(b.fake.enrolled)
    for what, over, word in (("no manager", {"SEKISHO_MANAGER": ""}, "SEKISHO_MANAGER"),
                             ("no source", {"SEKISHO_SOURCE": ""}, "SEKISHO_SOURCE"),
                             ("a source that is none", {"SEKISHO_SOURCE": "ftp://x/y"}, "SEKISHO_SOURCE"),
                             ("no token", {"SEKISHO_TOKEN_PARAMETER": ""}, "SEKISHO_TOKEN_PARAMETER"),
                             ("no sum", {"SEKISHO_SUMS_SHA256": ""}, "SEKISHO_SUMS_SHA256"),
                             ("a hook that is none", {"SEKISHO_LIFECYCLE_HOOK": "a b"}, "SEKISHO_LIFECYCLE_HOOK"),
                             ("another sum", {"SEKISHO_SUMS_SHA256": "0" * 64}, "SHA256SUMS has not"),
                             ("a folder without it", {"SEKISHO_SOURCE": "/srv"}, "/srv/SHA256SUMS")):
        done = b.boot(r, **over)
        t.check(f"refused: {what}", done.returncode == 1 and word in done.stdout + done.stderr and nothing_installed(r),
                (done.returncode, done.stdout, done.stderr))
    agent = next(n for n in b.packages.names() if n.startswith("sekisho_"))
    r.write("/srv/p/" + agent, open(b.packages.path(agent), "rb").read() + b"\0")
    done = b.boot(r)
    t.check("refused: a package that was changed", done.returncode == 1 and "has not the sum" in done.stderr and
            nothing_installed(r), done.stderr)
    sums = open(b.packages.path("SHA256SUMS"), encoding="ascii").read()
    twice = sums + sums.replace("sekisho_0.1.0", "sekisho_0.2.0")
    for what, text, word in (("two agents to choose from", twice, "more than one"),
                             ("no agent in the list", sums.replace("sekisho_", "other_"), "names no package")):
        r.write("/srv/p/SHA256SUMS", text)
        done = b.boot(r, SEKISHO_SUMS_SHA256=hashlib.sha256(text.encode()).hexdigest())
        t.check(f"refused: {what}", done.returncode == 1 and word in done.stderr and nothing_installed(r), done.stderr)
    t.check("refused: nobody was enrolled", len(b.fake.enrolled) == before)


def from_s3(t, b, r):
    for name in [*b.packages.names(), "SHA256SUMS"]:
        b.aws.objects["/my.bucket/a/b/" + name] = open(b.packages.path(name), "rb").read()
    b.aws.denied.add("GetObject")
    over = {"SEKISHO_SOURCE": "s3://my.bucket/a/b/", "SEKISHO_S3_ENDPOINT": b.aws.url}
    done = b.boot(r, **over)
    t.check("S3: a bucket that may not be read", done.returncode == 1 and "403" in done.stderr and nothing_installed(r),
            done.stderr)
    b.aws.denied.clear()
    done = b.boot(r, **over)
    t.check("S3: with the instance's role", done.returncode == 0, (done.stdout, done.stderr))


def with_bad_settings(t, b, r):
    done = b.boot(r, SEKISHO_SETTINGS="rule-files=/etc/passwd")
    t.check("settings: one that may not be set so", done.returncode == 1 and "rule-files" in done.stderr and
            r.read("/etc/sekisho/instance.conf") is None, done.stderr)


def from_https(t, b, r):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=b.packages.dir))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*b.fake.server_cert)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": .1}, daemon=True).start()
    r.write("/srv/ca.pem", b.fake.ca.text())
    done = b.boot(r, env={"SSL_CERT_FILE": "/srv/ca.pem"}, SEKISHO_SOURCE=f"https://127.0.0.1:{server.server_address[1]}")
    t.check("https: works", done.returncode == 0, (done.stdout, done.stderr))
    server.shutdown()
    server.server_close()


def other_platform(t, b, r):
    done = b.boot(r, name="amazon-linux-2023.sh")
    told = r.read("/var/log/stand-ins") or ""
    machine = os.uname().machine
    t.check("dnf: is given the two packages, and they are right", done.returncode == 0 and
            f"/sekisho-0.1.0-1.{machine}.rpm" in told and "/sekisho-rules-0.1.0-1.noarch.rpm" in told and
            told.count(".rpm") == 2, (told, done.stdout, done.stderr))
    r.run("rm", "/var/log/stand-ins")
    done = b.boot(r, name="rhel-9.sh", SEKISHO_SOURCE="repository", SEKISHO_SUMS_SHA256="")
    told = r.read("/var/log/stand-ins") or ""
    t.check("dnf: from a repository, by name", done.returncode == 0 and "dnf -y install sekisho sekisho-rules\n" in told,
            (told, done.stderr))


def not_enrolled(t, b, r):
    b.fake.tokens[TOKEN] = (403, "token_expired")
    done = b.boot(r)
    t.check("not enrolled: says why, and the host is protected all the same", done.returncode == 1 and "expired" in
            done.stderr and "refused" in done.stderr and "enable --now sekisho.service" in (r.read("/var/log/stand-ins") or ""),
            (done.stdout, done.stderr))
    b.fake.tokens[TOKEN] = None
    done = b.boot(r, SEKISHO_MANAGER="https://127.0.0.1:1", SEKISHO_RETRY="1s")
    t.check("not enrolled: nobody there", done.returncode == 1 and "does not answer" in done.stderr, done.stderr)
    done = b.boot(r)
    t.check("not enrolled: and later it is", done.returncode == 0, done.stderr)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    args = p.parse_args()
    t = Tally("userdata")
    files(t)
    if os.geteuid() != 0 or not shutil.which("dpkg-deb") or not stat.S_ISLNK(os.lstat("/proc/self/ns/mnt").st_mode):
        t.skip("userdata", "needs root, dpkg and mount namespaces")
        return t.end()
    folder = tempfile.mkdtemp(prefix="userdata-")
    b = None
    try:
        b = Bed(folder, args)
        for case in (whole, refused, with_bad_settings, from_s3, from_https, other_platform, not_enrolled):
            r = b.root()
            try:
                if not r.works:
                    t.skip(case.__name__, "no overlay of this machine's files can be mounted")
                else:
                    case(t, b, r)
            finally:
                r.end()
    finally:
        if b:
            b.end()
        shutil.rmtree(folder, ignore_errors=True)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
