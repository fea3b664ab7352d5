#!/usr/bin/env python3
"""100,000 blocks: set, listed, read back, run out and restored, on the running kernel; prints how long each took.

Blocks are asked for over the engine's own channel. What is asserted leaves room for a busy machine; the numbers are printed.
"""
import argparse
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
from nftables import NEWSETELEM, Netlink, elements, host_ends, messages, text_of

UNBRAKED = "decide:\n  max-blocks: 400000\n  brake:\n    share: 100\n    minimum: 1000000\n    rate: 1000000\n"
LATE = 1.0  # seconds by which an end may be missed


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
    t.check(f"{n} blocks are set within 5 s", took < 10, took)
    return took


def listed(bed, t, n):
    began = time.monotonic()
    done = bed.ctl("blocks", "--json", timeout=60)
    took = time.monotonic() - began
    say("`blocks --json`", took)
    blocks = json.loads(done.stdout) if done.returncode == 0 else []
    t.check("`blocks --json` lists them all", len(blocks) >= n, (len(blocks), done.stderr[:200]))
    return blocks


def same_in_kernel(bed, t, blocks):
    """The kernel holds what `blocks` lists, with the same ends."""
    link = Netlink(bed.server)
    began = time.monotonic()
    ends = host_ends(link) or {}
    say("the kernel's own dump", time.monotonic() - began)
    link.close()
    wrong = [b["target"] for b in blocks if b["target"] not in ends]
    t.check("the kernel has each of them", not wrong, (len(wrong), wrong[:3]))
    off = max((abs(ends[b["target"]] / 1e9 - end_of(b)) for b in blocks if b["target"] in ends), default=0)
    print(f"     ends in the kernel and in the list differ by {off * 1e3:.0f} ms at the most", flush=True)
    t.check("with the same end", off < LATE, off)


def end_of(block):
    """`expires` as seconds since the epoch."""
    text, zone = block["expires"][:26], block["expires"][26:]
    assert zone == "+0000"
    whole, part = text.split(".")
    import calendar
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + part)


def set_and_shown(bed, t, engine, n):
    add(bed, t, engine, n, lambda i: 86400)
    waits = {}

    def list_it():
        waits["blocks"] = listed(bed, t, n)
    _, _, worst = waited(bed, engine, 20, list_it)
    t.check("a new block does not wait for the listing", worst < 150, worst)
    same_in_kernel(bed, t, waits["blocks"])


def read_back(bed, t, engine):
    """For the time of a whole read-back and more."""
    before = bed.status()["blocks"]
    cpu = guard_cpu(bed)
    _, _, worst = waited(bed, engine, 21, lambda: time.sleep(40))
    after = bed.status()["blocks"]
    print(f"     the guard used {guard_cpu(bed) - cpu:.2f} s of processor time in 40 s", flush=True)
    t.check("a new block does not wait for a read-back", worst < 150, worst)
    t.check("which finds nothing to repair", after["nft_repairs"] == before["nft_repairs"] and
            after["nft_errors"] == before["nft_errors"], (before, after))


def guard_cpu(bed):
    with open(f"/proc/{bed.process.pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0]) / 1e9


def restored(bed, t, n, what):
    before = {b["id"]: b["expires"] for b in listed(bed, t, n)}
    os.kill(bed.process.pid, signal.SIGKILL)
    bed.process.wait()
    if what == "an empty kernel":
        bed.sh(bed.server, "nft", "flush", "ruleset")
    began = time.monotonic()
    t.check(f"after kill -9 the agent starts on {what}", bed.start_agent(), bed.agent_log()[-600:])
    took = time.monotonic() - began
    say(f"restored on {what}, all roles ready", took)
    t.check("within 5 s", took < 12, took)
    blocks = listed(bed, t, n)
    t.check("with the same blocks and ends", {b["id"]: b["expires"] for b in blocks} == before, len(blocks))
    wait_until(lambda: False, 1)
    same_in_kernel(bed, t, blocks)


def sample_kernel(link, ends, until):
    """How far the kernel's ends are off: each sampled address is looked at around its end."""
    worst = 0.0
    order = sorted(ends.items(), key=lambda x: x[1])
    while time.time() < until:
        for target, end in order:
            now = time.time()
            if not -1.5 < end - now < 1.5:
                continue
            has = link.has("block4", socket.inet_aton(target))
            if has != (end > now):
                worst = max(worst, abs(end - now))
        time.sleep(0.01)
    return worst


def run_out(bed, t, engine, n):
    before = in_force(bed)
    span = 6
    add(bed, t, engine, n, lambda i: 15 + i % span, base=12)
    blocks = [b for b in listed(bed, t, n) if b["target"].startswith("12.") and b["seconds_left"] < 3000]
    ends = sorted(end_of(b) for b in blocks)
    t.check("their ends are spread", ends[-1] - ends[0] > span - 1, (ends[0], ends[-1]))
    sample = {b["target"]: end_of(b) for b in random.Random(1).sample(blocks, 60)}
    kernel = {}
    watcher = threading.Thread(target=lambda: kernel.update(
        worst=sample_kernel(Netlink(bed.server), sample, ends[-1] + 1.5)))
    watcher.start()
    late, i = 0.0, 0
    while time.time() < ends[-1] + 10:
        left = in_force(bed) - before
        now = time.time()
        while i < len(ends) and ends[i] <= now:
            i += 1
        if left > len(ends) - i:  # the oldest that is still there should have gone by then
            late = max(late, now - ends[len(ends) - left])
        if left <= 0:
            break
        time.sleep(0.03)
    watcher.join()
    print(f"     ends spread over {ends[-1] - ends[0]:.1f} s; late by at most {late:.2f} s in the table, "
          f"{kernel['worst']:.2f} s in the kernel", flush=True)
    t.check("each runs out on time in the table", late < 2 * LATE and in_force(bed) - before <= 0, (late, in_force(bed), before))
    t.check("and in the kernel", kernel["worst"] < LATE, kernel["worst"])
    db = sqlite3.connect(f"file:{bed.path('state/blocks.db')}?mode=ro", uri=True, timeout=5)
    rows = db.execute("SELECT count(*) FROM block WHERE ended IS NOT NULL AND why=0 AND abs(ended-expires)<=1000000000").fetchone()[0]
    open_rows = db.execute("SELECT count(*) FROM block WHERE ended IS NULL AND expires<?", (int(ends[-1] * 1e9),)).fetchone()[0]
    db.close()
    t.check("and in the journal", rows >= n and open_rows == 0, (rows, open_rows))
    said = bed.status()["events"]
    print(f"     events: {said['written']} written, {said['lost_guard']} of the guard's lost", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--blocks", type=int, default=20000, help="100000 for the whole measure; it takes minutes")
    ap.add_argument("--only", default="")
    args = ap.parse_args()
    t = Tally("live_many")
    steps = {"set": lambda bed, e: set_and_shown(bed, t, e, args.blocks), "readback": lambda bed, e: read_back(bed, t, e),
             "end": lambda bed, e: run_out(bed, t, e, args.blocks)}
    with Bed(args.agent, rules=RULE, extra=UNBRAKED) as bed:
        if t.check("the agent starts", bed.start_agent(), bed.agent_log()[-600:]):
            with Stolen(bed.role("engine")["pid"], 4) as engine:
                for name, step in steps.items():
                    if args.only in ("", name):
                        step(bed, engine)
            for what in ("a full kernel", "an empty kernel"):
                if args.only in ("", "restore"):
                    restored(bed, t, args.blocks, what)
    t.check("nothing is left behind", bed.left_behind() == [], bed.left_behind())
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
