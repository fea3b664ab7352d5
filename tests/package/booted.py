"""A Debian root that boots with a systemd of its own, in systemd-nspawn, for tests of packages. Needs root."""
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import time

from hosts import LANDLOCK, Base

# What the packages need beside their own dependencies, or is beside them on many hosts: IMAGE and MORE of hosts.py have it.
TOOLS = ("systemd", "systemd-sysv", "dbus", "nftables", "iproute2", "logrotate", "procps", "curl", "ca-certificates", "needrestart")


def run(*cmd, check=True, timeout=300, **kw):
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, timeout=timeout, **kw)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(cmd)}: exit {done.returncode}: {done.stdout.strip()[-2000:]}")
    return done


def wait_until(what, seconds=10, step=0.1):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        time.sleep(step)
    return what()


def depends(debs):
    """First choices of what the packages depend on, without themselves."""
    own, names = set(), set()
    for deb in debs:
        own.add(run("dpkg-deb", "-f", deb, "Package").stdout.strip())
        for one in run("dpkg-deb", "-f", deb, "Depends").stdout.split(","):
            names.add(one.split("|")[0].split("(")[0].strip())
    return sorted(names - own - {""})


def make_base(path, debs):
    """The root that all hosts begin with (hosts.py), with TOOLS and the dependencies; kept for the next time."""
    common = Base(os.path.dirname(debs[0]))
    want = sorted({*TOOLS, *depends(debs)})
    made_of = " ".join([common.key, *want])
    mark = path + ".packages"
    if os.path.isdir(path) and os.path.exists(mark) and open(mark, encoding="utf-8").read() == made_of:
        return
    shutil.rmtree(path, ignore_errors=True)
    print(f"making {path}: {' '.join(want)}", flush=True)
    run("cp", "-a", "--reflink=auto", common.make(), path)
    for words in (["update"], ["install", "-y", "--no-install-recommends", *want]):
        run("chroot", path, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *words)
    shutil.rmtree(os.path.join(path, "srv/debian"))
    with open(mark, "w", encoding="utf-8") as f:
        f.write(made_of)


def cgroups(name):
    """Folders of a control group below our own, in the hierarchies that systemd uses."""
    found = []
    with open("/proc/self/cgroup", encoding="ascii") as f:
        for line in f:
            _, what, path = line.strip().split(":", 2)
            for top in {"name=systemd": ["/sys/fs/cgroup/systemd"], "": ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]}.get(what, []):
                if os.path.exists(os.path.join(top + path, "cgroup.procs")):
                    found.append(os.path.join(top + path, name))
                    break
    return found


def remove_cgroup(path):
    for folder, folders, _ in os.walk(path, topdown=False):
        for d in folders:
            os.rmdir(os.path.join(folder, d))
    if os.path.isdir(path):
        os.rmdir(path)


class Machine:
    """A copy of a base, booted on a network of its own. A client is a network namespace on the other end of its eth0."""

    def __init__(self, base, path, name):
        self.path, self.name, self.process, self.pid = path, name, None, None
        self.client = f"{name}c"
        run("cp", "-a", "--reflink=auto", base, path)
        for at, text in (("etc/machine-id", ""), ("etc/hostname", name + "\n"), ("etc/fstab", ""),
                         ("etc/systemd/network/eth0.network", "[Match]\nName=eth0\n[Network]\nAddress=10.88.0.1/24\n"
                                                              "Address=fd88::1/64\nConfigureWithoutCarrier=yes\n")):
            with open(self.at(at), "w", encoding="utf-8") as f:
                f.write(text)
        self.chroot("systemctl", "enable", "systemd-networkd")
        self.chroot("systemctl", "mask", "systemd-networkd-wait-online")

    def at(self, path):
        return os.path.join(self.path, path.lstrip("/"))

    def chroot(self, *cmd, **kw):
        return run("chroot", self.path, *cmd, **kw)

    # --- power ---

    def boot(self):
        self.console = open(self.path + ".console", "ab")
        for d in cgroups(self.name):  # else machines of several tests would share the groups of their services
            os.makedirs(d, exist_ok=True)
        self.process = subprocess.Popen(
            ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network",
             "--resolv-conf=off", "--timezone=off", "--system-call-filter=" + LANDLOCK, "--link-journal=no", "-D", self.path, "--boot"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console, start_new_session=True,
            preexec_fn=self.enter_cgroups)
        self.pid = wait_until(self.find_init, 20)
        if not self.pid:
            raise RuntimeError("systemd-nspawn does not start: " + self.console_tail())
        self.cable()
        state = wait_until(lambda: self.state() in ("running", "degraded") and self.state(), 90)
        if not state:
            raise RuntimeError(f"it does not boot: {self.state()}: {self.console_tail()}")

    def enter_cgroups(self):
        for d in cgroups(self.name):
            with open(os.path.join(d, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write("0")

    def find_init(self):
        if self.process.poll() is not None:
            return None
        for pid in run("pgrep", "-P", str(self.process.pid), check=False).stdout.split():
            try:
                if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net") and \
                        "systemd" in open(f"/proc/{pid}/comm", encoding="ascii").read():
                    return int(pid)
            except OSError:
                pass
        return None

    def console_tail(self):
        return open(self.path + ".console", encoding="utf-8", errors="replace").read()[-1500:]

    def cable(self):
        """The machine's eth0, and the client's."""
        run("ip", "netns", "add", self.client)
        run("ip", "link", "add", "eth0", "netns", self.client, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        for words in (("addr", "add", "10.88.0.2/24", "dev", "eth0"), ("addr", "add", "10.88.0.3/24", "dev", "eth0"),
                      ("addr", "add", "fd88::2/64", "dev", "eth0", "nodad"), ("link", "set", "eth0", "up"),
                      ("link", "set", "lo", "up")):
            run("ip", "-n", self.client, *words)

    def state(self):
        return self.sh("systemctl", "is-system-running").stdout.strip()

    def halt(self):
        if self.process:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(40)
                except subprocess.TimeoutExpired:
                    os.killpg(self.process.pid, signal.SIGKILL)
                    if self.pid and os.path.exists(f"/proc/{self.pid}"):
                        os.kill(self.pid, signal.SIGKILL)
                    self.process.wait(10)
            self.console.close()
            self.process = self.pid = None
            for d in cgroups(self.name):
                wait_until(lambda d=d: self.gone(d), 5)
        for pid in run("ip", "netns", "pids", self.client, check=False).stdout.split():
            if pid.isdigit():  # and not a word of an error: there is no such namespace
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", self.client, check=False)

    @staticmethod
    def gone(cgroup):
        try:
            remove_cgroup(cgroup)
            return True
        except OSError:
            return False  # something is still ending

    def remove(self):
        self.halt()
        shutil.rmtree(self.path, ignore_errors=True)
        if os.path.exists(self.path + ".console"):
            os.unlink(self.path + ".console")

    # --- commands ---

    def words(self, *cmd):
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--", "env", "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *cmd]

    def sh(self, *cmd, **kw):
        """In the machine; never fails by itself."""
        return run(*self.words(*cmd), check=False, **kw)

    def must(self, *cmd, **kw):
        return run(*self.words(*cmd), **kw)

    def inside(self, *cmd):
        """A program of this machine on the other one's network."""
        return ["nsenter", "-t", str(self.pid), "-n", "--", *cmd]

    def outside(self, *cmd):
        return ["ip", "netns", "exec", self.client, *cmd]

    def give(self, *paths):
        os.makedirs(self.at("root/in"), exist_ok=True)
        return ["/root/in/" + os.path.basename(shutil.copy(p, self.at("root/in"))) for p in paths]

    def read(self, path):
        with open(self.at(path), encoding="utf-8", errors="replace") as f:
            return f.read()

    def journal(self, unit, *more):
        return self.sh("journalctl", "-q", "--no-pager", "-o", "cat", "-u", unit, *more).stdout


# What a Debian changes by itself.
MOVING = ("proc", "sys", "dev", "run", "tmp", "root/in", "var/tmp", "var/log/journal", "var/log/dpkg.log", "var/log/alternatives.log",
          "var/lib/dpkg", "var/cache", "var/lib/systemd/random-seed", "var/lib/systemd/timers", "var/lib/systemd/catalog",
          "var/lib/logrotate", "var/lib/private", "var/log/wtmp", "var/log/lastlog", "var/log/btmp", "etc/.pwd.lock", "etc/ld.so.cache",
          "var/lib/systemd/timesync", "etc/machine-id")


def picture(root):
    """Every path below root that is not moving: kind, mode, owner, and what is in it."""
    found = {}
    for folder, folders, files in os.walk(root):
        at = os.path.relpath(folder, root)
        folders[:] = [d for d in folders if os.path.normpath(os.path.join(at, d)) not in MOVING]
        for name in folders + files:
            path = os.path.normpath(os.path.join(at, name))
            st = os.lstat(os.path.join(root, path))
            if path in MOVING:
                continue
            what = ""
            if stat.S_ISLNK(st.st_mode):
                what = os.readlink(os.path.join(root, path))
            elif stat.S_ISREG(st.st_mode):
                with open(os.path.join(root, path), "rb") as f:
                    what = hashlib.sha256(f.read()).hexdigest()
            found[path] = (oct(st.st_mode), st.st_uid, st.st_gid, what)
    return found


def differences(before, after):
    return sorted([f"+ {p}" for p in after if p not in before] + [f"- {p}" for p in before if p not in after] +
                  [f"~ {p}" for p in before if p in after and before[p] != after[p]])


class Tally:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0

    def check(self, what, good, detail=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        print(f"{'ok  ' if good else 'FAIL'} {what}" + ("" if good else f": {detail}"), flush=True)
        return bool(good)

    def skip(self, why):
        self.skipped += 1
        print(f"{self.name}: SKIP: {why}")

    def end(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0
