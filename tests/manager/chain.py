#!/usr/bin/env python3
"""The whole chain: an attack on host A is blocked there, on host B, and in the IP set of AWS WAF; it ends everywhere at the
same second. How long each step takes, over --attacks attacks, each from an address of its own. Host A has a processor to
itself, where there are several: attackers, host B, the manager and AWS are other machines everywhere but here."""
import argparse
import os
import sys
import time

from bed import Tally, percentile, wait_until
from fleet import Fleet, SetWatch, can_run, listener, nftables, pairs_of, sniffer, swarm

TARGETS = {"A": 2.0, "B": 1000.0, "IP set": 3000.0}  # ms, p99
ENOUGH = 100  # attacks, of which the slowest is no longer the 99th percentile; with fewer, A's median counts
HAND, SHORT = "10.78.250.1", ["10.78.251.1", "10.78.251.2", "10.78.251.3"]
SECOND = 10**9


def measure(t, f, count):
    on_a, on_b, sent = listener(f.a, count), listener(f.b, count), sniffer(f.a)
    watch = SetWatch(f)
    watch.start()
    swarm(f, count, shortest=0.1, longest=0.4).communicate(timeout=60 + count)
    in_time = wait_until(lambda: len(watch.came) >= count, 15) is not None
    watch.stop()
    began = pairs_of(sent)
    times = {"A": pairs_of(on_a), "B": pairs_of(on_b), "IP set": watch.came}
    t.check(f"{count} attacks: all blocked on A, on B and in the IP set", in_time and
            len(began) == count and all(set(began) <= set(x) for x in times.values()),
            {k: len(v) for k, v in times.items()})
    for where, seen in times.items():
        ms = [(seen[a] - began[a]) / 1e6 for a in began if a in seen]
        p99 = percentile(ms, 99)
        t.check(f"from the attack's last packet to {where}: median {percentile(ms, 50):.1f} ms, p99 {p99:.1f} ms, "
                f"max {max(ms, default=float('nan')):.1f} ms", (p99 if count >= ENOUGH or where != "A" else percentile(ms, 50)) <=
                TARGETS[where])
    return list(began)


def refused_on_b(t, f, attacker):
    t.check("host B, which it has never seen, answers the attacker no more", f.attack(attacker, "/index.html", "10.77.5.1") is
            None)
    t.check("and answers others", f.attack(HAND, "/index.html", "10.77.5.1") == 200)
    done = f.b.ctl("explain", attacker)
    t.check("explain on B names the origin", done.returncode == 0 and "fleet" in done.stdout, done.stdout + done.stderr)
    rows = {r["target"]: r for r in f.manager.json("entries")}
    t.check("the manager knows host and reason", rows.get(attacker, {}).get("agents") == 1 and
            "UNION SELECT" in rows[attacker]["reason"], rows.get(attacker))


def expiry(t, f):
    """Blocks of eight seconds: when they end in both kernels, and when they are out of the IP set."""
    watch = SetWatch(f, 0.05)
    watch.start()
    for a in SHORT:
        f.attack(a, "/short-block")
    everywhere = wait_until(lambda: all(a in (f.a.elements() or {}) and a in (f.b.elements() or {}) and a in watch.came
                                        for a in SHORT), 6)
    t.check("short blocks are in all three", everywhere is not None, (f.a.elements(), f.b.elements(), watch.came))
    until = {r["target"]: r["expires_ms"] / 1e3 for r in f.manager.json("blocks") if r["target"] in SHORT}
    ends = {}
    for name, host in (("A", f.a), ("B", f.b)):
        link = nftables.Netlink(host.server)
        ends[name] = {nftables.text_of(k): time.time() + left / 1e3 for k, left in elements_of(link)}
    off = [abs(ends[h].get(a, 0) - until.get(a, 1e12)) for h in ends for a in SHORT]
    t.check(f"both kernels end them at the manager's time: {max(off) * 1e3:.0f} ms off at most", max(off) < 0.5, (ends, until))
    wait_until(lambda: all(a in watch.went for a in SHORT), 20)
    watch.stop()
    late = [watch.went.get(a, 0) / SECOND - until.get(a, 0) for a in SHORT]
    t.check("out of the IP set within a second and a half of it: "
            + ", ".join(f"{x:+.2f} s" for x in late), all(-1.5 < x < 1.5 for x in late), (watch.went, until))
    t.check("and out of A and B", not set(SHORT) & (set(f.a.elements() or ()) | set(f.b.elements() or ())))


def elements_of(link):
    import struct  # pylint: disable=import-outside-toplevel
    for name in ("block4",):
        body = struct.pack("!BBH", nftables.NFPROTO_INET, 0, 0)
        body += nftables.attribute(1, b"sekisho\0") + nftables.attribute(2, name.encode() + b"\0")
        link.sock.send(struct.pack("=IHHII", 16 + len(body), nftables.GETSETELEM, nftables.NLM_F_REQUEST |
                                   nftables.NLM_F_DUMP, 1, 0) + body)
        done = False
        while not done:
            for kind, _, part in nftables.messages(link.sock.recv(1 << 17)):
                if kind in (nftables.NLMSG_DONE, nftables.NLMSG_ERROR):
                    done = True
                elif kind == nftables.NEWSETELEM:
                    for key, _, left in nftables.elements(part):
                        if left is not None:
                            yield key, left


def by_hand(t, f, attacker):
    f.manager.must("unblock", attacker)
    gone = wait_until(lambda: attacker not in (f.a.elements() or {}) and attacker not in (f.b.elements() or {}) and
                      attacker + "/32" not in f.ip_set(), 8)
    t.check("unblocked at the manager: gone from all three"
            + (f" after {gone:.1f} s" if gone is not None else ""), gone is not None,
            (attacker in (f.a.elements() or {}), attacker in (f.b.elements() or {}), attacker + "/32" in f.ip_set()))
    f.manager.must("block", HAND, "--for", "1h", "--reason", "by hand")
    took = wait_until(lambda: HAND in (f.a.elements() or {}) and HAND in (f.b.elements() or {}) and HAND + "/32" in f.ip_set(),
                      8)
    t.check("blocked at the manager: in all three" + (f" after {took:.1f} s" if took is not None else ""), took is not None)
    f.manager.must("unblock", HAND)


def restart(t, f):
    """The manager is killed, attacks go on, and it comes back."""
    f.manager.kill()
    sources = ["10.78.252.1", "10.78.252.2"]
    for a in sources:
        f.attack(a)
    t.check("without a manager A blocks as ever", wait_until(lambda: set(sources) <= set(f.a.elements() or ()), 3) is not None)
    time.sleep(1)
    t.check("and B knows nothing of it", not set(sources) & set(f.b.elements() or ()))
    f.manager.restart()
    began = time.monotonic()
    took = wait_until(lambda: set(sources) <= set(f.b.elements() or ()), 30)
    t.check("the manager is back: B blocks them" + (f" after {took:.1f} s" if took is not None else ""), took is not None,
            f.manager.log()[-500:])
    wait_until(lambda: {a + "/32" for a in sources} <= f.ip_set(), 15)
    t.check(f"and so does the IP set, after {time.monotonic() - began:.1f} s", {a + "/32" for a in sources} <= f.ip_set())


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--agent", required=True)
    ap.add_argument("--manager", required=True)
    ap.add_argument("--attacks", type=int, default=10)
    args = ap.parse_args()
    t = Tally("chain")
    if not can_run(t, "chain"):
        return t.end()
    f = Fleet(args.agent, args.manager)
    host_a, *others = sorted(os.sched_getaffinity(0))
    if others:
        f.a.processor = ["taskset", "-c", str(host_a)]
        f.a.inside = f.a.processor + f.a.inside
        os.sched_setaffinity(0, others)
    with f:
        agents = f.manager.json("agents")
        t.check("two hosts are enrolled with one token", len(agents) == 2 and len({a["token"] for a in agents}) == 1, agents)
        attackers = measure(t, f, args.attacks)
        if attackers:
            refused_on_b(t, f, attackers[0])
            by_hand(t, f, attackers[0])
        expiry(t, f)
        restart(t, f)
        for host in (f.a, f.b):
            t.check(f"agent {host.letter} stops", host.stop_agent() == 0)
        t.check("the manager stops", f.manager.stop() == 0)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
