#!/usr/bin/env python3
"""The uplink against a manager that fails in every way: uplink_fake.py [--drive PATH] [--long] [--but NAME] [NAME...]"""
import argparse
import concurrent.futures
import glob
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from bed import ROOT, Tally, wait_until
from fake_manager import AGENT, FakeManager, make_agent_folder

SPOOL = 64 << 20
SIDE_BY_SIDE = 4


class Drive:
    """The uplink as a process; what it says is in .said."""

    def __init__(self, program, folder, spool=SPOOL):
        self.args = [program, folder, str(spool)]
        self.said, self.p = [], None

    def start(self):
        self.p = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, args=(self.p.stdout,), daemon=True).start()
        return self

    def read(self, out):
        for line in out:
            self.said.append(json.loads(line))

    def tell(self, *orders):
        self.p.stdin.write("".join(o + "\n" for o in orders))
        self.p.stdin.flush()

    def kill(self):
        self.p.send_signal(signal.SIGKILL)
        self.p.wait()

    def end(self):
        """True: with exit code 0."""
        if self.p.poll() is None:
            self.tell("quit")
        try:
            return self.p.wait(10) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def of(self, key):
        return [s for s in list(self.said) if key in s]

    def state(self):
        states = self.of("state")
        return states[-1] if states else {"state": None, "spooled": -1, "sent": 0, "lost": 0, "text": ""}


class Case:
    def __init__(self, args, tally):
        self.args, self.t = args, tally

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="uplink-fake-")
        self.fake = FakeManager(self.dir).start()
        self.home = os.path.join(self.dir, "uplink")
        make_agent_folder(self.fake.ca, self.home, self.fake.url)
        self.drive = Drive(self.args.drive, self.home)
        return self

    def __exit__(self, *exc):
        if self.drive.p is not None and self.drive.p.poll() is None:
            self.drive.kill()
        self.fake.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def numbers(self):
        return [i["event"]["alert"]["signature_id"] for i in list(self.fake.items) if i["type"] == "event"]

    def told(self, first, count, seconds=20):
        """Each event once, in order."""
        wait_until(lambda: len(self.numbers()) >= count, seconds)
        return self.numbers() == list(range(first, first + count))

    def end(self, what):
        self.t.check(f"{what}: ends by itself", self.drive.end())
        self.t.check(f"{what}: nothing that the API does not know", not self.fake.wrong, self.fake.wrong[:3])


def plain(c, t):
    d = c.drive.start()
    t.check("plain: it is up within 2 s", wait_until(lambda: d.state()["state"] == "up", 2) is not None, d.said[-3:])
    t.check("plain: the manager's address is told", wait_until(
        lambda: "127.0.0.1" in d.state().get("addr", []), 3) is not None, d.state())
    d.tell("events 0 1200")
    t.check("plain: 1200 events, once each, in order", c.told(0, 1200), len(c.numbers()))
    began = time.monotonic()
    d.tell("set BAAAA 203.0.113.9 3600")
    wait_until(lambda: any(i["type"] == "block" for i in c.fake.items), 5)
    took = time.monotonic() - began
    t.check("plain: a block is told within 0.5 s", took < 0.5, took)
    b = [i for i in c.fake.items if i["type"] == "block"][0]
    t.check("plain: with its fields", b["target"] == "203.0.113.9" and b["origin"] == "rule" and b["cause"] == "rule"
            and b["expires_ms"] - b["created_ms"] == 3600000, b)
    d.tell("set BAAAA 203.0.113.9 7200", "fleetset BFLEE 203.0.113.10")
    t.check("plain: a later end is told", wait_until(
        lambda: sum(i["type"] == "block" for i in c.fake.items) == 2, 5) is not None)
    d.tell("end BAAAA 203.0.113.9 unblocked")
    t.check("plain: an end is told", wait_until(
        lambda: any(i["type"] == "end" and i["why"] == "unblocked" for i in c.fake.items), 5) is not None)
    d.tell("set BBBBB 203.0.113.11 1", "end BBBBB 203.0.113.11 expired")
    time.sleep(1)
    t.check("plain: neither what ran out nor what is the fleet's", sum(i["type"] == "end" for i in c.fake.items) == 1
            and "BFLEE" not in [i.get("id") for i in c.fake.items])
    t.check("plain: heartbeats", wait_until(lambda: len(c.fake.beats) >= 3, 5) is not None)
    t.check("plain: batches keep within 512 KiB", c.fake.largest <= 520 << 10, c.fake.largest)
    c.end("plain")


def trimmed(c, t):
    d = c.drive.start()
    eve = {"timestamp": "2026-01-02T03:04:05.123456+0000", "event_type": "alert", "payload": "QUJD", "packet": "x" * 99,
           "payload_printable": "ABC", "http": {"url": "/" + "a" * 100, "http_request_body": "b" * 5000},
           "alert": {"signature_id": 0}}
    big = dict(eve, http={"url": "/" + "a" * 40000})
    d.tell("line " + json.dumps(eve), "line " + json.dumps(big), "line {not json", "line []", "line " + "x" * 70000)
    wait_until(lambda: len(c.fake.items) == 2, 5)
    items = c.fake.items
    t.check("trimmed: two of five lines are events", len(items) == 2, len(items))
    t.check("trimmed: time of the event", items[0]["time_ms"] == 1767323045123, items[0]["time_ms"])
    t.check("trimmed: bodies and payloads stay here", items[0]["event"]["http"] == {"url": "/" + "a" * 100}, items[0])
    t.check("trimmed: what is too long loses its longest part", "http" not in items[1]["event"])
    t.check("trimmed: the others are counted", wait_until(lambda: d.state()["lost"] == 3, 7) is not None, d.state())
    c.end("trimmed")


def outage(c, t):
    """50 attacks a second for ten minutes, an event and a block each: 60,000 items. Without --long in less time."""
    long = c.args.long
    seconds, total = (600, 30000) if long else (25, 30000)
    d = c.drive.start()
    wait_until(lambda: d.state()["state"] == "up", 3)
    c.fake.stop()
    began, sent = time.monotonic(), 0
    while sent < total:
        want = min(total, int((time.monotonic() - began) / seconds * total) + 1)
        orders = []
        for i in range(sent, want):
            orders += [f"events {i} 1", f"set B{i:06} 10.{i >> 16}.{i >> 8 & 255}.{i & 255} 86400"]
        d.tell(*orders)
        sent = want
        time.sleep(0.02)
    wait_until(lambda: d.state()["spooled"] >= 2 * total, 20)
    t.check("outage: everything waits", d.state()["spooled"] == 2 * total and d.state()["lost"] == 0, d.state())
    size = sum(os.path.getsize(f) for f in glob.glob(os.path.join(c.home, "spool.db*")))
    t.check("outage: the spool is within its bound", size <= SPOOL, size)
    c.fake.start()
    took = wait_until(lambda: len(c.fake.items) >= 2 * total, 60)
    t.check("outage: caught up within 30 s after it is back", took is not None and took <= 30, took)
    print(f"     caught up {2 * total} items in {took and round(took, 1)} s; spool {size >> 20} MiB")
    order = []
    for i in c.fake.items:
        order.append(i["event"]["alert"]["signature_id"] * 2 if i["type"] == "event" else int(i["id"][1:]) * 2 + 1)
    t.check("outage: nothing lost, nothing twice, in order", order == list(range(2 * total)), len(order))
    c.end("outage")


def idle(c, t):
    """A host that has nothing to tell, and whose next heartbeat is far away."""
    c.fake.heartbeat_s = 600
    d = c.drive.start()
    up = wait_until(lambda: d.state()["state"] == "up" and len(c.fake.beats) == 1, 5)
    time.sleep(.5)  # what asks for blocks waits at the manager
    c.fake.stop()
    away = wait_until(lambda: d.state()["state"] == "trying", 5)
    t.check("idle: it sees that the manager is gone", up is not None and away is not None, d.said[-3:])
    time.sleep(3)
    c.fake.start()
    t.check("idle: and that it is back, within 10 s", wait_until(lambda: d.state()["state"] == "up", 12) is not None, d.said[-3:])
    c.end("idle")


def lost_answers(c, t):
    """The manager takes batches and dies before it answers."""
    d = c.drive.start()
    c.fake.lose_answers = True
    d.tell("events 0 700")
    wait_until(lambda: c.fake.batches >= 1, 5)
    d.tell("events 700 300")
    wait_until(lambda: c.fake.duplicates >= 2, 30)
    c.fake.lose_answers = False
    t.check("lost answers: each event once, in order", c.told(0, 1000, 30), len(c.numbers()))
    t.check("lost answers: batches came again under their number", c.fake.duplicates >= 2, c.fake.duplicates)
    c.end("lost answers")


def killed(c, t):
    """kill -9 of the uplink, again and again, with a manager that drops answers now and then."""
    first = 0
    for n in range(12):
        d = c.drive.start()
        c.fake.lose_answers = n % 3 == 1
        d.said.clear()
        wait_until(lambda: d.state()["state"] is not None, 3)
        d.tell(f"events {first} 400")
        first += 400
        want = first
        # What it has been told and not yet written down may go: here it always writes before it is killed.
        wait_until(lambda: (d.state()["spooled"] + d.state()["sent"] > 0) and
                   (d.state()["spooled"] == 0 or len(c.numbers()) > want - 400 or n % 3 == 1), 3)
        time.sleep(random.random() * 0.3)
        d.tell("events 0 0")
        time.sleep(0.6)
        d.kill()
    c.fake.lose_answers = False
    d = c.drive.start()
    t.check("killed: 4800 events, once each, in order", c.told(0, first, 30), (len(c.numbers()), first))
    c.end("killed")


def statuses(c, t):
    d = c.drive.start()
    wait_until(lambda: d.state()["state"] == "up", 3)
    c.fake.failing = {"/v1/events": 500}
    d.tell("events 0 100")
    time.sleep(2.5)
    tries = sum(r[2] == "/v1/events" for r in c.fake.requests)
    t.check("500: tried again, and not all the time", 1 <= tries <= 6, tries)
    c.fake.failing = {}
    t.check("500: told in the end", c.told(0, 100), len(c.numbers()))
    for status in (429, 503):
        c.fake.failing, c.fake.retry_after = {p: status for p in ("/v1/events", "/v1/heartbeat", "/v1/feed")}, 3
        d.tell(f"events {len(c.numbers())} 50")
        before = len(c.fake.requests)
        wait_until(lambda: any(r[2] == "/v1/events" for r in c.fake.requests[before:]), 5)
        at = [r[0] for r in c.fake.requests[before:] if r[2] == "/v1/events"]
        at = at[0] if at else time.monotonic()
        c.fake.failing = {}
        goal = len(c.numbers()) + 50
        wait_until(lambda: len(c.numbers()) >= goal, 15)
        times = [r[0] - at for r in c.fake.requests if r[2] == "/v1/events" and r[0] > at]
        t.check(f"{status}: Retry-After is kept", times and 2.9 <= times[0] <= 6, times[:2])
    t.check("429, 503: told in the end", c.told(0, 200), len(c.numbers()))
    c.end("statuses")


def broken(c, t):
    """Resets, garbage, truncated answers, slowness: one after another."""
    d = c.drive.start()
    n = 0
    for what in ("reset", "garbage", "truncate"):
        setattr(c.fake, what, True)
        d.tell(f"events {n} 100")
        n += 100
        time.sleep(2.5)
        setattr(c.fake, what, False)
        t.check(f"{what}: each event once, in order", c.told(0, n, 30), len(c.numbers()))
    c.fake.slow = 2
    d.tell(f"events {n} 100")
    t.check("slow: each event once, in order", c.told(0, n + 100, 30), len(c.numbers()))
    c.fake.slow = 0
    c.end("broken")


def poison(c, t):
    """An item for which the manager refuses the batch does not stop the others."""
    c.fake.refuse_item = lambda i: i["type"] == "event" and i["event"]["alert"]["signature_id"] in (13, 777)
    d = c.drive.start()
    d.tell("events 0 1000")
    wait_until(lambda: len(c.numbers()) >= 998, 30)
    t.check("poison: all but those two, in order", c.numbers() == [i for i in range(1000) if i not in (13, 777)],
            len(c.numbers()))
    t.check("poison: they are counted", wait_until(lambda: d.state()["lost"] == 2, 7) is not None, d.state())
    c.fake.refuse_item = lambda i: True
    d.tell("events 1000 100")
    time.sleep(4)
    c.fake.refuse_item = lambda i: False
    wait_until(lambda: len(c.numbers()) >= 998 + 100 - 8, 40)
    t.check("poison: a manager that likes nothing costs eight items at most", len(c.numbers()) >= 998 + 92,
            len(c.numbers()))
    c.end("poison")


def gap(c, t):
    """The manager goes back to an older database."""
    d = c.drive.start()
    d.tell("set BAAAA 203.0.113.1 3600", "set BBBBB 203.0.113.2 3600", "end BBBBB 203.0.113.2 unblocked")
    wait_until(lambda: len(c.fake.items) == 3, 5)
    d.tell("events 0 10")
    c.told(0, 10)
    c.fake.spools.clear()
    c.fake.items.clear()
    d.tell("events 10 10")
    wait_until(lambda: len(c.fake.items) >= 11, 10)
    t.check("gap: what waited is told under a new name", c.numbers() == list(range(10, 20)), c.numbers())
    t.check("gap: blocks in force are told again", [i["id"] for i in c.fake.items if i["type"] == "block"] == ["BAAAA"])
    c.end("gap")


def sync(c, t):
    """Blocks that ended while the uplink was not there."""
    d = c.drive.start()
    d.tell("set BAAAA 203.0.113.1 3600", "set BBBBB 203.0.113.2 3600", "set BCCCC 203.0.113.3 1")
    wait_until(lambda: len(c.fake.items) == 3, 5)
    d.end()
    time.sleep(1.2)
    c.fake.items.clear()
    d = c.drive.start()
    d.tell("begin", "set BAAAA 203.0.113.1 7200", "set BDDDD 203.0.113.4 3600", "done")
    wait_until(lambda: len(c.fake.items) >= 3, 5)
    time.sleep(0.5)
    got = [(i["type"], i["id"]) for i in c.fake.items]
    t.check("sync: a later end, a new one, and one that is gone", sorted(got) == [
        ("block", "BAAAA"), ("block", "BDDDD"), ("end", "BBBBB")], got)
    c.end("sync")


def feed(c, t):
    c.fake.page = 100
    for i in range(250):
        c.fake.set(f"10.1.{i >> 8}.{i & 255}")
    c.fake.set("192.0.2.1", agent=AGENT)
    d = c.drive.start()
    wait_until(lambda: any(s["fleet"] == "done" for s in d.of("fleet")), 5)
    got = d.of("fleet")
    t.check("feed: BEGIN, 250 blocks, DONE", [got[0]["fleet"], got[-1]["fleet"]] == ["begin", "done"] and
            sum(s["fleet"] == "set" for s in got) == 250, [len(got), got[:1], got[-1:]])
    t.check("feed: not this host's own", "192.0.2.1" not in [s.get("target") for s in got])
    d.said.clear()
    began = time.monotonic()
    c.fake.set("2001:db8::5")
    wait_until(lambda: d.of("fleet"), 5)
    took = time.monotonic() - began
    t.check("feed: news at once", d.of("fleet")[0]["target"] == "2001:db8::5" and took < 0.5, took)
    c.fake.delete("10.1.0.0")
    wait_until(lambda: len(d.of("fleet")) >= 2, 5)
    t.check("feed: and what is lifted", d.of("fleet")[-1] == {"fleet": "end", "target": "10.1.0.0", "id": "",
                                                             "expires_ms": 0, "host": ""}, d.of("fleet")[-1])
    polls = c.fake.polls
    time.sleep(2)
    t.check("feed: a poll waits", c.fake.polls - polls <= 1, c.fake.polls - polls)
    d.said.clear()
    with c.fake.lock:
        c.fake.epoch = "epoch-2"
        c.fake.lock.notify_all()
    wait_until(lambda: any(s["fleet"] == "done" for s in d.of("fleet")), 5)
    got = d.of("fleet")
    t.check("feed: another database: all of it again", got[0]["fleet"] == "begin" and
            sum(s["fleet"] == "set" for s in got) == 250, len(got))
    c.fake.entries["bad"] = (c.fake.seq + 1, {"op": "set", "target": "10.0.0.1/8"})
    c.fake.log.append((c.fake.seq + 1, {"op": "set", "target": "10.0.0.1/8"}))
    c.fake.log.append((c.fake.seq + 2, {"op": "del", "target": "10.1.0.1"}))
    with c.fake.lock:
        c.fake.seq += 2
        c.fake.lock.notify_all()
    t.check("feed: an entry that makes no sense is passed over", wait_until(
        lambda: d.of("fleet")[-1]["target"] == "10.1.0.1" if "target" in d.of("fleet")[-1] else False, 5) is not None)
    c.end("feed")


def pressure(c, t):
    """The guard takes a few messages at a time."""
    for i in range(300):
        c.fake.set(f"10.1.{i >> 8}.{i & 255}")
    d = c.drive
    d.start()
    d.tell("room 5")
    time.sleep(1)
    first = len(d.of("fleet"))
    events = len(c.numbers())
    d.tell("events 0 10")
    t.check("pressure: events go on meanwhile", c.told(events, 10, 5), len(c.numbers()))
    for _ in range(70):
        d.tell("room 5")
        time.sleep(0.05)
    d.tell("room -1")
    wait_until(lambda: any(s["fleet"] == "done" for s in d.of("fleet")), 5)
    got = [s.get("target") for s in d.of("fleet") if s["fleet"] == "set"]
    t.check("pressure: each block once, in order", len(got) == 300 and len(set(got)) == 300, (first, len(got)))
    c.end("pressure")


def bundles(c, t):
    d = c.drive.start()
    wait_until(lambda: d.state()["state"] == "up", 3)
    c.fake.put_bundle("rules", 3, '{"kind":"rules"}')
    wait_until(lambda: d.of("bundle"), 5)
    b = d.of("bundle")
    t.check("bundles: handed on with their signature", len(b) == 1 and b[0] == {
        "bundle": 1, "version": 3, "payload": '{"kind":"rules"}', "sig0": 0, "sig63": 63}, b)
    time.sleep(1.5)
    t.check("bundles: once", len(d.of("bundle")) == 1)
    d.tell("signed 1 3 3 0")
    t.check("bundles: the manager learns what is in force", wait_until(
        lambda: c.fake.beats and c.fake.beats[-1]["rules_version"] == 3, 5) is not None, c.fake.beats[-1:])
    d.tell("room 0")
    c.fake.put_bundle("policy", 1, "{}")
    time.sleep(1)
    before = len(d.of("bundle"))
    d.tell("room -1")
    t.check("bundles: one waits until the guard has room", wait_until(lambda: len(d.of("bundle")) == 2, 5) is not None
            and before == 1, (before, d.of("bundle")))
    d.tell("signed 0 1 0 -4")
    c.fake.put_bundle("policy", 2, "{}")
    t.check("bundles: behind a refused one the next is taken", wait_until(
        lambda: d.of("bundle")[-1]["version"] == 2, 5) is not None)
    c.end("bundles")


def look_ups(c, t):
    d = c.drive.start()
    wait_until(lambda: d.state()["state"] == "up", 3)
    c.fake.places["203.0.113.0/24"] = {
        "target": "203.0.113.0/24", "expires_ms": 4102444800000, "agents": 2, "host": "web-2", "agent": AGENT,
        "id": "BAAAA", "waf": [{"set": "sekisho-a", "scope": "REGIONAL", "region": "eu-west-1"}]}
    d.tell("lookup 7 203.0.113.0/24", "lookup 8 203.0.113.9")
    wait_until(lambda: len(d.of("found")) == 2, 5)
    f = {s["id"]: s for s in d.of("found")}
    t.check("look-ups: what the manager knows", f.get(7, {}).get("found") == "there" and f[7]["agents"] == 2 and
            f[7]["set"] == "REGIONAL eu-west-1 sekisho-a", f)
    t.check("look-ups: what it does not", f.get(8, {}).get("found") == "not-there", f)
    c.fake.failing = {"/v1/events": 500}
    d.tell("set BEEEE 203.0.113.77 600", "lookup 9 203.0.113.77")
    wait_until(lambda: len(d.of("found")) == 3, 5)
    t.check("look-ups: it has not been told yet", d.of("found")[-1]["found"] == "waiting", d.of("found"))
    c.fake.failing = {}
    c.fake.stop()
    wait_until(lambda: d.state()["state"] == "trying", 10)
    d.tell("lookup 10 203.0.113.9")
    wait_until(lambda: len(d.of("found")) == 4, 5)
    t.check("look-ups: no answer while it is away", d.of("found")[-1]["found"] == "no-answer", d.of("found"))
    c.fake.start()
    c.end("look-ups")


def revoked(c, t):
    d = c.drive.start()
    wait_until(lambda: d.state()["state"] == "up", 3)
    c.fake.revoked = True
    t.check("revoked: it is said", wait_until(lambda: d.state()["state"] == "refused", 5) is not None, d.state())
    t.check("revoked: with the reason", "agent_revoked" in d.state()["text"], d.state())
    before = len(c.fake.requests)
    d.tell("events 0 10")
    time.sleep(3)
    t.check("revoked: it is not asked again and again", len(c.fake.requests) - before <= 1,
            len(c.fake.requests) - before)
    c.end("revoked")


def renewal(c, t):
    now = time.time()
    make_agent_folder(c.fake.ca, c.home, c.fake.url, start=now - 200, end=now + 100) # two thirds are over
    old = open(os.path.join(c.home, "key.pem")).read()
    d = c.drive.start()
    wait_until(lambda: c.fake.renewals == 1, 10)
    t.check("renewal: from two thirds on", c.fake.renewals == 1, c.fake.renewals)
    t.check("renewal: a new key", wait_until(
        lambda: open(os.path.join(c.home, "key.pem")).read() != old, 3) is not None)
    mode = os.stat(os.path.join(c.home, "key.pem")).st_mode & 0o777
    t.check("renewal: nobody else may read it", mode == 0o600, oct(mode))
    d.tell("events 0 10")
    t.check("renewal: it goes on with the new one", c.told(0, 10) and wait_until(
        lambda: d.state()["cert_until"] > now * 1000 + 86400000, 7) is not None, d.state())
    c.fake.renew = True
    t.check("renewal: when the manager wants it", wait_until(lambda: c.fake.renewals == 2, 75) is not None)
    wait_until(lambda: not os.path.exists(os.path.join(c.home, "key.pem.new")), 5)
    leftovers = glob.glob(os.path.join(c.home, "*.new")) + glob.glob(os.path.join(c.home, "*.pem.*"))
    t.check("renewal: nothing is left over", not leftovers, leftovers)
    d.tell("events 10 10")
    t.check("renewal: and goes on once more", c.told(0, 20), len(c.numbers()))
    c.end("renewal")


def half_renewed(c, t):
    """The power went between the two files of a renewal."""
    other = os.path.join(c.dir, "other")
    make_agent_folder(c.fake.ca, other, c.fake.url)
    os.rename(os.path.join(other, "cert.pem"), os.path.join(c.home, "cert.pem"))
    os.rename(os.path.join(other, "key.pem"), os.path.join(c.home, "key.pem.new"))
    d = c.drive.start()
    t.check("half a renewal: finished at the next start", wait_until(
        lambda: d.state()["state"] == "up", 5) is not None, d.said)
    t.check("half a renewal: nothing left over", not os.path.exists(os.path.join(c.home, "key.pem.new")))
    c.end("half a renewal")


def refused_folders(c, t):
    os.chmod(os.path.join(c.home, "key.pem"), 0o644)
    d = c.drive.start()
    t.check("folders: a key that others may read is refused", d.p.wait(10) == 1 and "0600" in str(wait_until(
        lambda: d.of("failed"), 2) and d.of("failed")), d.said)
    os.chmod(os.path.join(c.home, "key.pem"), 0o600)
    c.fake.ca.request(os.path.join(c.home, "key.pem"), AGENT)
    os.chmod(os.path.join(c.home, "key.pem"), 0o600)
    d = Drive(c.args.drive, c.home).start()
    t.check("folders: so is a key of another certificate", d.p.wait(10) == 1 and wait_until(
        lambda: d.of("failed"), 2) is not None and "fit" in d.of("failed")[0]["failed"], d.said)
    os.unlink(os.path.join(c.home, "cert.pem"))
    d = Drive(c.args.drive, c.home).start()
    t.check("folders: and one that has not enrolled", d.p.wait(10) == 1 and wait_until(
        lambda: d.of("failed"), 2) is not None and "sekisho enroll" in d.of("failed")[0]["failed"], d.said)


def impostor(c, t):
    """A server with the manager's address and another CA's certificate."""
    c.fake.stop()
    other = FakeManager(os.path.join(c.dir, "impostor"), port=c.fake.port).start()
    d = c.drive.start()
    d.tell("events 0 10")
    time.sleep(3)
    t.check("impostor: is told nothing", not other.requests and not other.items and d.state()["state"] == "trying",
            (other.requests, d.state()))
    other.stop()
    c.fake.start()
    t.check("impostor: the manager itself is told", c.told(0, 10, 30), len(c.numbers()))
    c.end("impostor")


def drained(c, t):
    d = c.drive.start()
    wait_until(lambda: d.state()["state"] == "up", 3)
    d.tell("events 0 3000", "drain 3000")
    wait_until(lambda: d.of("drained"), 5)
    t.check("drain: what waits is told on the way out", d.of("drained")[0]["drained"] == 0 and
            c.numbers() == list(range(3000)), (d.of("drained"), len(c.numbers())))
    d.end()
    c.fake.stop()
    d = Drive(c.args.drive, c.home).start()
    d.tell("events 0 10", "drain 1000")
    wait_until(lambda: d.of("drained"), 5)
    t.check("drain: a manager that is away is not waited for", d.of("drained") and d.of("drained")[0]["drained"] != 0 and
            d.of("drained")[0]["ms"] < 1500, d.of("drained"))
    d.end()
    d = Drive(c.args.drive, c.home).start()
    wait_until(lambda: d.state()["state"] == "trying", 5)
    with socket.create_server(("127.0.0.1", c.fake.port)):  # takes connections, and says nothing
        d.tell("drain 3000")
        wait_until(lambda: d.of("drained"), 5)
        t.check("drain: nor is one that has been away, and is silent now", d.of("drained") and
                d.of("drained")[0]["drained"] != 0 and d.of("drained")[0]["ms"] < 1500, d.of("drained"))
        d.end()


def damaged(c, t):
    d = c.drive.start()
    d.tell("events 0 10")
    c.told(0, 10)
    d.end()
    with open(os.path.join(c.home, "spool.db"), "r+b") as f:
        f.write(b"\xa5" * 8192)
    d = c.drive.start()
    d.tell("events 10 10")
    t.check("damage: the spool is begun anew", c.told(0, 20), len(c.numbers()))
    t.check("damage: and the old one set aside", os.path.exists(os.path.join(c.home, "spool.db.damaged")))
    c.end("damage")


def no_folder(c, t):
    """A disk that cannot be written: blocks of the fleet are taken all the same."""
    os.mkdir(os.path.join(c.home, "spool.db"))
    c.fake.set("203.0.113.5")
    d = c.drive.start()
    t.check("no spool: the fleet's blocks are taken", wait_until(
        lambda: any(s["fleet"] == "done" for s in d.of("fleet")), 5) is not None)
    d.tell("events 0 5")
    t.check("no spool: what cannot be told is counted", wait_until(lambda: d.state()["lost"] == 5, 7) is not None,
            d.state())
    c.end("no spool")


CASES = [outage, idle, plain, trimmed, feed, pressure, bundles, look_ups, sync, gap, statuses, broken, poison, lost_answers,
         killed, revoked, renewal, half_renewed, refused_folders, impostor, drained, damaged, no_folder]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--agent")
    p.add_argument("--manager")
    p.add_argument("--drive", default=os.path.join(ROOT, "build/dev/tests/unit/report/uplink_drive"))
    p.add_argument("--long", action="store_true")
    p.add_argument("--but", action="append", default=[], metavar="NAME")
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    args.drive = os.path.abspath(args.drive)
    t = Tally("uplink_fake")
    if shutil.which("openssl") is None or not os.path.exists(args.drive):
        t.skip("uplink_fake", f"openssl or {args.drive} is not here")
        return t.end()
    def run(case):
        try:
            with Case(args, t) as c:
                case(c, t)
        except Exception:
            t.check(f"{case.__name__} comes to its end", False, traceback.format_exc())

    # Most of their time is waiting, and each has a manager and a folder of its own.
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(run, [c for c in CASES if (not args.names or c.__name__ in args.names) and c.__name__ not in args.but]))
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
