#!/usr/bin/env python3
"""How much each role of a running agent may still do, beside what a unit of systemd would be allowed (confined.py): engine,
reporter, uplink and exporter, without a unit around them. In namespaces of its own (network, mounts)."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "manager")]
sys.dont_write_bytecode = True
import confined  # noqa: E402  # pylint: disable=wrong-import-position
from bed import Tally, wait_until  # noqa: E402  # pylint: disable=wrong-import-position
from fake_manager import FakeManager  # noqa: E402  # pylint: disable=wrong-import-position
from uplink_role import Agent  # noqa: E402  # pylint: disable=wrong-import-position

MOST = 2.0
ALL = {"CapabilityBoundingSet=", "AmbientCapabilities=", "UMask=0077", "NoNewPrivileges=yes", "SystemCallArchitectures=native",
       "RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes", "KeyringMode=private",
       "ProtectHostname=yes", "RemoveIPC=yes", "PrivateMounts=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
       "PrivateDevices=yes", "DevicePolicy=closed", "ProtectClock=yes", "ProtectKernelLogs=yes", "ProtectKernelTunables=yes",
       "ProtectControlGroups=yes", "ProtectProc=invisible", "ProcSubset=pid"}
NO_NETWORK = {"RestrictAddressFamilies=none", "ProtectKernelModules=yes"}
# The engine compiles expressions; the uplink reads /usr, and connects (AF_UNIX: pairs by which threads of libcurl wake another).
SETTINGS = {"engine": ALL | NO_NETWORK | {"User=bin"},
            "reporter": ALL | NO_NETWORK | {"User=daemon", "MemoryDenyWriteExecute=yes"},
            "exporter": ALL | NO_NETWORK | {"User=daemon", "MemoryDenyWriteExecute=yes"},
            "uplink": ALL | {"User=daemon", "MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"}}
COVERED = ("/home", "/root", "/srv", "/boot", "/etc/opt", "/usr/src", "/usr/games", "/var/opt", "/var/tmp", "/sys/fs/cgroup")


# In a mount namespace of the agent's own: what lies on these places here may be what runs this test.
LAY = """
for p in "$@"; do
  [ -d "$p" ] || continue
  mount -t tmpfs -o mode=755 tmpfs "$p"
  mkdir "$p/trap"
  touch "$p/trap/read" "$p/trap/write" "$p/trap/unlink" "$p/trap/rename"
  chmod -R a+rwX "$p/trap"
done
mknod -m 666 /srv/trap/device c 1 7
touch "$READY"
exec sleep 300
"""


class Place:
    """Where agent and traps are; gone with its process."""

    def __init__(self, folder):
        ready, self.own = os.path.join(folder, "ready"), os.path.join(folder, "other")  # this one in /tmp
        os.makedirs(self.own)
        confined.Traps.make(self.own)
        self.holder = subprocess.Popen(["unshare", "-m", "sh", "-euc", LAY, "-", *COVERED], env=dict(os.environ, READY=ready))
        if wait_until(lambda: os.path.exists(ready) or self.holder.poll() is not None) is None or self.holder.poll() is not None:
            raise RuntimeError("no place for traps")
        self.words = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--wd=/"]
        places = [p for p in COVERED if os.path.isdir(p)]
        pick = lambda *tops: [p + "/trap" for p in places if p.startswith(tops)]  # noqa: E731
        self.traps = confined.Traps(write=pick("/srv", "/boot", "/etc", "/usr", "/var/opt"), home=pick("/home", "/root"),
                                    tmp=[self.own, *pick("/var/tmp")], devices=["/srv/trap/device"], cgroup=pick("/sys"),
                                    usr=pick("/usr"))

    def program(self, folder, agent):
        """The agent, to be started here; its file may lie below /home."""
        copy, script = os.path.join(folder, "sekisho"), os.path.join(folder, "start")
        shutil.copy(agent, copy)
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\nexec {' '.join(self.words)} {copy} \"$@\"\n")
        os.chmod(script, 0o755)
        return script

    def end(self):
        self.holder.kill()
        self.holder.wait()


def judge(t, name, pid, traps, show):
    try:
        lines = confined.unit_of(pid, traps)
        level, faults = confined.exposure(lines, f"sekisho-{name}")
    except (OSError, RuntimeError) as e:
        t.check(f"the {name} can be looked at", False, e)
        return
    print(f"     the {name} as a unit of its own: exposure {level}")
    if show:
        print("\n".join("       " + x for x in [*lines[1:], *faults]))
    t.check(f"the {name} is as confined as a unit of exposure {MOST}", level <= MOST, (level, faults))
    t.check(f"the {name} lacks none of its restrictions", SETTINGS[name] <= set(lines), SETTINGS[name] - set(lines))


def control(t, place):
    """Somebody without a sandbox, by the same measure: he falls into every trap."""
    traps = place.traps
    p = subprocess.Popen([*place.words, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sleep", "60"])
    try:
        wait_until(lambda: open(f"/proc/{p.pid}/comm", encoding="ascii").read() == "sleep\n")
        lines = confined.unit_of(p.pid, traps)
        with confined.Held(p.pid) as h:
            missed = [d for d in traps.write + traps.cgroup if not h.opens(f"{d}/write", os.O_WRONLY)]
            missed += [d for d in traps.home + traps.tmp + traps.usr if not h.opens(f"{d}/read")]
            missed += [d for d in traps.devices if not h.opens(d)]
    finally:
        p.kill()
        p.wait()
    level, _ = confined.exposure(lines, "control")
    names = {line.split("=")[0] for line in lines}
    t.check("a process without a sandbox has none by this measure", level > 8 and
            names == {"ExecStart", "CapabilityBoundingSet", "AmbientCapabilities", "UMask", "User"}, (level, lines))
    t.check("and no trap is shut for it", not missed and len(traps.write) > 3, missed)
    t.check("there are traps below /etc, /usr and /var", all(any(d.startswith(p) for d in traps.write) for p in ("/etc", "/usr", "/var")))


def roles(a):
    return {r["name"]: r for r in a.status().get("roles", [])}


def test(args, t):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = tempfile.mkdtemp(prefix="sekisho-sandbox-")
    os.chmod(folder, 0o755)
    fake = FakeManager(os.path.join(folder, "m")).start()
    os.mkdir(os.path.join(folder, "a"))
    place = Place(folder)
    a = Agent(place.program(folder, args.agent), os.path.join(folder, "a"), fake)
    with open(a.conf, encoding="utf-8") as f:
        text = f.read().replace("guard: {", "guard: {user: bin, reporter-user: daemon, ")
    with open(a.conf, "w", encoding="utf-8") as f:
        f.write(text + "metrics: {listen: 127.0.0.1:9469}\n")
    try:
        control(t, place)
        a.join()
        subprocess.run(["chown", "-R", "daemon:daemon", a.home], check=True)
        t.check("an agent with all its roles works", a.start() and wait_until(lambda: len(roles(a)) == 5 and all(
            r["state"] == "working" for r in roles(a).values()) and a.manager().get("state") == "connected", 15) is not None,
            (a.status().get("roles"), a.text()[-1500:]))
        before = {n: r["pid"] for n, r in roles(a).items()}
        for name, pid in before.items():
            if name != "guard":
                judge(t, name, pid, place.traps, args.verbose)
        time.sleep(1.5)
        t.check("looking at them disturbed none", {n: r["pid"] for n, r in roles(a).items()} == before and
                a.manager().get("state") == "connected", (before, a.status().get("roles"), a.text()[-800:]))
    finally:
        a.stop()
        place.end()
        fake.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("-v", "--verbose", action="store_true")
    args = p.parse_args()
    args.agent = os.path.abspath(args.agent)
    t = Tally("live_sandbox")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if os.geteuid() != 0 or not all(shutil.which(x) for x in ("openssl", "systemd-analyze", "unshare")):
        t.skip("live_sandbox", "needs root, openssl and systemd-analyze")
        return t.end()
    if "SEKISHO_INSIDE" not in os.environ:
        return subprocess.run(["unshare", "-n", sys.executable, "-B", *sys.argv], env=dict(os.environ, SEKISHO_INSIDE="1"),
                              check=False).returncode
    test(args, t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
