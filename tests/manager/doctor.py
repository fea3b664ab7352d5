#!/usr/bin/env python3
"""`sekisho doctor` on hosts that lack something, each in another way: in a network and mount namespace of its own.

    doctor.py --agent PATH --manager PATH
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from bed import Manager, Tally, wait_until
from fake_manager import AGENT, CA, FakeManager, make_agent_folder
from uplink_role import Agent, reporter_user

DAY = 86400


class Host(Agent):
    def __init__(self, program, folder):
        os.mkdir(folder)
        super().__init__(program, folder, None, "[alert]")
        with open(self.conf, "a", encoding="ascii") as f:
            f.write("decide: {kill-sockets: yes}\n")

    def look(self, *words, before=(), conf=None):
        r = subprocess.run([*before, self.program, "doctor", "-c", conf or self.conf, "--json", *words], capture_output=True,
                           text=True, check=False, timeout=60)
        try:
            self.found = json.loads(r.stdout)
        except ValueError:
            self.found = {"checks": [], "fail": -1}
        self.r = r
        return self

    def all(self, check):
        return [c for c in self.found["checks"] if c["check"] == check]

    def says(self, check, level, word="", code=None):
        """Of that check one has this level, and the word in its text; and there is a remedy when it is not ok."""
        code = code if code is not None else 1 if self.found["fail"] else 0
        return self.r.returncode == code and any(
            c["level"] == level and word in c["text"] and (level == "ok" or "remedy" in c) for c in self.all(check))

    def judge(self, t, what, check, level, word=""):
        t.check(what, self.says(check, level, word), (self.r.returncode, self.all(check), self.r.stderr))


def state_of_host(h):
    """What must be the same afterwards."""
    ruleset = subprocess.run(["nft", "-s", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    files = sorted((p, os.stat(p).st_mtime_ns, os.stat(p).st_uid) for p in glob.glob(h.dir + "/**", recursive=True)
                   if not p.endswith("/log"))
    return ruleset, links, files, os.listdir("/run/netns") if os.path.isdir("/run/netns") else []


def healthy(t, h):
    before = state_of_host(h)
    h.look()
    t.check("healthy: nothing fails", h.r.returncode == 0 and h.found["fail"] == 0 and not h.r.stderr,
            ([c for c in h.found["checks"] if c["level"] == "fail"], h.r.stderr))
    for check in ("configuration", "rules", "kernel", "capabilities", "capture", "nftables", "connections", "interface",
                  "limits", "disk", "sandbox"):
        t.check(f"healthy: {check}", h.says(check, "ok"), h.all(check))
    h.judge(t, "healthy: the manager that it has not", "manager", "ok", "not enrolled")
    t.check("healthy: nothing has changed", state_of_host(h) == before)
    text = subprocess.run([h.program, "doctor", "-c", h.conf], capture_output=True, text=True, check=False)
    lines = text.stdout.splitlines()
    t.check("healthy: the same as text, one line each", text.returncode == 0 and len(lines) == len(h.found["checks"]) + 1 and
            all(line[:4].strip() in ("ok", "warn", "FAIL") for line in lines[:-1]) and ", 0 FAIL" in lines[-1], text.stdout)


def configuration(t, h):
    bad = os.path.join(h.dir, "bad.yaml")
    with open(bad, "w", encoding="ascii") as f:
        f.write("capture:\n  ring-size: lots\n")
    h.look(conf=bad)
    h.judge(t, "configuration: a bad one", "configuration", "fail")
    t.check("configuration: with its place", f"{bad}:2:" in h.r.stderr, h.r.stderr)
    h.look("--set", "rule-files=[/nothing/*.rules]")
    h.judge(t, "rules: none", "rules", "fail", "none is loaded")
    rules = os.path.join(h.dir, "two.rules")
    with open(rules, "w", encoding="ascii") as f:
        f.write(open(os.path.join(h.dir, "test.rules"), encoding="ascii").read() + "alert tcp any any -> any any (sid:2; nonsense;)\n")
    h.look("--set", f"rule-files=[{rules}]")
    h.judge(t, "rules: one is wrong", "rules", "warn", "1 loaded, 1 rejected")
    for words in (("--nothing",), ("word",), ("--config",)):
        r = subprocess.run([h.program, "doctor", *words], capture_output=True, text=True, check=False)
        t.check(f"usage: {words[0]}", r.returncode == 2 and "doctor" in r.stderr, r.stderr)


def rights(t, h):
    h.look(before=("setpriv", "--bounding-set=-net_admin"))
    h.judge(t, "rights: without CAP_NET_ADMIN", "capabilities", "fail", "net_admin")
    h.judge(t, "rights: nftables does not answer", "nftables", "fail")
    h.look(before=("setpriv", "--bounding-set=-net_raw"))
    h.judge(t, "rights: without CAP_NET_RAW", "capture", "fail", "packet socket")
    os.chmod(h.conf, 0o644)
    h.look(before=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    h.judge(t, "rights: of nobody", "privileges", "warn")
    h.judge(t, "rights: and what is missing", "capabilities", "fail", "setuid")
    h.look(before=("prlimit", "--nofile=256:256"))
    h.judge(t, "limits: few files", "limits", "warn", "256")


def lro_driver(folder):
    """Few drivers have LRO, and none that a test can load everywhere: a library that answers for one."""
    source, library = os.path.join(folder, "lro.c"), os.path.join(folder, "lro.so")
    with open(source, "w", encoding="ascii") as f:
        f.write("""
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    long rc = syscall(SYS_ioctl, fd, request, arg);
    struct ethtool_value *v = request == SIOCETHTOOL ? (void *)((struct ifreq *)arg)->ifr_data : 0;
    if (v && rc == 0 && v->cmd == ETHTOOL_GFLAGS)
        v->data |= ETH_FLAG_LRO;
    return (int)rc;
}
""")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def machine(t, h):
    h.look("--set", "capture.interfaces=[nothing0, veth0]")
    h.judge(t, "interface: one that is not there", "interface", "warn", "nothing0")
    h.judge(t, "interface: and one that is", "interface", "ok", "veth0: up")
    subprocess.run(["ip", "link", "set", "veth1", "down"], check=True)
    h.look("--set", "capture.interfaces=[veth1]")
    h.judge(t, "interface: one that is down", "interface", "warn", "veth1: is down")
    subprocess.run(["ip", "link", "set", "veth1", "up"], check=True)
    h.look("--set", "capture.interfaces=[veth0]", before=("env", "LD_PRELOAD=" + lro_driver(h.dir),
                                                          "ASAN_OPTIONS=verify_asan_link_order=0"))
    h.judge(t, "interface: LRO", "interface", "warn", "LRO joins")
    t.check("interface: and how it is turned off", any("ethtool -K veth0 lro off" in c.get("remedy", "") for c in h.all("interface")),
            h.all("interface"))
    h.look("--set", "capture.ring-size=2gb", "--set", "capture.workers=64")
    h.judge(t, "memory: rings that do not fit", "memory", "fail", "rings take")
    small = os.path.join(h.dir, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", small], check=True)
    h.look("--set", f"guard.state-dir={small}/state")
    h.judge(t, "disk: a full one", "disk", "fail", "is full")
    subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
    h.look("--set", f"manager.state-dir={small}/uplink", "--set", "manager.spool-size=1gb")
    h.judge(t, "disk: less than the spool may want", "disk", "warn", "may want")
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    h.look("--set", f"outputs.eve.path={small}/eve.json")
    h.judge(t, "disk: read-only", "disk", "fail", "read-only")
    subprocess.run(["umount", small], check=True)


def join(h, ca, url, start=None, end=None):
    shutil.rmtree(h.home, ignore_errors=True)
    make_agent_folder(ca, h.home, url, AGENT, start, end)
    for name in os.listdir(h.home) + ["."]:
        os.chown(os.path.join(h.home, name), *reporter_user())


def fleet(t, h, folder):
    fake = FakeManager(os.path.join(folder, "m")).start()
    now = time.time()
    join(h, fake.ca, fake.url)
    before = state_of_host(h)
    h.look()
    h.judge(t, "fleet: certificate", "certificate", "ok", AGENT)
    h.judge(t, "fleet: manager", "manager", "ok", "answers")
    h.judge(t, "fleet: clocks", "skew", "ok")
    h.judge(t, "fleet: spool", "spool", "ok")
    t.check("fleet: nothing has changed", state_of_host(h) == before)
    for offset, level, word in ((60, "warn", "behind"), (-60, "warn", "before"), (3600, "fail", "behind"), (10, "ok", "agree")):
        fake.clock_offset = offset
        h.look()
        h.judge(t, f"fleet: a manager's clock that is {offset} s ahead", "skew", level, word)
    fake.clock_offset = 0
    for what, start, end, level, word in (("near its end", None, now + DAY, "warn", "runs out in"),
                                          ("over", now - 9 * DAY, now - 1, "fail", "ran out"),
                                          ("not yet valid", now + DAY, now + 2 * DAY, "fail", "not valid yet")):
        join(h, fake.ca, fake.url, start, end)
        h.look()
        h.judge(t, f"fleet: a certificate {what}", "certificate", level, word)
    join(h, fake.ca, fake.url)
    os.chmod(h.home + "/key.pem", 0o644)
    h.look()
    h.judge(t, "fleet: a key that others may read", "certificate", "fail", "key.pem")
    os.chmod(h.home + "/key.pem", 0o600)
    with open(h.home + "/ca.pem", "w", encoding="ascii") as f:
        f.write(CA(os.path.join(folder, "other")).text())
    h.look()
    h.judge(t, "fleet: another CA", "manager", "fail", "not trusted")
    join(h, fake.ca, fake.url)
    fake.failing = {"/healthz": 503}
    h.look()
    h.judge(t, "fleet: a manager that is ill", "manager", "fail", "503")
    fake.failing = {}
    h.look("--set", "manager.enabled=no")
    h.judge(t, "fleet: not wanted", "manager", "warn", "does not connect")
    with open(h.home + "/spool.db", "wb") as f:
        f.truncate(4 << 20)
    h.look()
    h.judge(t, "fleet: a spool that is nearly full", "spool", "warn", "are taken")
    os.remove(h.home + "/spool.db")
    fake.stop()
    h.look()
    h.judge(t, "fleet: nobody there", "manager", "fail", "cannot be reached")
    with open(h.home + "/agent.json", "w", encoding="ascii") as f:
        f.write("{}")
    h.look()
    h.judge(t, "fleet: files that make no sense", "manager", "fail", "agent.json")
    shutil.rmtree(h.home)


def running(t, h, program):
    with Manager(program, settings="agents: {heartbeat: 1s}\n") as m:
        m.init().start()
        r = subprocess.run([h.program, "enroll", "-c", h.conf, "--manager", m.url, "--token", "-", "--ca-fingerprint",
                            m.fingerprint()], input=m.token(), capture_output=True, text=True, check=True)
        ident = r.stdout.split()[2]
        h.start()
        wait_until(lambda: h.manager().get("state") == "connected", 15)
        h.look()
        h.judge(t, "running: the agent", "agent", "ok", "detect mode")
        h.judge(t, "running: its rules", "rules", "ok", "1 loaded")
        h.judge(t, "running: its manager", "manager", "ok", "connected")
        h.judge(t, "running: its memory", "memory", "ok", "the agent has")
        t.check("running: nothing fails", h.found["fail"] == 0, [c for c in h.found["checks"] if c["level"] == "fail"])
        m.must("revoke", ident)
        wait_until(lambda: h.manager().get("state") == "refused", 15)
        h.look()
        h.judge(t, "running: a manager that does not want it", "manager", "fail", "does not want")
        h.stop()


def run(args, t):
    for words in ("link set lo up", "link add veth0 type veth peer name veth1", "link set veth0 up", "link set veth1 up"):
        subprocess.run(["ip", *words.split()], check=True)
    wait_until(lambda: subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout.count(" UP ") == 2, 10)
    folder = tempfile.mkdtemp(prefix="doctor-")
    os.chmod(folder, 0o755)
    h = Host(args.agent, os.path.join(folder, "host"))
    h.found = {}
    try:
        healthy(t, h)
        configuration(t, h)
        rights(t, h)
        machine(t, h)
        fleet(t, h, folder)
        running(t, h, args.manager)
    finally:
        h.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("--manager", required=True)
    args = p.parse_args()
    args.agent = os.path.abspath(args.agent)
    t = Tally("doctor")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-nm", "true"], check=False).returncode != 0:
        t.skip("doctor", "needs root and namespaces")
        return t.end()
    if "DOCTOR_INSIDE" not in os.environ:
        env = dict(os.environ, DOCTOR_INSIDE="1")
        return subprocess.run(["unshare", "-nm", sys.executable, "-B", *sys.argv], env=env, check=False).returncode
    if os.path.isdir("/run/netns"):  # other tests come and go there
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
    run(args, t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
