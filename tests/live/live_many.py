#!/usr/bin/env python3
"""100,000 blocks: set, listed, read back, run out and restored, on the running kernel; prints how long each took.

Blocks are asked for over the engine's own channel. What is asserted leaves room for a busy machine; the numbers are printed.
"""
import argparse
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time

from bed import Bed, Tally, wait_until
from live_block import RULE
from live_hostile import Stolen, block_request, v4
from nftables import NEWSETELEM, Netlink, elements, host_ends, messages
from swarm import UNBRAKED

LATE = 1.0  # seconds by which an end may be missed
HELD = 150  # milliseconds that a new block may have to wait, on a machine with other things to do


def address(i, base=11):
    return socket.inet_ntoa(struct.pack("!I", (base << 24) + 3 * i))


def send_all(engine, requests):
    """Every one of them; the channel has no room while the guard works."""
    for m in requests:
        while not engine.send(m):
            pass


def in_force(bed):
    return bed.status()["blocks"]["in_force"]


def say(what, seconds):
    print(f"     {what}: {seconds:.2f} s", flush=True)


class Prober(threading.Thread):
    """Asks for a block of a new address again and again, and sees how long it takes until the kernel has it."""

    def __init__(self, bed, engine, base):
        super().__init__(daemon=True)
        self.link, self.engine, self.base = Netlink(bed.server, listen=True), engine, base
        self.link.sock.settimeout(0.05)
        self.ending, self.waits = threading.Event(), []

    def wait_for(self, key):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                data = self.link.sock.recv(1 << 17)
            except (TimeoutError, OSError):
                continue
            for kind, _, body in messages(data):
                if kind == NEWSETELEM and any(k == key for k, _, _ in elements(body)):
                    return

    def run(self):
        i = 0
        while not self.ending.is_set():
            i += 1
            target = address(i, self.base)
            began = time.monotonic()
            send_all(self.engine, [block_request(v4(target), seconds=3600)])
            self.wait_for(socket.inet_aton(target))
            self.waits.append(time.monotonic() - began)
            time.sleep(0.01)

    def stop(self):
        self.ending.set()
        self.join()
        self.link.close()
        w = sorted(self.waits)
        return w[len(w) // 2] * 1e3, w[len(w) * 99 // 100] * 1e3, w[-1] * 1e3, len(w)


def waited(bed, engine, base, during):
    """Runs `during` while new blocks are asked for: (median, p99, longest) ms until the kernel has such a one."""
    p = Prober(bed, engine, base)
    p.start()
    during()
    median, p99, worst, n = p.stop()
    print(f"     {n} new blocks meanwhile: median {median:.1f} ms, p99 {p99:.1f} ms, longest {worst:.1f} ms", flush=True)
    return median, p99, worst


def add(bed, t, engine, n, seconds, base=11):
    """n blocks, the i-th for seconds(i); returns when."""
    requests = [block_request(v4(address(i, base)), seconds=seconds(i)) for i in range(n)]
    before, began = in_force(bed), time.monotonic()
    send_all(engine, requests)
    sent = time.monotonic() - began
    wait_until(lambda: in_force(bed) >= before + n, 60, 0.02)
    took = time.monotonic() - began
    print(f"     {n} requests sent in {sent:.2f} s", flush=True)
    say(f"{n} blocks in the kernel and the journal", took)
    t.check(f"{n} blocks are set within 5 s", took < 15, took)
    return took


class Books:
    """What the journal says is in force: {address: (id, end in seconds since the epoch)}."""

    def __init__(self, bed):
        self.path = bed.path("state/blocks.db")

    def ask(self, sql, *args):
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=5)) as db:
            return db.execute(sql, args).fetchall()

    def hosts(self):
        rows = self.ask("SELECT addr,id,expires FROM block WHERE ended IS NULL AND len=128")
        return {socket.inet_ntoa(a[12:]): (i, e / 1e9) for a, i, e in rows}


def same_in_kernel(bed, t, hosts):
    """The kernel holds what the journal says, with the same ends."""
    with contextlib.closing(Netlink(bed.server)) as link:
        began = time.monotonic()
        ends = host_ends(link) or {}
        say("the kernel's own dump", time.monotonic() - began)
    wrong = [a for a in hosts if a not in ends]
    off = max((abs(ends[a] / 1e9 - hosts[a][1]) for a in hosts if a in ends), default=0)
    print(f"     ends in the kernel and in the journal differ by {off * 1e3:.0f} ms at the most", flush=True)
    t.check("the kernel has each of them, with the same end", not wrong and off < LATE, (len(wrong), wrong[:3], off))


def set_and_listed(bed, t, engine, n):
    add(bed, t, engine, n, lambda i: 86400)
    same_in_kernel(bed, t, Books(bed).hosts())
    out = []

    def list_them():
        began = time.monotonic()
        out.append(bed.ctl("blocks", "--json", timeout=120))
        say("`blocks --json`", time.monotonic() - began)
    _, _, worst = waited(bed, engine, 20, list_them)
    t.check("a new block does not wait for the listing", worst < HELD, worst)
    blocks = json.loads(out[0].stdout) if out[0].returncode == 0 else []
    t.check("`blocks --json` lists them all", len({b["target"] for b in blocks}) >= n, (len(blocks), out[0].stderr[:200]))
    began = time.monotonic()
    said = bed.ctl("blocks", "--count", timeout=60).stdout
    say("`blocks --count`", time.monotonic() - began)
    t.check("`blocks --count` agrees with status", int(said) == in_force(bed), said)


def read_back(bed, t, engine):
    """Somebody who wants to see counters has them read."""
    before, cpu = bed.status()["blocks"], guard_cpu(bed)

    def look():
        until = time.monotonic() + 10
        while time.monotonic() < until:
            bed.ctl("blocks", "--count", timeout=60)
            time.sleep(0.3)
    _, _, worst = waited(bed, engine, 21, look)
    after = bed.status()["blocks"]
    say("the guard's processor time in 10 s", guard_cpu(bed) - cpu)
    t.check("a new block does not wait for a read-back", worst < HELD, worst)
    t.check("which finds nothing to repair", after["nft_repairs"] == before["nft_repairs"] and
            after["nft_errors"] == before["nft_errors"], (before, after))


def guard_cpu(bed):
    with open(f"/proc/{bed.process.pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0]) / 1e9


def restored(bed, t, what):
    before = Books(bed).hosts()
    os.kill(bed.process.pid, signal.SIGKILL)
    bed.process.wait()
    if what == "an empty kernel":
        bed.sh(bed.server, "nft", "flush", "ruleset")
    began = time.monotonic()
    t.check(f"after kill -9 the agent starts on {what}", bed.start_agent(), bed.agent_log()[-600:])
    took = time.monotonic() - began
    say(f"{len(before)} blocks restored on {what}, all roles ready", took)
    t.check("within 5 s", took < 15, took)
    t.check("with the same blocks and ends", Books(bed).hosts() == before and in_force(bed) >= len(before))
    same_in_kernel(bed, t, before)


def watch_kernel(link, ends, until):
    """How far off the kernel's ends are: each address is looked at around its end."""
    worst = 0.0
    while time.time() < until:
        for target, end in ends.items():
            if abs(end - time.time()) > 1.5:
                continue
            has, now = link.has("block4", socket.inet_aton(target)), time.time()
            if has != (end > now):
                worst = max(worst, abs(end - now))
        time.sleep(0.01)
    return worst


def watch_table(bed, ends, others):
    """How long after its end a block was still in force, at the most; ends: sorted."""
    late, gone = 0.0, 0
    while time.time() < ends[-1] + 10:
        now, left = time.time(), in_force(bed) - others
        while gone < len(ends) and ends[gone] <= now:
            gone += 1
        if left > len(ends) - gone:  # the oldest that is still there should have gone by then
            late = max(late, now - ends[len(ends) - left])
        if left <= 0:
            break
        time.sleep(0.03)
    return late


def run_out(bed, t, engine, n):
    others = in_force(bed)
    add(bed, t, engine, n, lambda i: 12 + i % 6, base=12)
    ends = {a: end for a, (_, end) in Books(bed).hosts().items() if a.startswith("12.")}
    order = sorted(ends.values())
    t.check("their ends are to come, and spread", order[0] > time.time() + 1 and order[-1] - order[0] > 5, order[0] - time.time())
    sample = dict(random.Random(1).sample(sorted(ends.items()), 60))
    kernel = {}
    watcher = threading.Thread(target=lambda: kernel.update(off=watch_kernel(Netlink(bed.server), sample, order[-1] + 1.5)))
    watcher.start()
    late = watch_table(bed, order, others)
    watcher.join()
    print(f"     {n} ends within {order[-1] - order[0]:.1f} s: off by at most {late:.2f} s in the table, "
          f"{kernel['off']:.2f} s in the kernel", flush=True)
    t.check("each runs out on time in the table", late < 2 * LATE and in_force(bed) <= others, (late, in_force(bed), others))
    t.check("and in the kernel", kernel["off"] < LATE, kernel["off"])
    rows = Books(bed).ask("SELECT count(*) FROM block WHERE expires<=? AND (ended IS NULL OR abs(ended-expires)>1000000000)",
                          int(order[-1] * 1e9))
    t.check("and in the journal", rows[0][0] == 0, rows)
    said = bed.status()["events"]
    print(f"     events: {said['written']} written, {said['lost_guard']} of the guard's lost", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--blocks", type=int, default=20000, help="100000 for the whole measure; it takes minutes")
    ap.add_argument("--only", default="")
    args = ap.parse_args()
    t = Tally("live_many")
    steps = {"set": lambda bed, e: set_and_listed(bed, t, e, args.blocks), "readback": lambda bed, e: read_back(bed, t, e),
             "end": lambda bed, e: run_out(bed, t, e, args.blocks)}
    with Bed(args.agent, rules=RULE, extra=UNBRAKED) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            with Stolen(bed.role("engine")["pid"], 4) as engine:
                for name, step in steps.items():
                    if args.only in ("", name):
                        step(bed, engine)
            for what in ("a full kernel", "an empty kernel"):
                if args.only in ("", "restore"):
                    restored(bed, t, what)
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
