#!/usr/bin/env python3
"""The whole manager against the strict AWS fake. Usage: waf_converge.py --manager PATH [--long] [--parts chaos,many,full,moved]

chaos  a rival changes the set every second, a fifth of all calls fails, the manager is killed (SIGKILL) again and again,
       while a host goes on blocking and an operator blocks and unblocks: no address is lost, none outlives its end by
       more than five seconds, foreign ones are untouched, the set ends right, never two writes within a second.
many   12,000 attackers in two sets.
full   60,000 attackers in two sets: the 20,000 of highest rank are in them, evictions are logged, the hosts still have all.
moved  another prefix is configured: the plan names the old set, and nobody writes into it.

Without --long there are 6 kills instead of 50, shorter blocks, and `full` is 6,000 in two sets of 1,000."""
import argparse
import ipaddress
import json
import os
import random
import re
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import aws_fake  # noqa: E402
from bed import Host, Manager, Tally, percentile, wait_until  # noqa: E402

REGION = "eu-central-1"
SETS = ["sekisho-v4-0", "sekisho-v4-1"]
LATE = 5.0     # seconds that an address may outlive its end
LIFTED = 10.0  # and its lift, which nothing can foresee, while every fifth call fails (docs/aws-waf.md)
EARLY = 10.0   # that it may go too soon: the writer makes way before its end when calls fail
APPEARS = 15.0 # from the answer to a block until it is in the set, with everything going wrong


def settings(f, sets, more=""):
    target = {"region": REGION, "prefix": "sekisho", "sets-v4": sets, "sets-v6": 0, "create": True}
    return ("aws:\n  endpoint: %s\n  timeout: 3s\nwaf:\n  enabled: yes\n  targets: %s\n  read-back: 5s\n%s"
            "limits:\n  agent-rate: 1000\n  address-rate: 1000\n" % (f.url, json.dumps([target]), more))


def manager(args, f, sets, more=""):
    env = dict(f.environment(), AWS_EC2_METADATA_DISABLED="true")
    return Manager(args.manager, settings=settings(f, sets, more), env=env).init()


class Attackers:
    """A host that blocks: each address once. What the manager has taken is in `taken`: {address: (acked, end)}."""

    def __init__(self, host, seed=0):
        self.host, self.taken, self.serial, self.lock = host, {}, seed, threading.Lock()

    def address(self):
        self.serial += 1  # spread: no two in one /24
        return str(ipaddress.ip_address(int(ipaddress.ip_address("11.0.0.0")) + self.serial * 263 % (1 << 24)))

    def send(self, items):
        """Until it is answered, as an agent does: the same batch with the same number."""
        self.host.seq += 1
        body = {"spool": self.host.spool, "seq": self.host.seq, "items": items}
        while True:
            try:
                status, answer = self.host.post("/v1/events", body, timeout=10)
            except Exception:  # pylint: disable=broad-except  # the manager is dead, or dies now
                self.host.close()
                time.sleep(.05)
                continue
            if status == 200:
                break
            if status not in (429, 503):
                raise RuntimeError("%s %s" % (status, answer))
            time.sleep(.1)
        now = time.time()
        with self.lock:
            for i in items:
                self.taken[i["target"]] = (now, i["expires_ms"] / 1000)

    def block(self, n, seconds, score=0):
        items = []
        for _ in range(n):
            items.append(dict(self.host.block(self.address(), seconds()), score=score))
        self.send(items)


def net(a):
    return a + "/32"


# ---- chaos ----

class Operator:
    """Blocks and unblocks by the command line, also while the manager is dead."""

    def __init__(self, m, seconds):
        self.m, self.seconds, self.n, self.taken, self.errors = m, seconds, 0, {}, []
        self.lifted = set()

    def step(self):
        if self.taken and self.n % 3 == 0:
            a = random.choice([a for a, (_, end) in self.taken.items()])
            if self.taken[a][1] > time.time() + 3:
                if self.m.run("unblock", a).returncode == 0:
                    self.taken[a] = (self.taken[a][0], time.time())
                    self.lifted.add(a)
        a = "12.0.%d.1" % self.n
        self.n += 1
        done = self.m.run("block", a, "--for", "%ds" % self.seconds)
        if done.returncode:
            self.errors.append(done.stderr)
        else:
            self.taken[a] = (time.time(), time.time() + self.seconds)


def repeat(stop, gap, what, errors):
    def loop():
        while not stop.wait(gap):
            try:
                what()
            except Exception as e:  # pylint: disable=broad-except
                errors.append(repr(e))
                return
    t = threading.Thread(target=loop, daemon=True)
    t.start()
    return t


def judge(taken, history, now, bound):
    """What was wrong with each address, and how long things took."""
    lost, late, early, gaps, waits, overs, soonest = [], [], [], [], [], [], 0.0
    for a, (acked, end) in taken.items():
        parts = history.get(net(a), [])
        if not parts:
            if end - acked > APPEARS:
                lost.append(a)
            continue
        waits.append(parts[0][0] - acked)
        last = parts[-1][1]
        for x, y in zip(parts, parts[1:]):
            if x[1] < end - EARLY and y[0] > x[1]:
                gaps.append((a, x[1] - end, y[0] - x[1]))
        if last is None:
            if now > end + bound:
                late.append((a, now - end))
        elif last > end:
            overs.append(last - end)
            if last > end + bound:
                late.append((a, last - end))
        elif last < end - EARLY:
            early.append((a, end - last))
        if last is not None:
            soonest = max(soonest, end - last)
    return {"lost": lost, "late": late, "early": early, "gaps": gaps, "waits": waits, "overs": overs,
            "soonest": soonest}


def chaos(t, args):
    f = aws_fake.Fake(fail_rate=0.0, hang_s=1.0, read_rate=5, region=REGION)
    with f, manager(args, f, 1) as m:
        f.add_set(SETS[0], region=REGION, addresses=["192.0.2.0/24", "198.51.100.7/32"])
        m.start()
        host = Attackers(Host(m, m.token()))
        op = Operator(m, 40 if args.long else 12)
        stop, errors = threading.Event(), []
        f.rival(SETS[0], 1.0)
        f.fail_rate = .2
        began = time.monotonic()
        lasting = (lambda: random.uniform(18, 35)) if args.long else (lambda: random.uniform(8, 14))
        threads = [repeat(stop, .4, lambda: host.block(random.randint(1, 6), lasting), errors),
                   repeat(stop, 2, op.step, errors)]
        for _ in range(args.kills):
            time.sleep(random.uniform(1.5, args.gap))
            m.kill()
            m.restart()
        stop.set()
        for x in threads:
            x.join(30)
        host.block(50, lambda: 600)  # these stay
        last = max(end for _, end in list(host.taken.values()) + list(op.taken.values()) if end < time.time() + 100)
        time.sleep(max(0, last + 1 - time.time()))
        f.fail_rate = 0
        rival = f.rival(SETS[0], 0)
        took = time.monotonic() - began
        want = {net(a) for a, (_, end) in list(host.taken.items()) + list(op.taken.items()) if end > time.time() + 100}
        t.check("nothing else went wrong in the test", not errors and not op.errors, (errors, op.errors[:2]))
        t.check("%d kills in %.0f s; %d addresses by the host, %d by the operator, %d changes by the rival" % (
            args.kills, took, len(host.taken), len(op.taken), rival.changes), rival.changes > took * .8)
        foreign = {str(a) for a in rival.mine} | {"192.0.2.0/24", "198.51.100.7/32"}
        done = wait_until(lambda: f.contents(SETS[0]) == want | foreign, 60, .2)
        got = f.contents(SETS[0])
        if not t.check("the set ends right: ours in force and the foreign ones, nothing else", done is not None,
                       ("missing", sorted((want | foreign) - got)[:5], "too many", sorted(got - want - foreign)[:5])):
            print(m.run("waf", "status").stdout, m.run("waf", "plan").stdout[-1000:], m.log()[-2000:])
        chaos_verdict(t, f, host, op)
        t.check("the manager says so too", wait_until(lambda: m.json("waf", "status")["converged"], 20) is not None)


def chaos_verdict(t, f, host, op):
    history = f.history(SETS[0])
    ended = {a: x for a, x in op.taken.items() if a not in op.lifted}
    lifted = {a: op.taken[a] for a in op.lifted}
    t.check("the operator has lifted blocks and let others end", ended and lifted, (len(ended), len(lifted)))
    for who, taken, bound in (("host", host.taken, LATE), ("operator", ended, LATE), ("operator's lifts", lifted, LIFTED)):
        v = judge(taken, history, time.time(), bound)
        t.check(f"{who}: no address is lost", not v["lost"] and not v["gaps"], (v["lost"][:5], v["gaps"][:5]))
        t.check("%s: none outlives its end by more than %.0f s (worst %.1f s)" % (who, bound, max(v["overs"], default=0)),
                not v["late"], v["late"][:5])
        t.check("%s: none goes more than %.0f s before its end (worst %.1f s)" % (who, EARLY, v["soonest"]), not v["early"],
                v["early"][:5])
        t.check("%s: in the set %.1f s after the answer (median; p99 %.1f s, worst %.1f s)" % (
            who, percentile(v["waits"], 50), percentile(v["waits"], 99), max(v["waits"], default=0)),
            max(v["waits"], default=0) < APPEARS)
    writes = f.writes()
    t.check("foreign addresses are untouched by all %d writes" % len(writes), not any(
        e.get("foreign_removed") or e.get("foreign_added") for e in writes),
        [e for e in writes if e.get("foreign_removed") or e.get("foreign_added")][:3])
    check_gap(t, f)
    results = {}
    for e in writes:
        results[e["result"]] = results.get(e["result"], 0) + 1
    print("     writes: %s" % results)


def check_gap(t, f):
    t.check("never above one write a second (closest %.3f s)" % f.closest_writes(), f.closest_writes() >= .95)


# ---- many ----

def fill(a, n, score, lasting=lambda: 3600):
    for i in range(0, n, 500):
        a.block(min(500, n - i), lasting, score)


def ours(f):
    return [f.contents(s, "client") for s in SETS]


def many(t, args):
    with aws_fake.Fake(region=REGION) as f, manager(args, f, 2) as m:
        m.start()
        a = Attackers(Host(m, m.token()))
        began = time.monotonic()
        fill(a, 12000, 0)
        sent = time.monotonic() - began
        want = {net(x) for x in a.taken}
        done = wait_until(lambda: set.union(*ours(f)) == want, 30, .1)
        t.check("12,000 attackers: all in two sets, %.1f s after the last (%.1f s to report them)" % (done or -1, sent),
                done is not None, [len(s) for s in ours(f)])
        one, two = ours(f)
        t.check("each in one of them (%d, %d)" % (len(one), len(two)), not one & two and max(len(one), len(two)) <= 10000)
        before = [dict(f.by_name(s).addresses) for s in SETS]
        m.restart()
        a.block(1, lambda: 3600)
        wait_until(lambda: net(list(a.taken)[-1]) in set.union(*ours(f)), 15, .1)
        moved = [set(b) - set(f.by_name(s).addresses) for b, s in zip(before, SETS)]
        t.check("a restart moves none, takes none away", not any(moved), [len(x) for x in moved])
        check_gap(t, f)


# ---- full ----

def evicted_by_log(log):
    return {net(x) for x in re.findall(r"waf-evicted: (\S+)", log)}


def read_feed(host):
    feed, seq, more, epoch = {}, 0, True, ""
    while more:
        status, page = host.get(f"/v1/feed?after={seq}&wait=0" + (f"&epoch={epoch}" if epoch else ""))
        if status != 200:
            return {}
        feed.update((e["target"], e) for e in page["entries"] if e["op"] == "set")
        seq, more, epoch = page["seq"], page["more"], page["epoch"]
    return feed


def full(t, args):
    third, room = (20000, 10000) if args.long else (2000, 1000)
    with aws_fake.Fake(region=REGION) as f, manager(args, f, 2, f"  aggregate-v4: 0\n  capacity: {room}\n") as m:
        m.start()
        a = Attackers(Host(m, m.token()))
        begun = time.monotonic()
        fill(a, third, 5)
        fill(a, third, 90)
        best = {net(x) for x in list(a.taken)[third:2 * third]}
        fill(a, third, 1)
        sent = time.monotonic() - begun
        done = wait_until(lambda: set.union(*ours(f)) == best, 60, .2)
        got = set.union(*ours(f))
        t.check("%d attackers: the %d of highest score are in, %.1f s after the last (%.1f s to report them)" % (
            3 * third, third, done or -1, sent), done is not None, (len(got), len(got & best)))
        t.check(f"no set above its {room}", all(len(f.contents(s)) <= room for s in SETS))
        t.check(f"the manager says that {2 * third} are left out", wait_until(
            lambda: sum(s["evicted"] for s in m.json("waf", "status")["sets"]) == 2 * third, 15, .5) is not None,
            m.json("waf", "status")["sets"])
        out = {net(x) for x in a.taken} - got
        t.check("each of them is named in the log", out <= evicted_by_log(m.log()), len(out - evicted_by_log(m.log())))
        feed = read_feed(a.host)
        t.check(f"all {3 * third} are still blocked by the hosts", len(feed) == 3 * third, len(feed))
        check_gap(t, f)


# ---- moved ----

def moved(t, args):
    with aws_fake.Fake(region=REGION) as f, manager(args, f, 1) as m:
        m.must("block", "203.0.113.5", "--for", "1h")
        m.must("block", "203.0.113.9", "--for", "1h")
        m.must("waf", "apply")
        f.put(SETS[0], ["192.0.2.1/32"])
        t.check("nothing is left over of the sets that are named", "left over" not in m.must("waf", "plan"))
        with open(m.conf, encoding="utf-8") as conf:
            text = conf.read()
        with open(m.conf, "w", encoding="utf-8") as conf:
            conf.write(text.replace('"prefix": "sekisho"', '"prefix": "sekisho-v4"'))
        before = len(f.writes())
        out = m.must("waf", "plan")
        t.check("with another prefix the plan names the old set, what of ours is in it, and the remedy",
                f"{SETS[0]} REGIONAL {REGION}  2 of ours\n" in out and "waf.targets again" in out, out)
        m.must("waf", "apply")
        f.put("sekisho-v4-v4-0", ["192.0.2.1/32"])
        t.check("nobody writes into it", f.contents(SETS[0]) == {"203.0.113.5/32", "203.0.113.9/32", "192.0.2.1/32"} and
                not any(e["set"] == SETS[0] for e in f.writes()[before:]), f.writes()[before:])
        with f.lock:
            s = f.by_name(SETS[0])
            s.replace({a for a in s.addresses if str(a) == "192.0.2.1/32"}, "other")
        t.check("emptied of what is ours it is none", "left over" not in m.must("waf", "plan"))
        with f.lock:
            f.all_sets.remove(s)
        t.check("nor when it is deleted", "left over" not in m.must("waf", "plan"))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--long", action="store_true")
    ap.add_argument("--kills", type=int)
    ap.add_argument("--gap", type=float, default=4.5, help="seconds between two kills, at the most")
    ap.add_argument("--parts", default="chaos,many,full,moved")
    ap.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = ap.parse_args()
    args.kills = args.kills or (50 if args.long else 6)
    random.seed(args.seed)
    print(f"seed {args.seed}")
    t = Tally("waf_converge")
    for part in args.parts.split(","):
        {"chaos": chaos, "many": many, "full": full, "moved": moved}[part](t, args)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
