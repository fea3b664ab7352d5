#!/usr/bin/env python3
"""A hundred instances start at once, enrol with one token that they find in Parameter Store over a way that loses answers, and half of them end: some
drained by their group's hook, some without a word. The manager is real; each instance is `sekisho enroll` and `sekisho
drain`, with metadata and an identity document of its own from the strict fake of EC2.

    hundred.py --agent PATH --manager PATH [--instances 100]
"""
import argparse
import collections
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from aws_fake import ACCOUNT, Fake
from bed import Manager, Tally, wait_until

HOOK, GROUP, HERE = "sekisho-leaves", "web", "eu-central-1"
SETTINGS = """
agents: {{heartbeat: 30s, follow-instances: yes}}
aws: {{endpoint: {endpoint}}}
identity: {{certificates: {certs}, required: yes, accounts: ["{account}"], regions: [{here}]}}
"""


class Relay:
    """A way to the manager that loses every third answer to a request: it has been carried out, and nobody hears of it."""

    def __init__(self, port):
        self.target, self.lost, self.n, self.lock = port, 0, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.try_to_carry, args=(client,), daemon=True).start()

    def try_to_carry(self, client):
        try:
            self.carry(client)
        except OSError:
            pass

    def carry(self, client):
        """What is longer than a handshake is a request."""
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            told, lose = 0, None
            while True:
                for s in select.select([client, server], [], [], 60)[0]:
                    data = s.recv(65536)
                    if s is client:
                        told += len(data)
                    elif data and told > 2000:
                        if lose is None:
                            with self.lock:
                                self.n += 1
                                lose = self.n % 3 == 0
                                self.lost += lose
                        if lose:
                            return
                    if not data:
                        return
                    (server if s is client else client).sendall(data)

    def end(self):
        self.listener.close()


class Instance:
    def __init__(self, n, folder, program, aws, port):
        self.program, self.aws, self.url = program, aws, f"https://127.0.0.1:{port}"
        self.ec2 = aws.instance(f"i-{n:017x}", {"aws:autoscaling:groupName": GROUP})
        self.ec2.target_state = "InService"
        self.dir = os.path.join(folder, f"host-{n}")
        os.mkdir(self.dir)
        os.chmod(self.dir, 0o755)
        self.p = self.out = self.err = None

    def begin(self, verb, *words):
        sets = ("--set", f"guard.state-dir={self.dir}/state", "--set", f"manager.state-dir={self.dir}/state/uplink", "--set",
                f"guard.control-socket={self.dir}/control.sock")
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.p = subprocess.Popen([self.program, verb, *sets, "--imds", self.ec2.url, "--aws-endpoint", self.aws.url, *words],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)

    def enroll(self):
        self.begin("enroll", "--manager", self.url, "--identity", "--token-parameter", "/sekisho/token", "--ca-parameter",
                   "/sekisho/ca", "--retry", "5m", "--if-needed", "--tag", "group=web")

    def drain(self):
        self.begin("drain", "--wait", "--timeout", "60s", "--lifecycle-hook", HOOK)

    def end(self, seconds=300):
        self.out, self.err = self.p.communicate(timeout=seconds)
        return self.p.returncode

    def agent(self):
        return self.out.split()[2] if self.out.startswith("Enrolled as ") else None

    def kill(self):
        if self.p and self.p.poll() is None:
            self.p.kill()
            self.p.communicate()


def join(t, m, all_of_them, relay):
    began = time.monotonic()
    for i in all_of_them:
        i.enroll()
    codes = collections.Counter(i.end() for i in all_of_them)
    print(f"     {len(all_of_them)} instances enrolled within {time.monotonic() - began:.1f} s")
    t.check("join: some answers are lost on the way", relay.lost > len(all_of_them) // 10, relay.lost)
    t.check("join: all of them", codes == {0: len(all_of_them)}, (codes, [i.err for i in all_of_them if i.p.returncode][:3]))
    rows = m.json("agents")
    t.check("join: each once, as the instance that it is", sorted(r["instance"] for r in rows) == sorted(
        i.ec2.id for i in all_of_them) and {r["id"] for r in rows} == {i.agent() for i in all_of_them}, len(rows))
    t.check("join: with tags, account and region", all(r["tags"] == {"group": "web"} and r["account"] == ACCOUNT and
                                                       r["region"] == HERE and r["state"] == "active" for r in rows), rows[:2])
    token = m.json("token", "list")[0]
    t.check("join: the token has served so often", token["used"] == len(all_of_them), token)
    i = all_of_them[0]
    i.enroll()
    t.check("join: none twice", i.end() == 0 and "Enrolled already" in i.out and len(m.json("agents")) == len(all_of_them),
            (i.out, i.err))


def one_too_many(t, m, i):
    i.url = m.url
    i.enroll()
    code = i.end()
    t.check("join: one more than the token serves", code == 4 and "as often as it may be" in i.err and
            "trying again" not in i.err and i.ec2.id not in {r["instance"] for r in m.json("agents")}, (code, i.err))


def part(t, m, aws, drained, killed, kept):
    for i in drained:
        aws.waiting.add((GROUP, HOOK, i.ec2.id))
        i.drain()
    for i in drained:
        i.ec2.target_state = "Terminated"
    codes = collections.Counter(i.end() for i in drained)
    t.check("part: those with a hook drain", codes == {0: len(drained)}, (codes, [i.err for i in drained if i.p.returncode][:3]))
    t.check("part: the group hears of each once, and of no other", sorted(aws.completed) == sorted(
        (GROUP, HOOK, i.ec2.id, "CONTINUE") for i in drained) and not aws.waiting, len(aws.completed))
    for i in drained + killed:
        i.ec2.state = "terminated"
    m.stop()
    m.start()  # asks EC2 at its start, and every minute

    def states():
        return {r["instance"]: r["state"] for r in m.json("agents")}
    gone = {i.ec2.id for i in drained + killed}
    wait_until(lambda: sum(s == "retired" for s in states().values()) == len(gone), 30, 0.3)
    now = states()
    t.check("part: the list is right: who has gone is retired, with a word or without", {i for i, s in now.items()
                                                                                      if s == "retired"} == gone, now)
    t.check("part: and everybody else is there", {i for i, s in now.items() if s == "active"} == {i.ec2.id for i in kept}, now)
    t.check("part: active ones alone are listed so", {r["instance"] for r in m.json("agents", "--state", "active")} ==
            {i.ec2.id for i in kept})
    audit = [a["what"] for a in m.json("audit", "--limit", "1000")]
    t.check("part: each is retired once", audit.count("retire") == len(drained) and audit.count("agent.retire") == len(killed),
            collections.Counter(audit))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("--manager", required=True)
    p.add_argument("--instances", type=int, default=100)
    args = p.parse_args()
    args.agent = os.path.abspath(args.agent)
    t = Tally("hundred")
    if os.geteuid() != 0:
        t.skip("hundred", "needs root")
        return t.end()
    folder = tempfile.mkdtemp(prefix="hundred-")
    os.chmod(folder, 0o755)
    hosts = []
    try:
        with Fake(region=HERE) as aws:
            certs = os.path.join(folder, "certs.pem")
            with open(certs, "w", encoding="ascii") as f, open(os.path.join(aws.identity_dir(), "cert.pem"), encoding="ascii") as c:
                f.write(f"# region: {HERE}\n{c.read()}")
            with Manager(args.manager, env=aws.environment(), settings=SETTINGS.format(
                    endpoint=aws.url, certs=certs, account=ACCOUNT, here=HERE)) as m:
                m.init().start()
                aws.parameters[HERE, "/sekisho/token"] = m.token("--uses", str(args.instances))
                aws.parameters[HERE, "/sekisho/ca"] = m.fingerprint()
                aws.hooks.add((GROUP, HOOK))
                relay = Relay(m.port)
                hosts += [Instance(n + 1, folder, args.agent, aws, relay.port) for n in range(args.instances + 1)]
                half = args.instances // 4
                join(t, m, hosts[:-1], relay)
                one_too_many(t, m, hosts[-1])
                part(t, m, aws, hosts[:half], hosts[half:2 * half], hosts[2 * half:-1])
                relay.end()
                log = m.log()
                t.check("no token and no key is in the manager's log", "ske_" not in log and "PRIVATE KEY" not in log and
                        "AddressSanitizer" not in log, log[-500:])
    finally:
        for i in hosts:
            i.kill()
        shutil.rmtree(folder, ignore_errors=True)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
