#!/usr/bin/env python3
"""`sekisho drain`: what a host knows reaches the manager, the manager's list is right, and the Auto Scaling group is told.
Agent and manager are real, in a network namespace of their own; EC2 and Auto Scaling are the strict fake's.

    drain.py --agent PATH --manager PATH
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from aws_fake import Fake
from bed import Manager, Tally, wait_until
from uplink_role import Agent, blocks, reporter_user

HOOK, GROUP = "sekisho-leaves", "web & api"
SPOOLED = ("203.0.113.1", "203.0.113.2", "203.0.113.3")
LATER = ("198.51.100.1", "198.51.100.2", "198.51.100.3")  # of a host that has none of them from the fleet


class Host(Agent):
    """An agent that the real manager knows."""

    def __init__(self, program, folder, m):
        os.mkdir(folder)
        super().__init__(program, folder, None)
        self.m = m
        r = subprocess.run([program, "enroll", "-c", self.conf, "--manager", m.url, "--token", "-", "--ca-fingerprint",
                            m.fingerprint()], input=m.token(), capture_output=True, text=True, check=False)
        if r.returncode:
            raise RuntimeError(r.stderr)
        self.id = r.stdout.split()[2]

    def drain(self, *words):
        return subprocess.run([self.program, "drain", "-c", self.conf, *words], capture_output=True, text=True, check=False,
                              timeout=120)

    def begin(self, *words):
        return subprocess.Popen([self.program, "drain", "-c", self.conf, *words], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def state(self):
        return {a["id"]: a["state"] for a in self.m.json("agents")}.get(self.id)

    def told(self):
        """Targets that the manager has of this host."""
        return {b["target"] for b in self.m.json("blocks", "--agent", self.id)}


def running(t, m, folder, program):
    h = Host(program, folder, m)
    h.start()
    wait_until(lambda: h.manager().get("state") == "connected", 15)
    m.stop()
    for a in SPOOLED:
        h.ask("block", a, "--for", "1h")
    wait_until(lambda: h.manager().get("spooled", 0) >= 3, 10)
    began = time.monotonic()
    r = h.drain("--timeout", "3s")
    t.check("running: no manager: says what is not told, and ends in time", r.returncode == 1 and
            "items are not told" in r.stderr and "not retire this host in time" in r.stderr and
            time.monotonic() - began < 20, (r.stdout, r.stderr, time.monotonic() - began))
    p = h.begin("--no-retire", "--timeout", "60s")
    time.sleep(2)
    m.restart()
    out, err = p.communicate(timeout=90)
    t.check("running: the manager comes back meanwhile", p.returncode == 0 and "told everything" in out and
            h.told() == set(SPOOLED), (out, err, h.told()))
    t.check("running: --no-retire", h.state() == "active", h.state())
    h.ask("block", "203.0.113.4", "--for", "1h")
    r = h.drain()
    t.check("running: what happened last is told too, then it is retired", r.returncode == 0 and f"retired {h.id}." in r.stdout
            and "203.0.113.4" in h.told() and h.state() == "retired", (r.stdout, r.stderr, h.told(), h.state()))
    t.check("running: the host is protected all the same", "203.0.113.4" in blocks(h))
    r = h.drain()
    t.check("running: once more", r.returncode == 0 and f"retired {h.id} before" in r.stdout, (r.stdout, r.stderr))
    h.ask("block", "203.0.113.5", "--for", "1h")
    wait_until(lambda: h.manager().get("state") == "refused" and h.manager().get("spooled"), 15)
    r = h.drain()
    t.check("running: what happens after that stays here, and it says so", r.returncode == 1 and "not told" in r.stderr and
            "retired" in r.stderr and "203.0.113.5" not in h.told(), (r.stdout, r.stderr))
    h.stop()
    audit = [a for a in m.json("audit") if h.id in a["who"] + a["detail"]]
    t.check("running: the manager's audit has it once", [a["what"] for a in audit if "retire" in a["what"]] == ["retire"], audit)


def stopped(t, m, folder, program):
    h = Host(program, folder, m)
    h.start()
    wait_until(lambda: h.manager().get("state") == "connected", 15)
    m.stop()
    for a in LATER:
        h.ask("block", a, "--for", "1h")
    wait_until(lambda: h.manager().get("spooled", 0) >= 3, 10)
    h.stop()
    m.restart()
    before = h.told()
    r = h.drain()
    t.check("stopped: what is on the disk is told from there", not before and r.returncode == 0 and
            "(3 items waited)" in r.stdout and h.told() == set(LATER) and h.state() == "retired",
            (before, r.stdout, r.stderr, h.told()))
    owners = {os.stat(os.path.join(h.home, n)).st_uid for n in os.listdir(h.home)}
    t.check("stopped: the files are still the uplink's", owners == {reporter_user()[0]}, owners)
    r = h.drain()
    t.check("stopped: once more", r.returncode == 0 and "before" in r.stdout, (r.stdout, r.stderr))


def others(t, m, folder, program):
    h = Host(program, folder, m)
    m.must("revoke", h.id)
    r = h.drain()
    t.check("others: a revoked host is refused", r.returncode == 1 and "agent_revoked" in r.stderr and h.state() == "revoked",
            (r.stdout, r.stderr))
    shutil.rmtree(h.home)
    r = h.drain()
    t.check("others: a host that has not enrolled", r.returncode == 0 and "not enrolled" in r.stdout, (r.stdout, r.stderr))
    for words, word in ((("--timeout", "soon"), "--timeout"), (("--asg", "x"), "--lifecycle-hook"), (("now",), "arguments"),
                        (("--imds", "x", "--wait"), "--imds")):
        r = h.drain(*words)
        t.check(f"others: {' '.join(words)}", r.returncode == 2 and word in r.stderr, r.stderr)


def hooks(t, m, folder, program, aws):
    h = Host(program, folder, m)
    i = aws.instance("i-00000000000000001", {"Name": "web"})
    words = ("--imds", i.url, "--aws-endpoint", aws.url, "--lifecycle-hook", HOOK)
    aws.hooks.add((GROUP, HOOK))

    def waits():
        aws.completed.clear()
        aws.waiting.add((GROUP, HOOK, i.id))

    def done():
        return aws.completed == [(GROUP, HOOK, i.id, "CONTINUE")]

    waits()
    r = h.drain("--no-retire", "--asg", GROUP, *words)
    t.check("hooks: the group is told", r.returncode == 0 and done() and f"{i.id} may go" in r.stdout, (r.stdout, r.stderr))
    r = h.drain("--no-retire", "--asg", GROUP, *words)
    t.check("hooks: nobody waits any more", r.returncode == 0 and done() and "completed before" in r.stdout, r.stdout)
    waits()
    aws.groups[i.id] = GROUP.replace("&", "and")
    aws.hooks.add((aws.groups[i.id], HOOK))
    aws.waiting.add((aws.groups[i.id], HOOK, i.id))
    r = h.drain("--no-retire", *words)
    t.check("hooks: the group is asked for", r.returncode == 0 and aws.completed[:1] == [
        (aws.groups[i.id], HOOK, i.id, "CONTINUE")], (r.stdout, r.stderr))
    i.tags["aws:autoscaling:groupName"] = GROUP
    aws.completed.clear()
    r = h.drain("--no-retire", *words)
    t.check("hooks: or is in the instance's tags", r.returncode == 0 and done(), (r.stdout, r.stderr))
    for what, more, word in (("another hook", ("--lifecycle-hook", "nothing"), "No Lifecycle Hook"),
                             ("another group", ("--asg", "nothing"), "No Lifecycle Hook")):
        r = h.drain("--no-retire", *words, *more)
        t.check(f"hooks: {what}", r.returncode == 1 and word in r.stderr, r.stderr)
    waits()
    aws.denied.add("CompleteLifecycleAction")
    p = h.begin("--no-retire", *words)
    line = p.stderr.readline()
    aws.denied.clear()
    out, err = p.communicate(timeout=60)
    t.check("hooks: rights that come late", p.returncode == 0 and "AccessDenied" in line and done(), (line, out, err))
    waits()
    m.stop()
    r = h.drain("--timeout", "1s", *words)
    t.check("hooks: an instance is not kept alive for a manager that is away", r.returncode == 1 and done(),
            (r.stdout, r.stderr))
    m.restart()
    i.tags, before = None, len(aws.completed)
    aws.groups.clear()
    r = h.drain("--no-retire", *words)
    t.check("hooks: an instance in no group", r.returncode == 1 and "no Auto Scaling group" in r.stderr and
            len(aws.completed) == before, r.stderr)


def waiting(t, m, folder, program, aws):
    h = Host(program, folder, m)
    i = aws.instance("i-00000000000000002", {"aws:autoscaling:groupName": GROUP})
    aws.waiting.add((GROUP, HOOK, i.id))
    aws.completed.clear()
    i.target_state = "InService"
    aws.imds = "fail"
    p = h.begin("--wait", "--imds", i.url, "--aws-endpoint", aws.url, "--lifecycle-hook", HOOK)
    silent = p.stderr.readline()
    aws.imds = "ok"
    again = p.stderr.readline()
    time.sleep(1)
    t.check("waiting: says that the metadata is silent, and that it answers again", "not known whether" in silent and
            "answers again" in again, (silent, again))
    t.check("waiting: nothing yet", p.poll() is None and h.state() in ("active", "silent") and
            not aws.completed, (p.poll(), h.state(), aws.completed))
    i.target_state = "Terminated"
    out, err = p.communicate(timeout=60)
    t.check("waiting: until the group says so", p.returncode == 0 and "terminates this instance" in out and
            h.state() == "retired" and aws.completed == [(GROUP, HOOK, i.id, "CONTINUE")], (out, err, aws.completed))
    h = Host(program, folder + "-spot", m)
    i = aws.instance("i-00000000000000003")
    aws.completed.clear()
    i.spot_action = "stop"
    p = h.begin("--wait", "--imds", i.url, "--aws-endpoint", aws.url, "--lifecycle-hook", HOOK)
    asked = aws.requests
    wait_until(lambda: aws.requests > asked + 3, 20)
    t.check("waiting: a spot instance that only stops", p.poll() is None)
    i.spot_action = "terminate"
    out, err = p.communicate(timeout=60)
    t.check("waiting: a spot instance that is taken back", p.returncode == 0 and "spot" in out and h.state() == "retired" and
            not aws.completed, (out, err))
    p = h.begin("--wait", "--imds", i.url)
    p.send_signal(signal.SIGTERM)
    t.check("waiting: can be stopped", p.wait(10) != 0)
    p.stdout.close()
    p.stderr.close()


def run(args, t):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = tempfile.mkdtemp(prefix="drain-")
    os.chmod(folder, 0o755)
    made = []
    keep = Agent.__init__

    def note(self, *a, **k):
        made.append(self)
        keep(self, *a, **k)
    Agent.__init__ = note
    try:
        with Manager(args.manager, settings="agents: {heartbeat: 1s}\n") as m, Fake() as aws:
            m.init().start()
            running(t, m, os.path.join(folder, "running"), args.agent)
            stopped(t, m, os.path.join(folder, "stopped"), args.agent)
            others(t, m, os.path.join(folder, "others"), args.agent)
            hooks(t, m, os.path.join(folder, "hooks"), args.agent, aws)
            waiting(t, m, os.path.join(folder, "waiting"), args.agent, aws)
    finally:
        for a in made:
            a.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent", required=True)
    p.add_argument("--manager", required=True)
    args = p.parse_args()
    args.agent = os.path.abspath(args.agent)
    t = Tally("drain")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0:
        t.skip("drain", "needs root and a network namespace")
        return t.end()
    if "DRAIN_INSIDE" not in os.environ:
        env = dict(os.environ, DRAIN_INSIDE="1")
        return subprocess.run(["unshare", "-n", sys.executable, "-B", *sys.argv], env=env, check=False).returncode
    run(args, t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
