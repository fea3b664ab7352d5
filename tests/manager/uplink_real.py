#!/usr/bin/env python3
"""Agent, uplink and enrolment against the manager itself, in a network namespace:
uplink_real.py --agent PATH --manager PATH [--drive PATH]"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bed import ROOT, Manager, Tally, wait_until
from uplink_fake import Drive
from uplink_role import Agent, attack, blocks, uplink_pid

SETTINGS = "agents:\n  heartbeat: 1s\n  cert-lifetime: {lifetime}\n"


class Fleet:
    def __init__(self, args, lifetime="30d"):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="uplink-real-")
        os.chmod(self.dir, 0o755)
        self.m = Manager(args.manager, settings=SETTINGS.format(lifetime=lifetime)).init().start()
        self.agents = []

    def enroll(self, name, *words, token=None):
        """Folder of a host that is none but for its uplink."""
        state = os.path.join(self.dir, name)
        os.makedirs(state, exist_ok=True)
        r = subprocess.run([self.args.agent, "enroll", "--manager", self.m.url, "--token-file", "/dev/stdin", "--set",
                            f"guard.state-dir={state}", "--set", f"manager.state-dir={state}/uplink", "--set",
                            f"guard.control-socket={state}/none.sock", "--set", "guard.reporter-user=root",
                            "--ca-fingerprint", self.m.fingerprint(), *words], capture_output=True, text=True,
                           input=token or self.m.token(), check=False)
        return r, os.path.join(state, "uplink")

    def drive(self, name):
        r, folder = self.enroll(name)
        if r.returncode:
            raise RuntimeError(r.stderr)
        for f in os.listdir(folder):
            os.chown(os.path.join(folder, f), 0, 0)
        d = Drive(self.args.drive, folder).start()
        self.agents.append(d)
        return d

    def agent(self, name):
        folder = os.path.join(self.dir, name)
        os.mkdir(folder)
        a = Agent(self.args.agent, folder, None)
        self.agents.append(a)
        return a

    def events(self, after=0, kind="alert"):
        got = []
        while True:
            page = self.m.json("events", "--type", kind, "--after", str(after), "--limit", "1000")
            page = page["events"] if isinstance(page, dict) else page
            if not page:
                return got
            got += page
            after = page[-1]["id"]

    def numbers(self):
        return [e["event"]["alert"]["signature_id"] for e in self.events()]

    def close(self):
        for a in self.agents:
            if isinstance(a, Drive):
                a.p.poll() is None and a.kill()
            else:
                a.stop()
        self.m.__exit__()
        shutil.rmtree(self.dir, ignore_errors=True)


def enrolment(t, f):
    token = f.m.token()
    r, _ = f.enroll("e1", "--tag", "env=test", token=token)
    t.check("real: a host enrols", r.returncode == 0, r.stderr)
    r, _ = f.enroll("e2", token=token)
    t.check("real: not with a used token", r.returncode == 4 and "used as often" in r.stderr, r.stderr)
    r, _ = f.enroll("e2", token="ske_" + "a" * 52)
    t.check("real: nor with an invented one", r.returncode == 4 and "does not know" in r.stderr, r.stderr)
    used = [x["id"] for x in f.m.json("token", "list")] if isinstance(f.m.json("token", "list"), list) else []
    for i in used:
        f.m.run("token", "revoke", i)
    r, _ = f.enroll("e2", token=token)
    t.check("real: nor with a revoked one", r.returncode == 4, r.stderr)


def told(t, f):
    d = f.drive("d1")
    t.check("real: the uplink connects", wait_until(lambda: d.state()["state"] == "up", 5) is not None, d.said[-2:])
    d.tell("events 0 1200", *[f"set B{i:05} 10.9.{i >> 8}.{i & 255} 3600" for i in range(300)])
    wait_until(lambda: d.state()["sent"] >= 1500, 20)
    t.check("real: 1200 events, once each, in order", f.numbers() == list(range(1200)), len(f.numbers()))
    n = len(f.m.json("entries")) if isinstance(f.m.json("entries"), list) else len(f.m.json("entries")["entries"])
    t.check("real: 300 blocks in force", n == 300, n)
    d.tell("end B00000 10.9.0.0 unblocked")
    t.check("real: one fewer", wait_until(lambda: "10.9.0.0" not in f.m.must("entries", "--json"), 5) is not None)
    d.tell("lookup 1 10.9.0.5", "lookup 2 10.99.0.1")
    wait_until(lambda: len(d.of("found")) == 2, 5)
    found = {x["id"]: x["found"] for x in d.of("found")}
    t.check("real: look-ups", found == {1: "there", 2: "not-there"}, found)
    return d


def killed_manager(t, f, d):
    """kill -9 of the manager while it is told, three times."""
    for n in range(3):
        d.tell(f"events {1200 + n * 2000} 2000")
        time.sleep(0.15)
        f.m.kill()
        time.sleep(0.5)
        f.m.restart()
    wait_until(lambda: d.state()["spooled"] == 0 and d.state()["sent"] >= 7501, 60)
    got = f.numbers()
    t.check("real: killed three times: 6000 more events, once each, in order", got == list(range(7200)), len(got))


def fleet(t, f, d):
    a = f.agent("host")
    a.start()
    r = a.ask("enroll", "-c", a.conf, "--manager", f.m.url, "--token", f.m.token(), "--ca", f.m.ca_file)
    t.check("real: an agent that runs joins", r.returncode == 0 and "has taken it up" in r.stdout, r)
    t.check("real: and has the fleet's blocks", wait_until(
        lambda: sum(b["origin"] == "fleet" for b in blocks(a).values()) == 299, 15) is not None, len(blocks(a)))
    d.said.clear()
    began = time.monotonic()
    a.ask("block", "203.0.113.5", "--for", "1h")
    wait_until(lambda: any(x["target"] == "203.0.113.5" for x in d.of("fleet") if x["fleet"] == "set"), 10)
    took = time.monotonic() - began
    t.check("real: what it blocks another host is told within a second", took < 1, took)
    f.m.must("block", "203.0.113.6", "--for", "1h")
    t.check("real: what the manager blocks it blocks", wait_until(
        lambda: blocks(a).get("203.0.113.6", {}).get("origin") == "fleet", 10) is not None)
    f.m.must("unblock", "203.0.113.6")
    f.m.must("unblock", "203.0.113.5")
    t.check("real: and no longer what it lifts, its own too", wait_until(
        lambda: not {"203.0.113.5", "203.0.113.6"} & set(blocks(a)), 10) is not None, list(blocks(a))[:5])
    attack()
    t.check("real: its alerts are the manager's", wait_until(
        lambda: any("test request" in json.dumps(e) for e in f.events(0)), 10) is not None)
    rules = os.path.join(f.dir, "fleet.rules")
    with open(rules, "w") as r:
        r.write('alert tcp any any -> any any (msg:"of the fleet"; content:"fleet"; sid:2000001; rev:1;)\n')
    f.m.must("rules", "publish", rules)
    t.check("real: rules are handed on", wait_until(lambda: d.of("bundle"), 10) is not None)
    agents = lambda: {x["host"]: x for x in f.m.json("agents")} if isinstance(f.m.json("agents"), list) else {}  # noqa: E731
    d.tell("signed 1 1 1 0")
    t.check("real: the manager knows who has them", wait_until(
        lambda: "\"rules_version\": 1" in f.m.must("agents", "--json") or '"rules_version":1' in f.m.must(
            "agents", "--json"), 10) is not None, agents())
    os.kill(uplink_pid(a), signal.SIGKILL)
    t.check("real: an uplink that was killed comes back", wait_until(
        lambda: uplink_pid(a) and a.manager().get("state") == "connected", 20) is not None, a.manager())
    t.check("real: with all the fleet's blocks", wait_until(
        lambda: sum(b["origin"] == "fleet" for b in blocks(a).values()) == 299, 15) is not None, len(blocks(a)))
    me = json.load(open(os.path.join(a.home, "agent.json")))["agent"]
    f.m.must("revoke", me)
    t.check("real: revoked, it says so, and works on", wait_until(
        lambda: a.manager().get("state") == "refused", 10) is not None and len(blocks(a)) > 0, a.manager())
    t.check("real: no failure of its filter", "signal 31" not in a.text(), a.text()[-1000:])
    a.stop()


def renewal(t, args):
    """Certificates of a minute."""
    f = Fleet(args, "1m")
    try:
        d = f.drive("short")
        key = os.path.join(d.args[1], "key.pem")
        old = open(key).read()
        t.check("real: a certificate is renewed in time", wait_until(lambda: open(key).read() != old, 60) is not None)
        d.tell("events 0 10")
        wait_until(lambda: f.numbers() == list(range(10)), 10)
        t.check("real: and counts", f.numbers() == list(range(10)) and d.state()["state"] == "up", d.state())
        d.kill()
        d = Drive(*d.args[:2]).start()
        f.agents.append(d)
        t.check("real: also after a restart", wait_until(lambda: d.state()["state"] == "up", 5) is not None, d.said)
    finally:
        f.close()


def run(args, t):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    f = Fleet(args)
    try:
        enrolment(t, f)
        d = told(t, f)
        killed_manager(t, f, d)
        fleet(t, f, d)
    finally:
        f.close()
    renewal(t, args)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("--manager", required=True)
    p.add_argument("--drive", default=os.path.join(ROOT, "build/dev/tests/unit/report/uplink_drive"))
    args = p.parse_args()
    for name in ("agent", "manager", "drive"):
        setattr(args, name, os.path.abspath(getattr(args, name)))
    t = Tally("uplink_real")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0 or \
            not os.path.exists(args.drive) or not shutil.which("openssl"):
        t.skip("uplink_real", "needs root, a network namespace, openssl and the dev build")
        return t.end()
    if "UPLINK_REAL_INSIDE" not in os.environ:
        env = dict(os.environ, UPLINK_REAL_INSIDE="1")
        return subprocess.run(["unshare", "-n", sys.executable, "-B", *sys.argv], env=env, check=False).returncode
    run(args, t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
