#!/usr/bin/env python3
"""The Debian packages: lintian, what they hold, and their life on a Debian that boots: install, attack, reload, watchdog, boot,
upgrade under traffic, remove, purge. Needs root, systemd-nspawn, mmdebstrap, lintian; takes some minutes.

  deb.py --packages DIR [--base DIR]

--base, or build/package-test/debian, is the Debian to copy; it is made if it is not there.
"""
import argparse
import glob
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "live")]
sys.dont_write_bytecode = True
import confined  # noqa: E402  # pylint: disable=import-error,wrong-import-position
from debug_info import strange  # noqa: E402  # pylint: disable=wrong-import-position
from booted import Machine, Tally, differences, make_base, picture, run, wait_until  # noqa: E402  # pylint: disable=wrong-import-position

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMES = ("sekisho-rules", "sekisho", "sekisho-manager")
CONFFILES = {"sekisho": {"/etc/sekisho/sekisho.yaml", "/etc/logrotate.d/sekisho", "/etc/needrestart/conf.d/sekisho.conf"},
             "sekisho-manager": {"/etc/sekisho/manager.yaml", "/etc/needrestart/conf.d/sekisho-manager.conf"}, "sekisho-rules": set()}
RULE = ('drop http any any -> any any (msg:"a word that nobody says"; http.uri; content:"/nobody-asks-for-this"; '
        'metadata: sekisho_block 1h; sid:1000001; rev:1;)\n')
EVIL = "/nobody-asks-for-this"
ATTACKER, VISITOR, SERVER = "10.88.0.2", "10.88.0.3", "10.88.0.1"
# Gone with the agent's users, which stay: their numbers must not come to mean somebody else.
USERS = {"etc/passwd", "etc/passwd-", "etc/group", "etc/group-", "etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-"}

# Asks all the time, from one address: lines of "time ok|bad".
ASKER = """
import http.client, sys, time
server, source, path, pause = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
while True:
    try:
        c = http.client.HTTPConnection(server, 80, timeout=2, source_address=(source, 0))
        c.request("GET", path); good = c.getresponse().status == 200; c.close()
    except OSError as e:
        good = False
    print(time.monotonic(), "ok" if good else "bad", flush=True)
    time.sleep(pause)
"""


def newer(deb, to, tmp, more="+1", forgets=None):
    """The same package with a higher version; its program has forgotten a key of the configuration."""
    work = os.path.join(tmp, "newer")
    run("dpkg-deb", "-R", deb, work)
    if forgets:
        program = os.path.join(work, "usr/bin", os.path.basename(deb).split("_")[0])
        with open(program, "rb") as f:
            text = f.read()
        with open(program, "wb") as f:
            f.write(text.replace(forgets.encode(), forgets[:-1].encode() + b"X"))
    control = os.path.join(work, "DEBIAN/control")
    with open(control, encoding="utf-8") as f:
        text = f.read()
    with open(control, "w", encoding="utf-8") as f:
        f.write(re.sub(r"^(Version: .*)$", rf"\1{more}", text, flags=re.M))
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", work, to)
    shutil.rmtree(work)
    return to


class Bed:
    def __init__(self, t, debs, base, tmp):
        self.t, self.debs, self.tmp = t, debs, tmp
        self.m = Machine(base, os.path.join(tmp, "root"), f"skd{os.getpid()}")
        self.server = None
        self.www = os.path.join(tmp, "www")
        os.mkdir(self.www)
        with open(os.path.join(self.www, "index.html"), "w", encoding="utf-8") as f:
            f.write("hello\n")

    def serve(self):
        self.server = subprocess.Popen(self.m.inside(sys.executable, "-c",
                                       "import http.server as h, sys; "
                                       "h.ThreadingHTTPServer(('', 80), lambda *a: h.SimpleHTTPRequestHandler(*a, directory=sys.argv[1]))"
                                       ".serve_forever()", self.www),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.fetch(VISITOR, "/index.html") == 200)

    def stop_serving(self):
        if self.server:
            self.server.kill()
            self.server.wait()
            self.server = None

    def fetch(self, source, path, seconds=3):
        out = run(*self.m.outside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", str(seconds),
                                  "--interface", source, f"http://{SERVER}{path}"), check=False).stdout
        return int(out or 0)

    def status(self):
        out = self.m.sh("sekisho", "status", "--json")
        return json.loads(out.stdout) if out.returncode == 0 else {}

    def ready(self, seconds=30):
        return wait_until(lambda: len(self.status().get("roles", [])) >= 3 and
                          all(r["state"] == "working" for r in self.status()["roles"]), seconds)

    def blocks(self):
        out = self.m.sh("sekisho", "blocks", "--json").stdout
        return {b["target"]: b["expires"] for b in json.loads(out)} if out.startswith("[") else {}

    def kernel(self):
        """Addresses that the kernel drops; None without a table."""
        out = self.m.sh("nft", "-j", "list", "set", "inet", "sekisho", "block4")
        if out.returncode:
            return None
        sets = [x["set"] for x in json.loads(out.stdout)["nftables"] if "set" in x]
        return [e["elem"]["val"] if isinstance(e, dict) and "elem" in e else e for e in sets[0].get("elem", [])]

    def blocked(self, address=ATTACKER, seconds=5):
        return wait_until(lambda: address in (self.kernel() or []), seconds)

    def active(self, unit="sekisho"):
        out = self.m.sh("systemctl", "is-active", unit)
        return "active" if out.returncode == 0 else out.stdout.strip()  # "reloading" too: when the host's addresses changed

    def show(self, *names, unit="sekisho"):
        out = self.m.sh("systemctl", "show", unit, *[f"-p{n}" for n in names]).stdout
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def edit(self, path, text):
        with open(self.m.at(path), "w", encoding="utf-8") as f:
            f.write(text)


# --- the packages as files ---

def look(t, debs):
    out = run("lintian", "--fail-on", "error,warning", *debs.values(), check=False, timeout=1200)
    t.check("lintian has nothing to say", out.returncode == 0, out.stdout)
    for deb in glob.glob(os.path.join(os.path.dirname(debs["sekisho"]), "*-dbgsym_*.deb")):
        with tempfile.TemporaryDirectory() as d:
            run("dpkg-deb", "-x", deb, d)
            found, = glob.glob(d + "/usr/lib/debug/.build-id/*/*.debug")
            odd = strange(found, run("dpkg-deb", "-f", deb, "Version").stdout.strip())
            t.check(f"{os.path.basename(deb)} names no place of the build", not odd, odd)
    for name, deb in debs.items():
        rows = [line.split(None, 5) for line in run("dpkg-deb", "-c", deb).stdout.splitlines()]
        odd = [r for r in rows if r[1] != "root/root" or (r[0][0] != "l" and r[0][8] == "w") or set(r[0][1:]) & set("sStT")]
        t.check(f"{name}: all is root's, nothing for all to write, nothing setuid", not odd, odd)
        with tempfile.TemporaryDirectory() as d:
            run("dpkg-deb", "-e", deb, d)
            path = os.path.join(d, "conffiles")
            have = set(open(path, encoding="utf-8").read().split()) if os.path.exists(path) else set()
        t.check(f"{name}: configuration is marked as such", have == CONFFILES[name], have)


# --- a life ---

def install(b, t):
    m = b.m
    out = m.sh("dpkg", "-i", *m.give(*b.debs.values()))
    t.check("the packages install", out.returncode == 0, out.stdout)
    t.check("the agent is enabled, and runs", b.active() == "active" and b.ready(), m.journal("sekisho"))
    t.check("it has the users that it expects, and no other complaint",
            not re.search(r"nobody|cannot|failed", m.journal("sekisho")), m.journal("sekisho"))
    users = {r["name"]: m.sh("ps", "-o", "user:20=", "-p", str(r["pid"])).stdout.strip() for r in b.status()["roles"]}
    t.check("each role its own", users == {"guard": "root", "engine": "sekisho", "reporter": "sekisho-report"}, users)
    t.check("interfaces are watched", "eth0" in b.status()["interfaces"], b.status()["interfaces"])
    t.check("the manager neither runs nor is enabled", b.active("sekisho-manager") == "inactive" and
            m.sh("systemctl", "is-enabled", "sekisho-manager").stdout.strip() == "disabled", b.active("sekisho-manager"))
    t.check("nor what leaves the fleet", m.sh("systemctl", "is-enabled", "sekisho-drain").stdout.strip() == "disabled")
    modes = m.sh("stat", "-c", "%a %U:%G %n", "/etc/sekisho/sekisho.yaml", "/etc/sekisho/manager.yaml", "/var/lib/sekisho",
                 "/var/log/sekisho", "/var/lib/sekisho-manager", "/var/lib/sekisho/blocks.db", "/var/log/sekisho/eve.json",
                 "/run/sekisho/control.sock").stdout.splitlines()
    t.check("files belong to whom they should", modes == [
        "640 root:root /etc/sekisho/sekisho.yaml", "640 root:sekisho-manager /etc/sekisho/manager.yaml",
        "711 root:root /var/lib/sekisho", "750 root:root /var/log/sekisho", "700 sekisho-manager:sekisho-manager /var/lib/sekisho-manager",
        "600 root:root /var/lib/sekisho/blocks.db", "640 root:root /var/log/sekisho/eve.json",
        "660 root:sekisho /run/sekisho/control.sock"], modes)
    caps = m.sh("sh", "-c", f"grep CapBnd /proc/{b.show('MainPID')['MainPID']}/status").stdout.split()
    t.check("the guard has no more capabilities than the unit gives", caps and int(caps[1], 16) & 1 << 21 == 0, caps)
    for page in ("man1/sekisho.1", "man5/sekisho.yaml.5", "man8/sekisho-manager.8", "man5/sekisho-manager.yaml.5"):
        t.check(f"{page} is there", os.path.exists(m.at(f"usr/share/man/{page}.gz")))


def attack(b, t):
    b.edit("usr/share/sekisho/rules/local-test.rules", RULE)
    out = b.m.sh("systemctl", "reload", "sekisho")
    t.check("systemctl reload takes up a rule", out.returncode == 0 and b.active() == "active", out.stdout)
    t.check("a visitor is served", b.fetch(VISITOR, "/index.html") == 200)
    b.fetch(ATTACKER, EVIL)
    t.check("an attack, and its address is blocked", b.blocked(), (b.kernel(), b.m.journal("sekisho")))
    t.check("for it there is no server any more", b.fetch(ATTACKER, "/index.html", 1) == 0)
    t.check("for the visitor there is", b.fetch(VISITOR, "/index.html") == 200)
    t.check("eve.json tells of it", wait_until(lambda: '"signature":"a word that nobody says"' in b.m.read("var/log/sekisho/eve.json")))


def reload(b, t):
    path = "etc/sekisho/sekisho.yaml"
    good = b.m.read(path)
    b.edit(path, good + "nonsense: yes\n")
    out = b.m.sh("systemctl", "reload", "sekisho")
    said = b.m.journal("sekisho")
    t.check("a reload of a wrong configuration fails and names the line", out.returncode != 0 and
            re.search(r"sekisho\.yaml:\d+", said), (out.stdout, said[-600:]))
    t.check("and the agent goes on, and answers", b.active() == "active" and ATTACKER in b.blocks(),
            (b.active(), b.m.sh("sekisho", "blocks").stdout))
    b.edit(path, good)
    t.check("a right one is taken", b.m.sh("systemctl", "reload", "sekisho").returncode == 0)


def logs(b, t):
    before = os.stat(b.m.at("var/log/sekisho/eve.json")).st_ino
    out = b.m.sh("logrotate", "-f", "/etc/logrotate.d/sekisho")
    path = b.m.at("var/log/sekisho/eve.json")
    t.check("logs are rotated, and a new one is begun", out.returncode == 0 and wait_until(
        lambda: os.path.exists(path) and os.stat(path).st_ino != before), out.stdout)
    b.fetch(VISITOR, "/index.html?after-rotation")
    t.check("in which it goes on", wait_until(lambda: "after-rotation" in b.m.read("var/log/sekisho/eve.json"), 20))


def restart(b, t):
    before = b.blocks()
    out = b.m.sh("systemctl", "restart", "sekisho")
    t.check("after a restart the same is blocked, until the same second", out.returncode == 0 and b.ready() and b.blocks() == before,
            (before, b.blocks()))
    t.check("status tells for how long nobody watched", 0 < b.status()["ledger"]["unwatched_seconds"] < 30,
            b.status()["ledger"])


def watchdog(b, t):
    os.makedirs(b.m.at("etc/systemd/system/sekisho.service.d"), exist_ok=True)
    shutil.copy(b.m.at("usr/share/doc/sekisho/examples/limits.conf"), b.m.at("etc/systemd/system/sekisho.service.d/limits.conf"))
    b.edit("etc/systemd/system/sekisho.service.d/watchdog.conf", "[Service]\nWatchdogSec=3s\n")
    b.m.must("systemctl", "daemon-reload")
    out = b.m.sh("systemctl", "restart", "sekisho")
    t.check("with limits of memory and CPU it runs", out.returncode == 0 and b.ready() and
            b.show("MemoryMax")["MemoryMax"] == str(1500 << 20), (out.stdout, b.show("MemoryMax")))
    pid = b.show("MainPID")["MainPID"]
    b.m.must("kill", "-STOP", pid)
    t.check("a guard that stands still is started again", wait_until(
        lambda: b.show("MainPID")["MainPID"] not in ("0", pid), 30) and b.ready(), b.m.journal("sekisho")[-600:])
    t.check("by the watchdog, and its blocks are in force", b.show("NRestarts")["NRestarts"] == "1" and ATTACKER in (b.kernel() or []),
            (b.show("NRestarts", "Result"), b.kernel()))
    shutil.rmtree(b.m.at("etc/systemd/system/sekisho.service.d"))
    b.m.must("systemctl", "daemon-reload")
    b.m.must("systemctl", "restart", "sekisho")
    b.ready()


def manager(b, t):
    m = b.m
    out = m.sh("sekisho-manager", "init", "--name", "127.0.0.1")
    t.check("the manager is told its name", out.returncode == 0 and "fingerprint" in out.stdout, out.stdout)
    out = m.sh("systemctl", "enable", "--now", "sekisho-manager")
    t.check("it starts within its sandbox", out.returncode == 0 and b.active("sekisho-manager") == "active",
            out.stdout + m.journal("sekisho-manager"))
    token = m.sh("sekisho-manager", "token", "create", "--uses", "1", "--for", "1h").stdout.strip().splitlines()
    b.edit("root/token", (token or [""])[-1] + "\n")
    m.must("chmod", "600", "/root/token")
    print_ = re.search(r"fingerprint:\s*([0-9a-f]{64})", m.sh("sekisho-manager", "ca", "show").stdout.replace("\n", " "), re.I) or \
        re.search(r"([0-9a-f]{64})", m.sh("sekisho-manager", "ca", "show").stdout)
    out = m.sh("sekisho", "enroll", "--manager", "https://127.0.0.1:8443", "--token-file", "/root/token", "--ca-fingerprint",
               print_[1] if print_ else "?")
    t.check("the agent enrols with it", out.returncode == 0, out.stdout)
    t.check("and its uplink, within the agent's sandbox, is connected", wait_until(
        lambda: b.status().get("manager", {}).get("state") == "connected", 20), (b.status().get("manager"), m.journal("sekisho")[-600:]))
    t.check("the manager knows the host's block", wait_until(
        lambda: ATTACKER in m.sh("sekisho-manager", "entries").stdout, 20), m.sh("sekisho-manager", "entries").stdout)
    out = m.sh("systemctl", "reload", "sekisho-manager")
    t.check("it reloads", out.returncode == 0 and wait_until(lambda: b.active("sekisho-manager") == "active"), out.stdout)
    t.check("the time of a restart is counted with an uplink too", m.sh("systemctl", "restart", "sekisho").returncode == 0 and
            b.ready() and b.status()["ledger"]["unwatched_seconds"] > 0)
    print(f"     unwatched over a restart of an enrolled agent: {b.status()['ledger']['unwatched_seconds']:.2f} s")


TRAPS = ("/srv", "/home", "/root", "/etc", "/usr", "/var", "/tmp", "/var/tmp")
LAY = """for p in "$@"; do
  mkdir "$p/trap" && cd "$p/trap" && touch read write unlink rename && chmod 777 . && chmod 666 * || exit 1
done"""


def host_pids(b):
    """{process in the machine: the same as this host sees it}"""
    found = {}
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            if os.readlink(folder + "/ns/pid") == os.readlink(f"/proc/{b.m.pid}/ns/pid"):
                inner = re.search(r"^NSpid:.*\t(\d+)$", open(folder + "/status", encoding="ascii").read(), re.M)
                found[int(inner[1])] = int(os.path.basename(folder))
        except (OSError, TypeError):
            pass
    return found


def roles(b, t):
    """What each role has left within the real unit (tests/live/confined.py)."""
    b.m.must("sh", "-c", LAY, "-", *TRAPS)
    b.m.must("chmod", "755", "/root")
    device = b.m.at("srv/trap/device")
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    os.chmod(device, 0o666)
    pick = lambda *names: [n + "/trap" for n in names]  # noqa: E731
    traps = confined.Traps(write=pick("/srv", "/etc", "/usr", "/var"), home=pick("/home", "/root"), tmp=pick("/tmp", "/var/tmp"),
                           devices=["/srv/trap/device"], usr=pick("/usr"))
    pids, found = host_pids(b), {r["name"]: r["pid"] for r in b.status()["roles"]}
    t.check("guard, engine, reporter and uplink run", set(found) == {"guard", "engine", "reporter", "uplink"}, found)
    for name in sorted(set(found) - {"guard"}):
        lines = confined.unit_of(pids[found[name]], traps)
        level, faults = confined.exposure(lines, f"sekisho-{name}")
        print(f"     the {name} within the unit, as one of its own: exposure {level}")
        t.check(f"the {name} is as confined as a unit of exposure 2.0", level <= 2.0, faults)
        t.check(f"the files of the {name} are confined within the unit, too", [
            r["files_confined"] for r in b.status()["roles"] if r["name"] == name] == [True])
    t.check("they go on", {r["name"]: r["pid"] for r in b.status()["roles"]} == found, b.status()["roles"])
    b.m.must("rm", "-r", *[p + "/trap" for p in TRAPS])
    b.m.must("chmod", "700", "/root")


def boot(b, t):
    before = b.blocks()
    b.stop_serving()
    b.m.halt()
    b.m.boot()
    t.check("the machine boots, and the agent runs", b.active() == "active" and b.ready(),
            (b.active(), b.status().get("roles"), b.m.journal("sekisho")))
    t.check("the kernel was empty, and has the same blocks again", b.blocks() == before and b.blocked(), (before, b.blocks(), b.kernel()))
    mine = int(b.show("ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"])
    for unit in ("network-pre.target", "systemd-networkd.service"):
        theirs = int(b.show("InactiveExitTimestampMonotonic", unit=unit)["InactiveExitTimestampMonotonic"])
        t.check(f"it was ready before {unit} began", 0 < mine <= theirs, (mine, theirs))
    t.check("its interface came later, and is watched", wait_until(lambda: "eth0" in b.status()["interfaces"], 10), b.status()["interfaces"])
    t.check("no ordering cycle", "cycle" not in b.m.sh("journalctl", "-q", "-b", "-o", "cat", "_PID=1").stdout)
    t.check("status knows of no gap over a boot, or of a true one", b.status()["ledger"]["unwatched_seconds"] < 600)
    b.serve()


class Watch:
    """Three that look all the time: a visitor, an attacker who is blocked, and the table as the kernel tells of it."""

    def __init__(self, b):
        self.b, self.lines = b, {"visitor": [], "attacker": [], "table": []}
        self.processes = {
            "visitor": b.m.outside(sys.executable, "-c", ASKER, SERVER, VISITOR, "/index.html", "0.01"),
            "attacker": b.m.outside(sys.executable, "-c", ASKER, SERVER, ATTACKER, "/index.html", "0.01"),
            "table": b.m.words("stdbuf", "-oL", "nft", "monitor", "destroy")}
        self.threads = []
        for name, words in list(self.processes.items()):
            p = self.processes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                        stderr=subprocess.DEVNULL, text=True, start_new_session=True)
            self.threads.append(threading.Thread(target=lambda p=p, n=name: self.lines[n].extend(iter(p.stdout.readline, ""))))
            self.threads[-1].start()

    def end(self):
        for p in self.processes.values():
            os.killpg(p.pid, signal.SIGKILL)
        for p in self.processes.values():
            p.wait()
        for thread in self.threads:
            thread.join()

    def count(self, name, what):
        return sum(line.split()[1] == what for line in self.lines[name])


def upgrade(b, t):
    m = b.m
    path = "etc/sekisho/sekisho.yaml"
    changed = m.read(path).replace("block-duration: 1h", "block-duration: 2h")
    b.edit(path, changed)
    before, pid = b.blocks(), b.show("MainPID")["MainPID"]
    debs = [newer(d, os.path.join(b.tmp, f"{n}-newer.deb"), b.tmp) for n, d in b.debs.items()]
    inner = m.give(*debs)
    w = Watch(b)
    try:
        wait_until(lambda: w.count("visitor", "ok") > 20)
        out = m.sh("dpkg", "-i", *inner)
        ok = b.ready()
        seen = w.count("visitor", "ok")
        wait_until(lambda: w.count("visitor", "ok") > seen + 20 and w.count("attacker", "bad") > 0)
    finally:
        w.end()
    t.check("the packages upgrade", out.returncode == 0, out.stdout)
    t.check("and another agent runs", ok and b.show("MainPID")["MainPID"] not in ("0", pid), b.show("MainPID"))
    t.check("no visitor was turned away", w.count("visitor", "bad") == 0 and w.count("visitor", "ok") > 40,
            (w.count("visitor", "ok"), w.count("visitor", "bad")))
    t.check("who is blocked did not get through for a moment", w.count("attacker", "ok") == 0 and w.count("attacker", "bad") > 0,
            (w.count("attacker", "ok"), w.count("attacker", "bad")))
    gone = [line for line in w.lines["table"] if ATTACKER in line or "delete table" in line or "delete chain" in line]
    t.check("the kernel kept table and element", not gone and ATTACKER in (b.kernel() or []), gone)
    t.check("the same blocks, until the same second", b.blocks() == before, (before, b.blocks()))
    ledger = b.status()["ledger"]
    t.check("how long nobody watched is counted", 0 < ledger["unwatched_seconds"] < 30, ledger)
    print(f"     unwatched over an upgrade: {ledger['unwatched_seconds']:.2f} s")
    t.check("changed configuration stays", m.read(path) == changed)
    t.check("modes and owners of configuration stay", m.sh("stat", "-c", "%a %G", "/etc/sekisho/manager.yaml").stdout.strip() ==
            "640 sekisho-manager")
    t.check("the manager runs again", b.active("sekisho-manager") == "active", m.journal("sekisho-manager"))
    loads = m.journal("sekisho").count("Reloaded sekisho.service")
    out = m.sh("dpkg", "-i", *m.give(newer(debs[0], os.path.join(b.tmp, "rules-newest.deb"), b.tmp)))
    t.check("newer rules alone are loaded by the running agent", out.returncode == 0 and wait_until(
        lambda: m.journal("sekisho").count("Reloaded sekisho.service") == loads + 1, 20) and b.show("NRestarts")["NRestarts"] == "0",
        (out.stdout, m.journal("sekisho")[-400:]))


def program_of(b, pid):
    return b.m.sh("stat", "-Lc", "%d:%i", f"/proc/{pid}/exe").stdout.strip()


def refused_upgrade(b, t):
    """The next version does not know a key that this host has set."""
    m = b.m
    path = "etc/sekisho/sekisho.yaml"
    before, pid = b.blocks(), b.show("MainPID")["MainPID"]
    old, text = program_of(b, pid), m.read(path)
    deb = newer(b.debs["sekisho"], os.path.join(b.tmp, "refusing.deb"), b.tmp, "+2", "block-duration")
    w = Watch(b)
    try:
        wait_until(lambda: w.count("visitor", "ok") > 20)
        out = m.sh("dpkg", "-i", "--force-depends", *m.give(deb))
        seen = w.count("visitor", "ok")
        wait_until(lambda: w.count("visitor", "ok") > seen + 20 and w.count("attacker", "bad") > 0)
    finally:
        w.end()
    t.check("an upgrade to a version that refuses the configuration is done", out.returncode == 0 and
            m.sh("dpkg-query", "-W", "-f", "${db:Status-Status}", "sekisho").stdout == "installed", out.stdout)
    t.check("it says loudly what is wrong, and where", "NOT RESTARTED" in out.stdout and
            re.search(r"sekisho\.yaml:\d+:\d+: .*block-duration", out.stdout), out.stdout)
    t.check("and what to do", "sekisho check --restart" in out.stdout and "systemctl restart sekisho" in out.stdout, out.stdout)
    t.check("the journal has it too", "NOT RESTARTED" in m.sh("journalctl", "-q", "-o", "cat", "-t", "sekisho").stdout,
            m.sh("journalctl", "-q", "-o", "cat", "-t", "sekisho").stdout)
    t.check("the agent before goes on", b.active() == "active" and b.show("MainPID")["MainPID"] == pid and b.ready() and
            b.blocks() == before, (b.show("MainPID"), b.blocks()))
    t.check("nobody was turned away, and nobody who is blocked got through", w.count("visitor", "bad") == 0 and
            w.count("attacker", "ok") == 0 and w.count("attacker", "bad") > 0,
            {(n, what): w.count(n, what) for n in ("visitor", "attacker") for what in ("ok", "bad")})
    s, said = b.status(), m.sh("sekisho", "status").stdout
    t.check("status says that a restart is due", s.get("program_replaced") is True and "restart     IS DUE" in said, said[:400])
    out = m.sh("sekisho", "doctor")
    t.check("doctor too, and that it would fail", re.search(r"(?m)^warn +restart ", out.stdout) and
            re.search(r"(?m)^FAIL +configuration ", out.stdout) and out.returncode == 1, out.stdout)
    roles = {r["name"]: r["pid"] for r in s["roles"]}
    m.must("kill", "-KILL", str(roles["engine"]))
    t.check("an engine that dies is started again, as the version that runs", wait_until(lambda: b.ready() and {
        r["name"]: r["pid"] for r in b.status()["roles"]}["engine"] != roles["engine"], 30) and
            {program_of(b, r["pid"]) for r in b.status()["roles"]} == {old}, (old, b.status().get("roles")))
    m.must("sekisho", "unblock", ATTACKER)
    b.fetch(ATTACKER, EVIL)
    t.check("and finds the next attack", b.blocked(), m.journal("sekisho")[-600:])
    before = b.blocks()
    listed, out = m.sh("needrestart", "-b", "-l").stdout, m.sh("needrestart", "-r", "a", "-m", "a", "-l")
    t.check("needrestart finds its program replaced, and leaves it alone", "NEEDRESTART-SVC: sekisho.service" in listed and
            out.returncode == 0 and b.show("MainPID")["MainPID"] == pid, (listed, out.stdout))
    b.edit(path, re.sub(r"(?m)^ *(max-)?block-duration: .*\n", "", text))
    out = m.sh("sekisho", "check", "--restart")
    t.check("corrected, it would start", out.returncode == 0 and "would start" in out.stdout, out.stdout)
    out = m.sh("systemctl", "restart", "sekisho")
    t.check("and does", out.returncode == 0 and b.ready() and program_of(b, b.show("MainPID")["MainPID"]) != old and
            b.status()["program_replaced"] is False and b.blocks() == before, (out.stdout, m.journal("sekisho")[-600:]))
    b.edit(path, text)


def refused_manager(b, t):
    """The same of the manager: its fleet goes on."""
    m = b.m
    path = "etc/sekisho/manager.yaml"
    text = m.read(path)
    b.edit(path, text + "\nlimits:\n  per-address: 50\n")
    t.check("sekisho-manager check: it would start", m.sh("sekisho-manager", "check").returncode == 0)
    m.must("systemctl", "restart", "sekisho-manager")
    pid = b.show("MainPID", unit="sekisho-manager")["MainPID"]
    old = program_of(b, pid)
    deb = newer(b.debs["sekisho-manager"], os.path.join(b.tmp, "refusing-manager.deb"), b.tmp, "+2", "per-address")
    out = m.sh("dpkg", "-i", *m.give(deb))
    t.check("a manager's upgrade that refuses the configuration is done, and says so", out.returncode == 0 and
            "sekisho-manager: NOT RESTARTED" in out.stdout and re.search(r"manager\.yaml:\d+:\d+: .*per-address", out.stdout) and
            "sekisho-manager check" in out.stdout, out.stdout)
    t.check("the journal has it too", "NOT RESTARTED" in m.sh("journalctl", "-q", "-o", "cat", "-t", "sekisho-manager").stdout)
    t.check("the manager before goes on", b.active("sekisho-manager") == "active" and program_of(b, pid) == old and
            b.show("MainPID", unit="sekisho-manager")["MainPID"] == pid and b.status()["manager"]["state"] == "connected", b.status().get("manager"))
    listed, out = m.sh("needrestart", "-b", "-l").stdout, m.sh("needrestart", "-r", "a", "-m", "a", "-l")
    t.check("needrestart leaves it alone", "NEEDRESTART-SVC: sekisho-manager.service" in listed and
            b.show("MainPID", unit="sekisho-manager")["MainPID"] == pid, (listed, out.stdout))
    b.edit(path, text)
    t.check("corrected, it would start", m.sh("sekisho-manager", "check").returncode == 0)
    out = m.sh("systemctl", "restart", "sekisho-manager")
    after = b.show("MainPID", unit="sekisho-manager")["MainPID"]
    t.check("and does", out.returncode == 0 and program_of(b, after) != old and wait_until(
        lambda: b.status()["manager"]["state"] == "connected", 30), (out.stdout, m.journal("sekisho-manager")[-600:]))
    deb = newer(b.debs["sekisho-manager"], os.path.join(b.tmp, "manager-3.deb"), b.tmp, "+3")
    out = m.sh("dpkg", "-i", *m.give(deb))
    t.check("an upgrade that it takes restarts it", out.returncode == 0 and "NOT RESTARTED" not in out.stdout and
            b.active("sekisho-manager") == "active" and b.show("MainPID", unit="sekisho-manager")["MainPID"] not in ("0", after), out.stdout)


def remove(b, t):
    m = b.m
    before = b.blocks()
    os.unlink(m.at("usr/share/sekisho/rules/local-test.rules"))
    out = m.sh("dpkg", "-r", "sekisho", "sekisho-manager")
    t.check("the packages are removed", out.returncode == 0, out.stdout)
    t.check("and with them the table", b.kernel() is None and "sekisho" not in m.sh("nft", "list", "tables").stdout)
    t.check("and every process", not m.sh("pgrep", "-l", "sekisho").stdout, m.sh("pgrep", "-l", "sekisho").stdout)
    t.check("who was blocked is served again", b.fetch(ATTACKER, "/index.html") == 200)
    t.check("configuration, state and logs stay", all(os.path.exists(m.at(p)) for p in (
        "etc/sekisho/sekisho.yaml", "var/lib/sekisho/blocks.db", "var/log/sekisho/eve.json", "var/lib/sekisho-manager/ca/ca.pem")))
    out = m.sh("dpkg", "-i", *m.give(b.debs["sekisho"], b.debs["sekisho-manager"]))
    t.check("installed again it blocks whom it did", out.returncode == 0 and b.ready() and b.blocks() == before and b.blocked(),
            (out.stdout, before, b.blocks()))


def purge(b, t, pristine):
    m = b.m
    out = m.sh("dpkg", "-P", *NAMES)
    t.check("the packages are purged", out.returncode == 0, out.stdout)
    t.check("no process, no table, no unit", not m.sh("pgrep", "-l", "sekisho").stdout and b.kernel() is None and
            "sekisho" not in m.sh("systemctl", "list-unit-files", "--no-legend").stdout and
            not m.sh("systemctl", "list-units", "--all", "--no-legend", "sekisho*").stdout.strip(),
            m.sh("systemctl", "list-units", "--all", "--no-legend", "sekisho*").stdout)
    t.check("dpkg knows them no more", "sekisho" not in m.sh("dpkg", "-l").stdout, m.sh("dpkg", "-l", "sekisho*").stdout)
    os.unlink(m.at("root/token"))
    left = [d for d in differences(pristine, picture(m.path)) if d[2:] not in USERS]
    t.check("nothing is left, but the users", not left, left)
    t.check("these are there, and cannot log in", m.sh("getent", "passwd", "sekisho", "sekisho-report", "sekisho-manager").stdout.count(
        "/usr/sbin/nologin") == 3, m.sh("getent", "passwd", "sekisho").stdout)


def without_systemd(b, t):
    """As an image is built: nothing runs."""
    b.m.halt()
    pristine = picture(b.m.path)
    out = b.m.chroot("dpkg", "-i", *b.m.give(*b.debs.values()), check=False)
    t.check("the packages install where nothing runs, too", out.returncode == 0 and os.path.islink(
        b.m.at("etc/systemd/system/multi-user.target.wants/sekisho.service")), out.stdout)
    out = b.m.chroot("dpkg", "-P", *NAMES, check=False)
    left = [d for d in differences(pristine, picture(b.m.path)) if d[2:] not in USERS]
    t.check("and go without a trace", out.returncode == 0 and not left, (out.stdout, left))


def live(b, t):
    b.m.boot()
    b.serve()
    wait_until(lambda: not b.m.sh("systemctl", "list-jobs", "--no-legend").stdout.strip(), 30)
    pristine = picture(b.m.path)
    install(b, t)
    if not b.ready():
        return
    for step in (attack, reload, logs, restart, watchdog, manager, roles, boot, upgrade, refused_upgrade, refused_manager, remove):
        step(b, t)
    purge(b, t, pristine)
    without_systemd(b, t)


def missing_tools():
    return [x for x in ("systemd-nspawn", "mmdebstrap", "lintian", "dpkg-deb", "curl") if not shutil.which(x)]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--packages", required=True)
    ap.add_argument("--base")
    a = ap.parse_args()
    t = Tally("deb")
    debs, own = {}, run("dpkg", "--print-architecture").stdout.strip()
    for name in NAMES:
        found = [f for arch in (own, "all") for f in glob.glob(os.path.join(a.packages, f"{name}_*_{arch}.deb"))]
        if not t.check(f"{name} is there, once", len(found) == 1, found):
            return t.end()
        debs[name] = os.path.abspath(found[0])
    if missing_tools():
        t.skip("needs " + ", ".join(missing_tools()))
        return t.end()
    look(t, debs)
    if os.geteuid() != 0:
        t.skip("booting a system needs root")
        return t.end()
    base = os.path.abspath(a.base or os.path.join(ROOT, "build/package-test/debian"))
    try:
        make_base(base, list(debs.values()))
    except (RuntimeError, subprocess.CalledProcessError) as e:
        t.skip(f"no Debian to boot: {e}")
        return t.end()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tmp = tempfile.mkdtemp(prefix="sekisho-deb-")
    os.chmod(tmp, 0o755)
    b = Bed(t, debs, base, tmp)
    try:
        live(b, t)
    finally:
        b.stop_serving()
        b.m.remove()
        shutil.rmtree(tmp, ignore_errors=True)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
