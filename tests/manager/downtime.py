#!/usr/bin/env python3
"""The manager is away for --seconds under 50 attacks a second: the host blocks as ever, and when the manager is back it learns
everything, once, in order, within 30 s, from a spool that stays within its bound."""
import argparse
import os
import sys
import time

from bed import Tally, wait_until
from fleet import Fleet, can_run, swarm

RATE, CATCH_UP, SPOOL = 50, 30, 64 << 20


def size_of(folder):
    return sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder) if n.startswith("spool"))


def alerts_of_host(host):
    return [(e["src_ip"], e["src_port"]) for e in host.eve("alert")]


def alerts_of_manager(f):
    rows = sorted(f.manager.json("events", "--type", "alert", "--limit", "1000000"), key=lambda r: r["id"])
    events = [r["event"].get("event", r["event"]) for r in rows]
    return [(e["src_ip"], e["src_port"]) for e in events]


def counted(f):
    s = f.manager.json("status")
    return s["events"], s["entries"]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--seconds", type=int, default=10)
    args = ap.parse_args()
    t = Tally("downtime")
    if not can_run(t, "downtime", moto=False):
        return t.end()
    with Fleet(args.agent, args.manager, moto=False) as f:
        count = RATE * (args.seconds + 4)
        pause = 1 / RATE - 0.002
        attackers = swarm(f, count, shortest=pause, longest=pause)
        time.sleep(2)
        before = counted(f)
        t.check("the manager learns of attacks", wait_until(lambda: counted(f)[1] > 20, 5) is not None, before)
        f.manager.stop()
        time.sleep(args.seconds)
        away = len(f.a.elements() or ())
        t.check(f"{args.seconds} s without a manager: {away} attackers are blocked", away >= RATE * args.seconds * 0.6, away)
        biggest = size_of(f.a.path("uplink"))
        f.manager.start()
        began = time.monotonic()
        made = int(attackers.communicate(timeout=120 + args.seconds)[0])
        host = wait_until(lambda: len(alerts_of_host(f.a)) >= made, 20) is not None and alerts_of_host(f.a)
        t.check(f"{made} attacks, each alerted by the host", host and len(host) == made, host and len(host))
        took = wait_until(lambda: counted(f)[1] >= made, CATCH_UP + 30, 0.2)
        took = took is not None and time.monotonic() - began
        t.check(f"the manager has caught up {took:.1f} s after it came back", took and took <= CATCH_UP, counted(f))
        wait_until(lambda: len(alerts_of_manager(f)) >= made, 10, 0.5)
        told = alerts_of_manager(f)
        t.check("nothing is lost", set(told) == set(host or ()), (len(told), made))
        t.check("nothing is doubled", len(told) == len(set(told)), len(told) - len(set(told)))
        t.check("the order is kept", told == host)
        blocks = f.manager.json("blocks", "--limit", "1000000", "--history")
        t.check("each block is told once", len(blocks) == made == len({b["target"] for b in blocks}), len(blocks))
        t.check("host B blocks them all", wait_until(lambda: len(f.b.elements() or ()) >= made, 20, 0.5) is not None,
                len(f.b.elements() or ()))
        t.check(f"the spool took {biggest >> 10} KiB at most, {SPOOL >> 20} MiB are allowed", biggest <= SPOOL)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
