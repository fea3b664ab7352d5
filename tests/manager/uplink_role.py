#!/usr/bin/env python3
"""The agent with its uplink, and a manager that the test plays, in a network namespace of their own:
uplink_role.py --agent PATH"""
import argparse
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bed import Tally, wait_until
from fake_manager import AGENT, FakeManager, make_agent_folder

CONF = """
outputs: {{eve: {{path: {dir}/eve.json, types: {types}}}}}
guard: {{control-socket: {dir}/control.sock, state-dir: {dir}/state}}
manager: {{state-dir: {dir}/uplink, spool-size: 4mb}}
capture: {{interfaces: [lo], workers: 1, ring-size: 1mb}}
rule-files: [{dir}/test.rules]
vars: {{address-groups: {{HOME_NET: any, EXTERNAL_NET: any}}}}
never: []
"""
RULE = 'alert tcp any any -> any 8080 (msg:"test request"; content:"attack-me"; sid:1000001; rev:1; priority:1;)\n'


def reporter_user():
    try:
        return pwd.getpwnam("sekisho-report").pw_uid, pwd.getpwnam("sekisho-report").pw_gid
    except KeyError:
        return 65534, 65534


class Agent:
    def __init__(self, program, folder, fake, types="[alert, flow]"):
        self.program, self.dir, self.fake = program, folder, fake
        self.home = os.path.join(folder, "uplink")
        self.conf = os.path.join(folder, "sekisho.yaml")
        with open(self.conf, "w") as f:
            f.write(CONF.format(dir=folder, types=types))
        with open(os.path.join(folder, "test.rules"), "w") as f:
            f.write(RULE)
        os.chmod(folder, 0o755)
        self.log = open(os.path.join(folder, "log"), "ab")
        self.p = None

    def join(self):
        make_agent_folder(self.fake.ca, self.home, self.fake.url)
        for name in os.listdir(self.home) + ["."]:
            os.chown(os.path.join(self.home, name), *reporter_user())

    def start(self):
        self.p = subprocess.Popen([self.program, "run", "-c", self.conf], stdout=self.log, stderr=self.log)
        return wait_until(lambda: self.ask("status", "--json").returncode == 0, 10) is not None

    def ask(self, *words):
        return subprocess.run([self.program, *words, "-c", self.conf] if words[0] not in ("enroll",) else
                              [self.program, *words], capture_output=True, text=True)

    def status(self):
        r = self.ask("status", "--json")
        return json.loads(r.stdout) if r.returncode == 0 else {}

    def manager(self):
        return self.status().get("manager", {})

    def stop(self):
        if self.p is not None and self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
            try:
                self.p.wait(15)
            except subprocess.TimeoutExpired:
                self.p.kill()
        return self.p.returncode if self.p is not None else None

    def text(self):
        with open(os.path.join(self.dir, "log")) as f:
            return f.read()


def items(fake, kind):
    return [i for i in list(fake.items) if i["type"] == kind]


def blocks(a):
    return {b["target"]: b for b in json.loads(a.ask("blocks", "--json").stdout or "[]")}


def attack():
    """A request on the loopback interface, which nobody answers but a plain listener."""
    import socket
    with socket.socket() as srv:
        srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        srv.bind(("127.0.0.1", 8080))
        srv.listen()
        with socket.create_connection(("127.0.0.1", 8080)) as c:
            peer, _ = srv.accept()
            c.sendall(b"GET /attack-me HTTP/1.0\r\n\r\n")
            peer.recv(1000)
            peer.close()


def uplink_pid(a):
    out = subprocess.run(["pgrep", "-P", str(a.p.pid), "-x", "sekisho-uplink"], capture_output=True, text=True).stdout
    return int(out.split()[0]) if out.split() else None


def works(t, a, fake):
    t.check("role: an agent that has enrolled connects", a.start() and wait_until(
        lambda: a.manager().get("state") == "connected", 10) is not None, (a.manager(), a.text()[-1500:]))
    pid = uplink_pid(a)
    with open(f"/proc/{pid}/status") as f:
        lines = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
    t.check("role: as the reporter's user, without capabilities, behind a filter",
            lines["Uid"].split()[0] == str(reporter_user()[0]) and lines["CapEff"].strip("0") == "" and
            lines["Seccomp"] == "2" and lines["NoNewPrivs"] == "1", lines.get("Uid"))
    a.ask("block", "203.0.113.5", "--for", "1h", "--reason", "test of the chain")
    t.check("role: a block is told", wait_until(lambda: items(fake, "block"), 5) is not None)
    b = items(fake, "block")[0] if items(fake, "block") else {}
    t.check("role: an operator's, with its reason", b.get("origin") == "operator" and b.get("target") == "203.0.113.5"
            and "test of the chain" in b.get("reason", ""), b)
    a.ask("unblock", "203.0.113.5")
    t.check("role: and its end", wait_until(lambda: items(fake, "end"), 5) is not None)
    attack()
    t.check("role: an alert is told", wait_until(
        lambda: any(e["event"]["event_type"] == "alert" for e in items(fake, "event")), 5) is not None, fake.items[-3:])
    fake.set("198.51.100.7", 600)
    t.check("role: the fleet's blocks are set", wait_until(
        lambda: blocks(a).get("198.51.100.7", {}).get("origin") == "fleet", 5) is not None, blocks(a))
    fake.delete("198.51.100.7")
    t.check("role: and lifted", wait_until(lambda: "198.51.100.7" not in blocks(a), 5) is not None, blocks(a))
    fake.places["203.0.113.5"] = {"target": "203.0.113.5", "expires_ms": int((time.time() + 600) * 1000), "agents": 1,
                                  "host": "web-1", "agent": AGENT, "id": "BAAAA", "waf": [
                                      {"set": "sekisho-a", "scope": "REGIONAL", "region": "eu-west-1"}]}
    a.ask("block", "203.0.113.5")
    wait_until(lambda: len(items(fake, "block")) == 2, 5)
    time.sleep(0.2)
    e = json.loads(a.ask("explain", "203.0.113.5", "--json").stdout or "{}")
    t.check("role: explain shows what the manager knows", e.get("reported", {}).get(
        "aws_waf", [{}])[0].get("set") == "sekisho-a", e)


def survives(t, a, fake):
    before = uplink_pid(a)
    os.kill(before, signal.SIGKILL)
    t.check("role: killed, it is started again", wait_until(
        lambda: uplink_pid(a) not in (None, before) and a.manager().get("state") == "connected", 15) is not None,
            a.manager())
    fake.stop()
    a.ask("block", "203.0.113.77", "--for", "1h")
    t.check("role: without the manager the agent works on", wait_until(
        lambda: a.manager().get("state") == "trying", 40) is not None and "203.0.113.77" in blocks(a), a.manager())
    fake.start()
    t.check("role: what waited is told", wait_until(
        lambda: any(i["target"] == "203.0.113.77" for i in items(fake, "block")), 40) is not None, a.manager())
    n = len(items(fake, "block"))
    ids = [(i["id"], i["expires_ms"]) for i in items(fake, "block")]
    t.check("role: nothing twice", len(set(ids)) == n, ids)
    fake.wrong and print("    ", fake.wrong[:5])
    t.check("role: nothing that the API does not know", not fake.wrong)


def ends(t, a, fake):
    began = time.monotonic()
    code = a.stop()
    t.check("role: the agent ends within 8 s", code == 0 and time.monotonic() - began < 8, code)
    t.check("role: the log names no failure of the filter", "SIGSYS" not in a.text() and "signal 31" not in a.text(),
            a.text()[-2000:])


def joins_later(t, program, folder):
    """An agent that runs, and then the host enrols."""
    fake = FakeManager(os.path.join(folder, "m2")).start()
    os.mkdir(os.path.join(folder, "second"))
    a = Agent(program, os.path.join(folder, "second"), fake, "[flow]")
    a.start()
    t.check("later: without a manager there is no uplink", a.manager().get("state") == "none" and
            uplink_pid(a) is None, a.manager())
    a.ask("block", "203.0.113.9", "--for", "1h")
    fake.tokens["ske_test"] = None
    r = a.ask("enroll", "-c", a.conf, "--manager", fake.url, "--token", "ske_test", "--ca", fake.ca.pem)
    t.check("later: enroll tells the running agent", r.returncode == 0 and "has taken it up" in r.stdout, r)
    t.check("later: which connects", wait_until(
        lambda: a.manager().get("state") == "connected", 10) is not None, a.manager())
    t.check("later: blocks from before are told", wait_until(
        lambda: any(i["target"] == "203.0.113.9" for i in items(fake, "block")), 5) is not None, fake.items)
    attack()
    t.check("later: and events from then on", wait_until(lambda: items(fake, "event"), 5) is not None)
    a.stop()
    eve = open(os.path.join(a.dir, "eve.json")).read()
    t.check("later: also those that are not written to the file", '"event_type":"alert"' not in eve and
            '"event_type":"flow"' in eve and '"event_type":"block"' in eve, eve[:500])
    fake.stop()


def run(args, t):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = tempfile.mkdtemp(prefix="uplink-role-")
    os.chmod(folder, 0o755)
    fake = FakeManager(os.path.join(folder, "m")).start()
    os.mkdir(os.path.join(folder, "first"))
    a = Agent(args.agent, os.path.join(folder, "first"), fake)
    try:
        a.join()
        works(t, a, fake)
        survives(t, a, fake)
        ends(t, a, fake)
        joins_later(t, args.agent, folder)
    finally:
        a.stop()
        fake.stop()
        if os.environ.get("KEEP"):
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("--manager")
    args = p.parse_args()
    args.agent = os.path.abspath(args.agent)
    t = Tally("uplink_role")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"]).returncode != 0 or not shutil.which("openssl"):
        t.skip("uplink_role", "needs root, a network namespace and openssl")
        return t.end()
    if "UPLINK_ROLE_INSIDE" not in os.environ:
        env = dict(os.environ, UPLINK_ROLE_INSIDE="1")
        return subprocess.run(["unshare", "-n", sys.executable, "-B", *sys.argv], env=env).returncode
    run(args, t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
