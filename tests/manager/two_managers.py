#!/usr/bin/env python3
"""Two managers on one PostgreSQL, behind a balancer: either is killed under load, in turn. No batch is lost or taken twice,
no host waits for long, every host's picture of the fleet is the same, and AWS WAF has one writer at any time."""
import argparse
import itertools
import random
import sys
import threading
import time

from aws_fake import Fake, Key
from balancer import Balancer
from bed import Host, Manager, Postgres, Tally, wait_until

HOSTS, FEEDS = 6, 3
LIMITS = "limits: {address-rate: 100000, agent-rate: 1000, per-address: 5000}\nkeep: {events-most: 1000000}\n"
CALLERS = ("AKIAMANAGERONE000000", "AKIAMANAGERTWO000000")
REGION = "eu-central-1"


class Watched(Fake):
    """Knows by its key which manager calls."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.now_calling = threading.local()
        for k in CALLERS:
            self.keys[k] = Key("secret+" + k)

    def verify_request(self, method, target, headers, body):
        out = super().verify_request(method, target, headers, body)
        self.now_calling.who = next((k for k in CALLERS if k in headers.get("authorization", "")), "?")
        return out

    def note(self, op, region, name, result, n=0, who="client", **more):
        super().note(op, region, name, result, n, who, caller=getattr(self.now_calling, "who", "?"), **more)


class Sender(threading.Thread):
    """A host that sends a batch every so often, and sends it again until it is answered."""

    def __init__(self, host, index, port):
        super().__init__(daemon=True)
        self.host, self.index, self.port = host, index, port
        self.ending = threading.Event()
        self.sent, self.targets, self.longest, self.wrong, self.repeats = 0, [], 0.0, [], 0

    def batch(self, n):
        target = f"198.18.{self.index}.{n % 250 + 1}"
        items = [self.host.block(target, 600, f"s{self.index}n{n}")] if n % 5 == 0 else []
        if items:
            self.targets.append(target)
        return items + [{"type": "event", "time_ms": int(time.time() * 1000),
                         "event": {"event_type": "alert", "src_ip": target, "host": self.index, "number": n,
                                   "alert": {"signature": "load", "signature_id": 1}}}]

    def run(self):
        for n in itertools.count(1):
            if self.ending.is_set():
                return
            body = {"spool": self.host.spool, "seq": n, "items": self.batch(n)}
            began = time.monotonic()
            while True:
                try:
                    status, answer = self.host.post("/v1/events", body, timeout=5, port=self.port)
                except Exception:  # pylint: disable=broad-except
                    status, answer = 0, None
                if status == 200:
                    break
                self.repeats += 1
                if status not in (0, 503):
                    self.wrong.append((n, status, answer))
                    return
                time.sleep(random.uniform(0.02, 0.1))
            self.longest = max(self.longest, time.monotonic() - began)
            self.sent = n
            time.sleep(0.03)


class Feed(threading.Thread):
    """A host's picture of what the fleet blocks."""

    def __init__(self, host, port):
        super().__init__(daemon=True)
        self.host, self.port, self.ending = host, port, threading.Event()
        self.entries, self.epoch, self.seq, self.resets, self.wrong = {}, None, 0, 0, []

    def take(self, answer):
        if answer["reset"]:
            self.resets += 1
            self.entries = {}
        if self.epoch == answer["epoch"] and answer["seq"] < self.seq:
            self.wrong.append(f"from {self.seq} back to {answer['seq']}")
        for e in answer["entries"]:
            if e["op"] == "set":
                self.entries[e["target"]] = e["expires_ms"]
            else:
                self.entries.pop(e["target"], None)
        self.epoch, self.seq = answer["epoch"], answer["seq"]

    def run(self):
        while not self.ending.is_set():
            where = f"epoch={self.epoch}&after={self.seq}&wait=1" if self.epoch else "after=0&wait=0"
            try:
                status, answer = self.host.get("/v1/feed?" + where, timeout=5, port=self.port)
            except Exception:  # pylint: disable=broad-except
                time.sleep(0.05)
                continue
            if status == 200:
                self.take(answer)
            elif status != 503:
                self.wrong.append((status, answer))
                return


def leads(m):
    return m.log().rsplit("has stopped", 1)[-1].rfind("this manager leads") > \
        m.log().rsplit("has stopped", 1)[-1].rfind("another manager leads")


def turns(fake):
    """Who wrote, in runs: [(caller, first, last)]."""
    out = []
    for e in fake.writes():
        if out and out[-1][0] == e["caller"]:
            out[-1][2] = e["t"]
        else:
            out.append([e["caller"], e["t"], e["t"]])
    return out


def kill_in_turn(t, managers, kills, seconds):
    """The leader, then the other one, which leads by then; each comes back."""
    for n in range(kills):
        leader = next((m for m in managers if leads(m)), None)
        if not t.check(f"{n + 1}: one of the two leads", leader is not None and sum(map(leads, managers)) == 1):
            return
        other = next(m for m in managers if m is not leader)
        victim = other if n % 3 == 2 else leader  # now and then the one that only serves
        victim.kill()
        took = wait_until(lambda o=other: leads(o), 15) if victim is leader else 0
        t.check(f"{n + 1}: the other one leads when the leader is killed" if victim is leader else
                f"{n + 1}: the leader stays when the other one is killed",
                took is not None and (victim is leader or leads(leader)), other.log()[-300:])
        time.sleep(seconds)
        with open(victim.path("run.log"), "ab") as f:
            f.write(b"has stopped\n")
        victim.start()
        time.sleep(seconds)


def evaluate(t, fake, managers, senders, feeds):
    for s in senders:
        s.ending.set()
    for s in senders:
        s.join(20)
    time.sleep(3)
    for f in feeds:
        f.ending.set()
    for f in feeds:
        f.join(20)
    m = managers[0]
    wrong = [s.wrong for s in senders if s.wrong] + [f.wrong for f in feeds if f.wrong]
    t.check("no answer that a host does not expect", not wrong, wrong[:3])
    sent = sum(s.sent for s in senders)
    rows = m.json("events", "--type", "alert", "--limit", "1000000")
    numbers = {}
    for r in sorted(rows, key=lambda r: r["id"]):
        e = r["event"].get("event", r["event"])
        numbers.setdefault(e["host"], []).append(e["number"])
    t.check(f"{sent} batches: nothing is lost, nothing doubled, order kept",
            all(numbers.get(s.index) == list(range(1, s.sent + 1)) for s in senders),
            {s.index: (s.sent, len(numbers.get(s.index, []))) for s in senders})
    longest = max(s.longest for s in senders)
    t.check(f"no host waited longer than 3 s for an answer: {longest:.2f} s, {sum(s.repeats for s in senders)} tries again",
            longest <= 3)
    want = {target for s in senders for target in s.targets}
    entries = {r["target"]: r["expires_ms"] for r in m.json("entries")}
    t.check(f"{len(want)} targets are blocked", set(entries) == want, (len(entries), len(want)))
    t.check("each host's picture is the same", all(f.entries == entries for f in feeds),
            [(len(f.entries), f.resets) for f in feeds])
    t.check("and came without beginning again", all(f.resets <= 1 for f in feeds), [f.resets for f in feeds])
    took = wait_until(lambda: {a.split("/")[0] for a in fake.contents("sekisho-v4-0")} == want, 20)
    t.check("AWS WAF holds the same", took is not None, len(fake.contents("sekisho-v4-0")))
    t.check(f"never two writes within a second: {fake.closest_writes():.3f} s", fake.closest_writes() > 0.95)
    log = turns(fake)
    t.check(f"one writer at any time: {len(log)} turns for {len(fake.writes())} writes",
            len({c for c, _, _ in log}) == 2 and all(a[2] < b[1] for a, b in zip(log, log[1:])), log)
    return len(log)


def told_often(t, program, pg):
    """One that leads and writes no AWS WAF has nothing to do about what others change: it waits on."""
    with Manager(program, store=pg.where) as m:
        m.init().start()
        t.check("a manager without AWS WAF leads when it is alone", wait_until(lambda: leads(m), 15) is not None)
        began, before = time.monotonic(), m.cpu_s()
        for _ in range(12):
            pg.rows("NOTIFY sekisho_changed")
            time.sleep(0.25)
        passed, used = time.monotonic() - began, m.cpu_s() - before
        t.check(f"news of others cost it {used:.2f} s of a processor in {passed:.1f} s", used < passed / 20)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--agent")
    ap.add_argument("--kills", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=1.5, help="between a kill and what comes next")
    args = ap.parse_args()
    t = Tally("two_managers")
    pg = Postgres()
    if pg.bin is None:
        t.skip("two managers", "PostgreSQL is not installed")
        pg.remove()
        return t.end()
    targets = f'[{{region: {REGION}, prefix: sekisho, sets-v6: 0, create: yes}}]'
    with pg, Watched() as fake:
        settings = LIMITS + f"aws: {{endpoint: '{fake.url}'}}\nwaf: {{enabled: yes, targets: {targets}}}\n"

        def env(k):
            return {"AWS_ACCESS_KEY_ID": CALLERS[k], "AWS_SECRET_ACCESS_KEY": "secret+" + CALLERS[k]}
        with Manager(args.manager, store=pg.where, settings=settings, env=env(0)) as one:
            one.init()
            with Manager(args.manager, store=pg.where, settings=settings, env=env(1), state_from=one.state) as two:
                managers = [one.start(), two.start()]
                token = one.token("--uses", "unlimited")
                with Balancer([("127.0.0.1", m.port) for m in managers]) as balancer:
                    senders = [Sender(Host(managers[i % 2], token, f"host-{i}"), i, balancer.port) for i in range(HOSTS)]
                    feeds = [Feed(Host(managers[i % 2], token, f"feed-{i}"), balancer.port) for i in range(FEEDS)]
                    for x in senders + feeds:
                        x.start()
                    time.sleep(args.seconds)
                    kill_in_turn(t, managers, args.kills, args.seconds)
                    evaluate(t, fake, managers, senders, feeds)
                    t.check("both have served", all(balancer.connections.values()), balancer.connections)
                rows = one.json("status")["managers"]
                t.check("status shows both, of which one leads", len(rows) == 2 and
                        sum(r["leads"] for r in rows.values()) == 1, rows)
                t.check("no sanitizer has spoken", not any("Sanitizer" in m.log() or "runtime error" in m.log()
                                                           for m in managers))
        told_often(t, args.manager, pg)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
