"""Hosts for tests of packages: Debian 12 with systemd as its first process (systemd-nspawn), each in a network of its own;
and an AWS for them: moto, and a strict fake for what moto has not (instance metadata, lifecycle hooks).

    manager 10.79.0.10, web-a .11, web-b .12 ---- 10.79.0.1 AWS, 169.254.169.254; 203.0.113.1 ---- attackers 203.0.113.x

A test calls run() twice: outside, where it makes the root that all hosts begin with (kept in build/, by what is in it),
and inside: as the first process of namespaces of its own (mounts, network, processes), so that nothing outlives it.
"""
import argparse
import ctypes
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests/manager")]
sys.dont_write_bytecode = True
from aws_fake import Fake, Key  # noqa: E402  # pylint: disable=import-error,wrong-import-position
from aws_kept import Instance  # noqa: E402  # pylint: disable=import-error,wrong-import-position
from bed import REGION, IpSets, Moto, Tally, find_venv, wait_until  # noqa: E402  # pylint: disable=import-error,wrong-import-position

__all__ = ["Bed", "Host", "IpSets", "REGION", "Tally", "find", "run", "version_of", "wait_until"]

SUITE = "bookworm"
# Beside what the packages depend on: for what docs/operations.md installs, and for booted.py.
MORE = ["sqlite3", "postgresql", "logrotate", "procps", "needrestart"]
# PostgreSQL's compiler of queries, of 100 MB unpacked: that it is not there stays unseen.
EMPTY = {"libllvm14": "/usr/lib/postgresql/*/lib/llvmjit.so"}
# For hosts of RPM packages (rpm_hosts.py): unpacked over the same root, beside the libraries that the packages link.
RPM_TOOLS = ["dnf", "rpm"]
IMAGE = ["systemd", "systemd-sysv", "dbus", "iproute2", "nftables", "python3", "ca-certificates", "curl"]
PREFIX = "sekisho-hosts-"
RECIPE = "5"  # another number: made anew
TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "dpkg-scanpackages": "dpkg-dev", "nft": "nftables",
         "rpmbuild": "rpm", "createrepo_c": "createrepo-c", "curl": "curl", "ip": "iproute2", "unshare": "util-linux"}
# As on a host that is no container.
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
GATEWAY, IMDS = "10.79.0.1", "169.254.169.254"
ADDRESSES = {"manager": "10.79.0.10", "web-a": "10.79.0.11", "web-b": "10.79.0.12",
             "manager-rpm": "10.79.0.13", "web-rpm": "10.79.0.14"}
INSTANCES = {"manager": "i-0aaaaaaaaaaaaaaa0", "web-a": "i-0aaaaaaaaaaaaaaa1", "web-b": "i-0aaaaaaaaaaaaaaa2",
             "manager-rpm": "i-0aaaaaaaaaaaaaaa3", "web-rpm": "i-0aaaaaaaaaaaaaaa4"}
# Not one of them has the time of this machine.
ZONES = {"manager": "Pacific/Auckland", "web-a": "America/Los_Angeles", "web-b": "Asia/Kolkata", "manager-rpm": "Asia/Tokyo",
         "web-rpm": "Europe/Lisbon"}
MANAGER_NAME = "manager.example.com"
MANAGER_URL = f"https://{MANAGER_NAME}:8443"
GROUP, HOOK = "web", "sekisho"
# What docs/ say that an instance's role needs; the manager's among it.
RIGHTS = ["ssm:GetParameter", "s3:GetObject", "wafv2:GetIPSet", "wafv2:UpdateIPSet", "wafv2:ListIPSets", "wafv2:CreateIPSet"]


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def find(folder, name):
    """The one package of that name for this machine."""
    own = output("dpkg", "--print-architecture").strip()
    found = [f for a in (own, "all") for f in glob.glob(os.path.join(folder, f"{name}_*_{a}.deb"))]
    if len(found) != 1:
        raise RuntimeError(f"{folder}: {len(found)} packages {name}")
    return found[0]


def version_of(deb):
    return output("dpkg-deb", "-f", deb, "Version").strip()


def why_not():
    """Why hosts cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root for hosts in namespaces"
    for tool, package in TOOLS.items():
        if not shutil.which(tool):
            return f"{tool} is not here (package {package})"
    if not find_venv():
        return "moto is not in build/venv"
    if subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        return "this kernel lets us make no namespaces"
    if not cgroup_folders():
        return "no control groups for systemd"
    return None


# --- the root that all begin with ---

class Base:
    """Debian as in a cloud image, and a repository in it of what the packages depend on; nothing else can be installed."""

    def __init__(self, packages):
        self.debs = [find(packages, n) for n in ("sekisho", "sekisho-manager", "sekisho-rules")]
        depends = [output("dpkg-deb", "-f", d, "Depends") for d in self.debs]
        self.key = hashlib.sha256(json.dumps([RECIPE, SUITE, IMAGE, MORE, RPM_TOOLS, depends]).encode()).hexdigest()[:16]
        self.folder = os.path.join(ROOT, "build/package-test")
        self.path = os.path.join(self.folder, "base-" + self.key)
        self.libraries = sorted(set(re.findall(r"\blib(?!vectorscan)[a-z0-9.+-]+", " ".join(depends))))
        self.lock = None

    def make(self):
        """Its path. Takes a minute when it is not there. While this object lives nobody makes another."""
        os.makedirs(self.folder, exist_ok=True)
        self.lock = open(os.path.join(self.folder, "lock"), "w", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_SH)
        while not os.path.isdir(self.path):
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            if not os.path.isdir(self.path):
                self.make_new()
            fcntl.flock(self.lock, fcntl.LOCK_SH)
        return self.path

    def make_new(self):
        print("making the root that hosts begin with", flush=True)
        new = os.path.join(self.folder, "new")
        layer = rpm_layer(new)
        for old in [new, layer, *glob.glob(os.path.join(self.folder, "base-*"))]:
            shutil.rmtree(old, ignore_errors=True)
        try:
            self.build(new)
            os.rename(layer, rpm_layer(self.path))
            os.rename(new, self.path)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(layer, ignore_errors=True)

    @staticmethod
    def sources():
        """Where this machine has Debian from."""
        lines = output("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages",
                       "Origin: Debian").splitlines()
        lines = sorted({x for x in lines if x.split()[2].startswith(SUITE) and x.split()[3] == "main"})
        if not any(x.split()[2] == SUITE for x in lines):
            raise RuntimeError(f"apt knows no mirror of {SUITE} here: apt-get update")
        return "".join(x + "\n" for x in lines)

    def build(self, new):
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt", "--dpkgopt=force-unsafe-io",
                        "--include=" + ",".join(IMAGE), SUITE, new, "-"], input=self.sources(), text=True, check=True)
        inside = os.path.join(new, "root/packages")
        os.mkdir(inside)
        for d in self.debs:
            shutil.copy(d, inside)
        for f in ("/etc/resolv.conf", "/etc/hosts"):
            shutil.copyfile(f, new + f)
        names = [os.path.join("/root/packages", os.path.basename(d)) for d in self.debs]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
               **{k: v for k, v in os.environ.items() if k.endswith("_proxy")}}
        install = ["chroot", new, "apt-get", "-q", "-y", "--no-install-recommends", "install"]
        subprocess.run([*install, "--download-only", *names, *MORE, *RPM_TOOLS], check=True, stdout=subprocess.DEVNULL, env=env)
        chosen = subprocess.run([*install, "--simulate", *RPM_TOOLS, *self.libraries], check=True, capture_output=True, text=True,
                                env=env).stdout
        shutil.rmtree(inside)
        mirror = os.path.join(new, "srv/debian")
        os.mkdir(mirror)
        for f in glob.glob(os.path.join(new, "var/cache/apt/archives/*.deb")):
            shutil.move(f, mirror)
        for name, user in EMPTY.items():
            empty(mirror, name)
            with open(os.path.join(new, "etc/dpkg/dpkg.cfg.d/without-" + name), "w", encoding="ascii") as f:
                f.write(f"path-exclude={user}\n")
        unpack(mirror, re.findall(r"^Inst (\S+)", chosen, re.M), rpm_layer(new))
        with open(os.path.join(mirror, "Packages"), "w", encoding="utf-8") as f:
            subprocess.run(["dpkg-scanpackages", "-h", "sha256", "."], cwd=mirror, stdout=f, stderr=subprocess.DEVNULL, check=True)
        shutil.rmtree(os.path.join(new, "var/lib/apt/lists"))
        os.makedirs(os.path.join(new, "var/lib/apt/lists/partial"))
        shutil.rmtree(os.path.join(new, "etc/apt/sources.list.d"))
        with open(os.path.join(new, "etc/apt/sources.list"), "w", encoding="ascii") as f:
            f.write("deb [trusted=yes] file:/srv/debian ./\n")
        with open(os.path.join(new, "etc/machine-id"), "w", encoding="ascii"):
            pass
        with open(os.path.join(new, "etc/resolv.conf"), "w", encoding="ascii"):
            pass


def rpm_layer(path):
    """What is beside a root, to be laid over it for hosts of RPM packages."""
    return path + "-rpm"


def empty(mirror, name):
    """The package without files, and without what it depends on."""
    deb, = glob.glob(os.path.join(mirror, name + "_*.deb"))
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(os.path.join(d, "DEBIAN"))
        with open(os.path.join(d, "DEBIAN/control"), "w", encoding="utf-8") as f:
            f.write("".join(f"{k}: {output('dpkg-deb', '-f', deb, k).strip()}\n" for k in ("Package", "Version", "Architecture", "Maintainer")) +
                    "Description: empty\n")
        os.chmod(d, 0o755)
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", d, deb], check=True, stdout=subprocess.DEVNULL)


def unpack(mirror, names, folder):
    for link in ("bin", "lib", "lib64", "sbin"):
        os.makedirs(os.path.join(folder, "usr", link))
        os.symlink("usr/" + link, os.path.join(folder, link))
    for name in names:
        deb, = glob.glob(os.path.join(mirror, name + "_*.deb"))
        subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    # Debian calls it by another name.
    library, = glob.glob(os.path.join(folder, "usr/lib/*/libpcap.so.0.8"))
    os.symlink(os.path.basename(library), os.path.join(os.path.dirname(library), "libpcap.so.1"))


# --- outside and inside ---

def cgroup_folders():
    """Where systemd keeps its groups, and we ours: one folder a hierarchy."""
    out = []
    for line in open("/proc/self/cgroup", encoding="ascii"):
        number, names, path = line.rstrip("\n").split(":", 2)
        for top in {"0": ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"), "name=systemd": ("/sys/fs/cgroup/systemd",)}.get(
                names or number, ()):
            if os.path.exists(top + path + "/cgroup.procs") or os.path.exists(top + "/cgroup.procs"):
                here = top + path if os.path.exists(top + path + "/cgroup.procs") else top
                out.append(here.rstrip("/"))
                break
    return out


def remove_groups(folders):
    for top in folders:
        for path, _, _ in os.walk(top, topdown=False):
            wait_until(lambda p=path: try_rmdir(p), 5)


def try_rmdir(path):
    try:
        os.rmdir(path)
        return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


def outside(t, script, options, packages):
    kept = Base(packages)
    base = kept.make()
    sweep()
    folder = tempfile.mkdtemp(prefix=PREFIX)
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    groups = [f"{g}/{os.path.basename(folder)}" for g in cgroup_folders()]
    for g in groups:
        os.mkdir(g)
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
             "--propagation", "private", sys.executable, "-B", script, "--inside", folder, "--base", base,
             "--groups", ":".join(groups), *options]
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL)
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda *_: child.kill())
    child.wait()
    try:
        with open(os.path.join(folder, "tally"), encoding="ascii") as f:
            t.passed, t.failed, t.skipped = json.load(f)
    except (OSError, ValueError):
        t.check("the test comes to its end", False, f"exit {child.returncode}")
    remove_groups(groups)
    shutil.rmtree(folder, ignore_errors=True)
    os.close(held)
    kept.lock.close()
    wait_until(lambda: not traces(folder), 5)
    t.check("nothing is left behind", not traces(folder), traces(folder))
    return t.end()


def sweep():
    """Empty folders of a test that was killed, and could not do that itself."""
    for folder in glob.glob(os.path.join(tempfile.gettempdir(), PREFIX + "*")):
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_groups([f"{g}/{os.path.basename(folder)}" for g in cgroup_folders()])
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its test runs
        finally:
            os.close(held)


def traces(folder):
    """Mounts, control groups, files and processes of hosts."""
    name = os.path.basename(folder)
    found = [line.split()[1] for line in open("/proc/mounts", encoding="utf-8") if name in line]
    found += [f"{g}/{name}" for g in cgroup_folders() if os.path.exists(f"{g}/{name}")]
    found += [folder] if os.path.exists(folder) else []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            if name.encode() in open(path, "rb").read():
                found.append(path)
        except OSError:
            pass
    return found


def run(name, script, parser, test, aws=True):
    """What a test's main() is: test(bed, tally) makes it; aws: with moto and metadata."""
    parser.add_argument("--packages", required=True)
    for hidden in ("--inside", "--base", "--groups"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    t = Tally(name)
    if args.inside:
        return inside(args, t, test, aws)
    why = why_not()
    if why:
        t.skip(name, why)
        return t.end()
    if sys.prefix != os.path.dirname(find_venv()):
        os.execv(os.path.join(find_venv(), "python"), ["python", "-B", os.path.abspath(script), *sys.argv[1:]])
    return outside(t, os.path.abspath(script), sys.argv[1:], args.packages)


def inside(args, t, test, aws):
    bed = Bed(args)
    try:
        bed.build(aws)
        test(bed, t)
    except Exception as e:  # pylint: disable=broad-except
        t.check("the test comes to its end", False, repr(e))
    if t.failed:
        bed.tell()
    bed.end()
    with open(os.path.join(args.inside, "tally"), "w", encoding="ascii") as f:
        json.dump([t.passed, t.failed, t.skipped], f)
    return 0


# --- hosts ---

class Host:
    def __init__(self, bed, name, lower=None):
        self.bed, self.name, self.address = bed, name, ADDRESSES[name]
        self.dir = os.path.join(bed.dir, name)
        self.root = os.path.join(self.dir, "root")
        self.process, self.leader = None, None
        self.instance = Instance(INSTANCES[name])
        os.mkdir(self.dir)
        bed.must("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.dir)
        for d in ("upper", "work", "root"):
            os.mkdir(os.path.join(self.dir, d))
        bed.must("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower or bed.base},upperdir={self.dir}/upper,"
                 f"workdir={self.dir}/work", self.root)
        self.write("/etc/hostname", name + "\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n{ADDRESSES['manager']} {MANAGER_NAME}\n")
        subprocess.run(["ln", "-sf", "/usr/share/zoneinfo/" + ZONES[name], self.at("/etc/localtime")], check=True)
        bed.network(name, self.address)

    def at(self, path):
        return self.root + path

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        with open(self.at(path), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.at(path), mode)

    def copy(self, *files, to="/root"):
        """Paths in the host."""
        os.makedirs(self.at(to), exist_ok=True)
        return [shutil.copy(f, self.at(to))[len(self.root):] for f in files]

    def read(self, path):
        try:
            with open(self.at(path), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def unit(self, name, text, wanted_by=None):
        self.write("/etc/systemd/system/" + name, text)
        if wanted_by:
            wants = self.at(f"/etc/systemd/system/{wanted_by}.wants")
            os.makedirs(wants, exist_ok=True)
            os.symlink("../" + name, os.path.join(wants, name))

    def serve(self):
        """A web server, which is what is attacked."""
        self.write("/var/www/index.html", "<html><body>Hello from behind the gate.</body></html>\n")
        self.unit("web.service", "[Service]\nExecStart=/usr/bin/python3 -m http.server -d /var/www 80\n", "multi-user.target")

    def user_data(self, text):
        """Run as cloud-init does: at the end of the first boot."""
        self.write("/var/lib/cloud/instance/scripts/part-001", text, 0o700)
        self.unit("cloud-final.service", "[Unit]\nAfter=network-online.target multi-user.target\nWants=network-online.target\n"
                  "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/var/lib/cloud/instance/scripts/part-001\n"
                  "TimeoutStartSec=0\n", "graphical.target")

    def enter_groups(self):
        for g in self.bed.groups:
            os.makedirs(f"{g}/{self.name}", exist_ok=True)
            with open(f"{g}/{self.name}/cgroup.procs", "w", encoding="ascii") as f:
                f.write(str(os.getpid()))

    def boot(self):
        log = open(os.path.join(self.dir, "console"), "ab")
        words = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--boot", "--console=pipe", "-D", self.root,
                 f"--network-namespace-path=/run/netns/{self.name}", "--hostname=" + self.name, "--machine=" + self.name,
                 "--timezone=off", "--resolv-conf=off", "--link-journal=no", "--capability=CAP_NET_ADMIN",
                 "--system-call-filter=" + LANDLOCK]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        preexec_fn=self.enter_groups)  # pylint: disable=subprocess-popen-preexec-fn
        log.close()
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"

        def first():
            pids = open(children, encoding="ascii").read().split()
            self.leader = pids[-1] if pids else None
            return self.leader and self.sh("systemctl", "is-system-running").stdout.strip() not in ("", "offline", "unknown")
        if wait_until(lambda: self.process.poll() is not None or first(), 60, .2) is None or self.process.poll() is not None:
            raise RuntimeError(f"{self.name} does not boot:\n" + self.console())
        return self

    def wait_booted(self, seconds=120):
        return self.sh("systemctl", "is-system-running", "--wait", timeout=seconds).stdout.strip()

    def kill(self):
        """As a power cut."""
        if self.process and self.process.poll() is None:
            os.kill(int(self.leader or self.process.pid), signal.SIGKILL)
            self.process.wait(30)

    def console(self):
        return open(os.path.join(self.dir, "console"), encoding="utf-8", errors="replace").read()[-3000:]

    # --- what runs in it ---

    def sh(self, *words, stdin=None, timeout=120):
        inside = ["nsenter", "-t", str(self.leader), "-a", "-r", "-w", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                  "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *words]
        return subprocess.run(inside, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", timeout=timeout, check=False)

    def must(self, *words, **more):
        done = self.sh(*words, **more)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(words)}: {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def json(self, *words):
        done = self.sh(*words, "--json")
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except ValueError:
            return None

    def apt(self, *words):
        return self.sh("apt-get", "-q", "-y", "--no-install-recommends", *words, timeout=300)

    def active(self, unit):
        out = self.sh("systemctl", "is-active", unit)
        return "active" if out.returncode == 0 else out.stdout.strip()  # "reloading" too: when the host's addresses changed

    def show(self, unit, what):
        return self.sh("systemctl", "show", "-p", what, "--value", unit).stdout.strip()

    def journal(self, unit, lines=60):
        return self.sh("journalctl", "--no-pager", "-o", "cat", "-n", str(lines), "-u", unit).stdout

    def roles(self):
        """True: each role of the agent works."""
        s = self.json("sekisho", "status")
        return bool(s) and len(s["roles"]) >= 3 and all(r["state"] == "working" for r in s["roles"])

    def elements(self):
        """{address} of the sets of table inet sekisho, as the kernel has them; None without the table."""
        done = self.bed.within(self.name, "nft", "-j", "list", "table", "inet", "sekisho")
        if done.returncode:
            return None
        out = set()
        for item in json.loads(done.stdout)["nftables"]:
            for e in item.get("set", {}).get("elem", []):
                value = e.get("elem", e).get("val") if isinstance(e, dict) and "elem" in e else e
                out.add(f"{value['prefix']['addr']}/{value['prefix']['len']}" if isinstance(value, dict) else value)
        return out

    def files(self):
        """Paths where packages and services write to, as the host has them."""
        return set(self.must("find", "/etc", "/usr", "/var", "/run", "/opt", "/srv", "-ignore_readdir_race").splitlines())


class Ec2(Fake):
    """The metadata of all hosts, told apart by their addresses; credentials are those of a role that moto knows."""

    creds = None

    def role_session(self):
        return self.creds


class Bed:
    def __init__(self, args):
        self.args, self.dir, self.base = args, args.inside, args.base
        self.groups = [g for g in args.groups.split(":") if g]
        self.hosts, self.moto, self.ec2, self.spaces = {}, None, None, []
        self.packages = os.path.abspath(args.packages)
        tempfile.tempdir = self.dir  # what others make here goes with it

    def must(self, *words):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def within(self, space, *words, timeout=60):
        return subprocess.run(["ip", "netns", "exec", space, *words], capture_output=True, text=True, errors="replace",
                              timeout=timeout, check=False)

    def build(self, aws):
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # no core files of a test
        self.must("mount", "-t", "tmpfs", "tmpfs", "/run")
        self.must("ip", "link", "set", "lo", "up")
        with open("/proc/sys/net/ipv4/ip_forward", "w", encoding="ascii") as f:
            f.write("1")
        for bridge, address in (("inner", GATEWAY + "/24"), ("outer", "203.0.113.1/24")):
            self.must("ip", "link", "add", bridge, "type", "bridge")
            self.must("ip", "addr", "add", address, "dev", bridge)
            self.must("ip", "link", "set", bridge, "up")
        self.must("ip", "addr", "add", IMDS + "/32", "dev", "inner")
        for n, name in enumerate(("attacker", "second", "visitor")):
            self.network(name, f"203.0.113.{66 + n}", "outer", "203.0.113.1")
        if aws:
            self.aws()

    def network(self, name, address, bridge="inner", gateway=GATEWAY):
        self.spaces.append(name)
        self.must("ip", "netns", "add", name)
        self.must("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        self.must("ip", "link", "set", name, "master", bridge, "up")
        for words in (("link", "set", "lo", "up"), ("addr", "add", address + "/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                      ("route", "add", "default", "via", gateway)):
            self.must("ip", "-n", name, *words)

    def address(self, name):
        return ADDRESSES.get(name) or f"203.0.113.{66 + ('attacker', 'second', 'visitor').index(name)}"

    def aws(self):
        """moto with a user, and a role for instances; what an operator puts there comes from the test."""
        self.moto = Moto(GATEWAY)
        self.moto.__enter__()
        iam = self.client("iam")
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {
            "AWS": "*"}}]}
        arn = iam.create_role(RoleName="web", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": RIGHTS, "Resource": "*"}]}
        iam.put_role_policy(RoleName="web", PolicyName="sekisho", PolicyDocument=json.dumps(rights))
        c = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="hosts")["Credentials"]
        self.ec2 = Ec2("0.0.0.0", 80, region=REGION, role="web")
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))
        self.ec2.creds = {"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "Token": c["SessionToken"],
                          "AccessKeyId": c["AccessKeyId"], "SecretAccessKey": c["SecretAccessKey"], "Expiration": end}
        self.ec2.keys[c["AccessKeyId"]] = Key(c["SecretAccessKey"], c["SessionToken"])
        self.ec2.start()

    def client(self, service):
        import boto3  # pylint: disable=import-outside-toplevel
        return boto3.client(service, region_name=REGION, endpoint_url=self.moto.endpoint,
                            aws_access_key_id=self.moto.env["AWS_ACCESS_KEY_ID"],
                            aws_secret_access_key=self.moto.env["AWS_SECRET_ACCESS_KEY"])

    def host(self, name, kind=None):
        h = kind(self, name) if kind else Host(self, name)
        self.hosts[name] = h
        if self.ec2:
            self.ec2.server.clients[h.address] = h.instance
        return h

    def in_group(self, *hosts):
        """They are instances of an Auto Scaling group with a hook."""
        self.ec2.hooks.add((GROUP, HOOK))
        for h in hosts:
            self.ec2.groups[h.instance.id] = GROUP
            h.instance.target_state = "InService"

    def terminate(self, host):
        """The group scales in: the instance is told, and the hook is waited for."""
        self.ec2.waiting.add((GROUP, HOOK, host.instance.id))
        host.instance.target_state = "Terminated"

    def get(self, space, host, path="/index.html", seconds=2):
        """HTTP status, or None without an answer."""
        done = self.within(space, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--connect-timeout", str(seconds), "-m",
                           str(seconds + 1), f"http://{host.address}{path}")
        return int(done.stdout) if done.returncode == 0 else None

    def tell(self):
        """For whoever reads the log of a test that failed."""
        if self.moto and self.moto.running:
            print("--- moto:\n" + self.moto.running.text()[-500:])
        for h in self.hosts.values():
            if h.process is None or h.process.poll() is not None:
                print(f"--- {h.name} is down:\n{h.console()}")
                continue
            for unit in ("sekisho", "sekisho-manager", "sekisho-drain", "cloud-final"):
                text = h.journal(unit, 30)
                if "-- No entries --" not in text:
                    print(f"--- {h.name}, {unit}:\n{text}")
            print("".join((h.read("/var/log/sekisho-userdata.log") or "").splitlines(True)[-15:]))
        sys.stdout.flush()

    def end(self):
        for h in self.hosts.values():
            try:
                h.kill()
            except (OSError, subprocess.SubprocessError):
                pass
        if self.ec2:
            self.ec2.stop()
        if self.moto:
            self.moto.__exit__()
