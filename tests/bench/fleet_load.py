#!/usr/bin/env python3
"""A manager under the load of a fleet: 5,000 agents (fleet_load.c) with a heartbeat every 30 s, a poll that waits, and
500 events a second in all. The manager has one core; the fleet, and PostgreSQL where that is the store, another.

    fleet_load.py --manager build/release/manager/sekisho-manager [--agents N] [--seconds S] [--store WHERE] [--check]
    fleet_load.py --manager ... --store postgresql [--durable] [--away MS] [--managers 2 [--kill]]

--store postgresql: a server of its own, for the time of the test; --durable: with fsync, which it has not otherwise;
--away: a message to it and its answer take so long on their way.
--managers 2: half of the agents each; --kill: one of them dies in the middle, and its agents turn to the other one.
Prints latencies, memory and time of the processors; --check: and whether they are within the targets. With PostgreSQL of
its own it is looked up there that all that was acknowledged is stored, once and in order."""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "manager"))
from balancer import Balancer  # noqa: E402
from bed import Manager, Postgres, Tally  # noqa: E402

RSS_MIB, CORES = 300, 1.0
TICK = os.sysconf("SC_CLK_TCK")


def build(folder):
    program = os.path.join(folder, "fleet_load")
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, os.path.join(HERE, "fleet_load.c"), "-lssl", "-lcrypto"],
                   check=True)
    return program


def pin(pid, core):
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def favour(pid, nice):
    """Against what else runs on the machine: each thread, and the session as a whole where the kernel weighs those."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(task), nice)
    try:
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
            f.write(str(nice))
    except OSError:
        pass


def waited_s(pid):
    """How long its threads were ready and had no processor: with one core that is its own, they wait for each other."""
    return sum(int(open(f"/proc/{pid}/task/{t}/schedstat", encoding="ascii").read().split()[1])
               for t in os.listdir(f"/proc/{pid}/task")) / 1e9


def cpu_s(pid):
    words = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICK


def status_mib(pid, name):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return 0


def family(pid):
    """A server and its sessions, each of which is a session of the kernel's too."""
    return [pid, *map(int, open(f"/proc/{pid}/task/{pid}/children", encoding="ascii").read().split())]


def with_children(pid):
    """A PostgreSQL server: its sessions come and go, and what they took is their parent's then."""
    total = sum(int(open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[k]) for k in (13, 14)) / TICK
    for p in family(pid):
        try:
            total += cpu_s(p)
        except OSError:
            pass
    return total


class Watcher(threading.Thread):
    """What managers and database take while the fleet is measured."""

    def __init__(self, pids, database, fleet, halfway):
        super().__init__(daemon=True)
        self.pids, self.database, self.fleet, self.halfway = pids, database, fleet, halfway
        self.rss, self.lines = [], []
        self.cpu = self.ramp_cpu = self.waited = self.database_cpu = 0

    def taken(self):
        """Of those that live."""
        total = [0.0, 0.0]
        for p in list(self.pids):
            try:
                total = [total[0] + cpu_s(p), total[1] + waited_s(p)]
            except OSError:
                self.pids.remove(p)
        return total

    def run(self):
        began, cpu = time.monotonic(), self.taken()[0]
        for line in self.fleet.stderr:
            self.lines.append(line.strip())
            print("    " + line.strip(), flush=True)
            if line.startswith("enrolled"):
                print(f"    enrolling took {self.taken()[0] - cpu:.1f} s of the processor", flush=True)
                began, cpu = time.monotonic(), self.taken()[0]
            if line.startswith("connected"):
                self.ramp_cpu = (self.taken()[0] - cpu) / (time.monotonic() - began)
                break
        self.measure()

    def measure(self):
        began, (cpu, waited) = time.monotonic(), self.taken()
        database = with_children(self.database) if self.database else 0
        while self.fleet.poll() is None:
            self.rss.append(max(status_mib(p, "VmRSS") for p in self.pids))
            now, now_waited = self.taken()
            passed = max(time.monotonic() - began, 0.001)
            self.cpu, self.waited = (now - cpu) / passed, (now_waited - waited) / passed
            if self.database:
                self.database_cpu = (with_children(self.database) - database) / passed
            if self.halfway and passed > self.halfway[0]:
                self.halfway[1]()
                self.halfway, (cpu, waited), began = None, self.taken(), time.monotonic()
            time.sleep(0.5)


def run_fleet(managers, pg, program, args):
    m = managers[0]
    token, taken = m.path("token"), m.path("taken")
    with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
        f.write(m.token("--uses", str(args.agents)))
    words = [program, "--ca", m.ca_file, "--token", token, "--taken", taken]
    for k in managers:
        words += ["--connect", f"127.0.0.1:{k.port}"]
    for name in ("agents", "events", "batch", "blocks", "ramp", "seconds"):
        words += [f"--{name}", str(getattr(args, name))]
    fleet = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        pids = [k.running.process.pid for k in managers]
        database = pg.running.process.pid if pg else None
        for p in pids:
            pin(p, args.core)
        pin(fleet.pid, args.fleet_core)
        if args.nice:  # this process may be the way to the server
            for p in [os.getpid(), *pids, fleet.pid, *(family(database) if pg else [])]:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a session that has ended
                    favour(p, args.nice)
        w = Watcher(pids, database, fleet, (args.seconds / 2, managers[-1].kill) if args.kill else None)
        w.start()
        out = fleet.stdout.read()
        fleet.wait(30)
        w.join(5)
        return json.loads(out) if fleet.returncode == 0 else None, w
    finally:
        if fleet.poll() is None:
            fleet.kill()
            fleet.wait()


def show(r, w):
    print(f"{r['agents']} agents, {r['connections']} connections, {r['seconds']:.0f} s; enrolled in {r['enrol_s']:.1f} s")
    for kind in ("enrol", "heartbeat", "events"):
        k = r[kind]
        if k["n"]:
            print(f"  {kind:10} {k['n']:7} requests  p50 {k['p50']:8.2f} ms  p99 {k['p99']:8.2f} ms  max {k['max']:8.2f} ms  "
                  f"errors {k['errors']}")
    print(f"  feed       {r['poll']['all']:7} answers   {r['news']} with news, {r['entries_seen']} entries; {r['blocks']} blocks sent")
    print(f"  statuses {r['statuses']}, connections made again {r['reconnects']}, lost requests {r['lost']}, "
          f"not sent {r['dropped']}")
    print(f"  manager: {max(w.rss):.0f} MiB resident at most, {100 * w.cpu:.0f} % of a core ({100 * w.ramp_cpu:.0f} % while the "
          f"fleet connects); its threads waited {100 * w.waited:.0f} % for it")
    if w.database_cpu:
        print(f"  database: {100 * w.database_cpu:.0f} % of a core")


SIZES = """SELECT pg_database_size(current_database()) >> 20,
pg_total_relation_size('event') / (SELECT greatest(count(*), 1) FROM event)"""

STORED = """SELECT agent, count(*), count(DISTINCT (batch, item)), max(batch), count(DISTINCT batch), bool_and(batch >= before)
FROM (SELECT agent, batch, item, lag(batch, 1, batch) OVER (PARTITION BY agent ORDER BY id) AS before FROM
(SELECT id, agent, (json::json->>'tx_id')::bigint AS batch, (json::json->>'flow_id')::bigint AS item FROM event) AS e) AS e
GROUP BY agent"""


def look_up(t, m, pg):
    """A batch without a single event is one that only has a block: with --batch 1 there would be such."""
    stored = {r[0]: r[1:] for r in pg.rows(STORED)}
    taken = dict(line.split() for line in open(m.path("taken"), encoding="ascii"))
    told = {a: int(n) for a, n in taken.items() if int(n) > 0}
    lost = {a: (n, stored.get(a)) for a, n in told.items() if a not in stored or int(stored[a][2]) < n or
            int(stored[a][3]) != int(stored[a][2])}
    t.check(f"{sum(told.values())} batches were acknowledged: all of them are stored", told and not lost, list(lost.items())[:5])
    t.check("none twice, and in order", all(s[0] == s[1] and s[4] == "t" for s in stored.values()),
            [s for s in stored.items() if s[1][0] != s[1][1] or s[1][4] != "t"][:5])
    ahead = {a: s for a, s in stored.items() if int(s[2]) > int(taken[a]) + 1}
    t.check("and no more than those, and one each whose answer was under way", not ahead, list(ahead.items())[:5])


def judge(t, r, w, args):
    for kind in () if args.kill else ("heartbeat", "events"):
        t.check(f"{kind}: p99 {r[kind]['p99']:.1f} ms, at most {args.p99:g}", r[kind]["n"] and r[kind]["p99"] <= args.p99)
    t.check(f"memory {max(w.rss):.0f} MiB, at most {RSS_MIB}", max(w.rss) <= RSS_MIB)
    t.check(f"{w.cpu:.2f} cores, less than {CORES}", w.cpu < CORES)
    errors = sum(r[k]["errors"] for k in ("enrol", "heartbeat", "events", "poll"))
    t.check("no errors, nothing lost, nothing left out", errors + r["lost"] + r["dropped"] == 0, r)
    per_s = r["events"]["n"] * args.batch / r["seconds"]
    t.check(f"{per_s:.0f} events a second", per_s > 0.98 * args.events)
    if not args.kill:  # those that were turned away may be waiting at the end
        t.check("every agent has two connections", r["connections"] == 2 * r["agents"], r["connections"])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--manager", required=True)
    p.add_argument("--agents", type=int, default=5000)
    p.add_argument("--events", type=float, default=500)
    p.add_argument("--batch", type=int, default=10)
    p.add_argument("--blocks", type=float, default=0.2, help="new blocks a second, each told to all agents")
    p.add_argument("--ramp", type=int, default=60)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--store", help="default: SQLite; \"postgresql\": a server of the test's own")
    p.add_argument("--durable", action="store_true", help="that server writes to the disk before it answers")
    p.add_argument("--away", type=float, default=0, help="ms to that server and back")
    p.add_argument("--managers", type=int, default=1, choices=(1, 2), help="of one fleet, on PostgreSQL")
    p.add_argument("--kill", action="store_true", help="one of the two, in the middle")
    cores = sorted(os.sched_getaffinity(0))
    p.add_argument("--core", type=int, default=cores[0], help="the manager's")
    p.add_argument("--fleet-core", type=int, default=cores[1 % len(cores)])
    p.add_argument("--p99", type=float, default=100, help="ms, for --check")
    p.add_argument("--nice", type=int, default=0, help="of both; negative on a machine that others use")
    p.add_argument("--perf", help="record the manager with perf into this file while it is measured")
    p.add_argument("--check", action="store_true")
    args = p.parse_args()
    t = Tally("fleet_load")
    own = args.store == "postgresql"
    if args.kill and (args.managers < 2 or not own):
        p.error("--kill: of two managers, on a PostgreSQL of the test's own")
    if args.managers > 1 and not args.store:
        p.error("--managers: several share a PostgreSQL")
    pg = Postgres(args.durable, args.fleet_core) if own else None
    if own and pg.bin is None:
        t.skip("PostgreSQL", "is not installed")
        return t.end()
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(pg).where if own else args.store
        if own and args.away:
            way = stack.enter_context(Balancer([("127.0.0.1", pg.port)], delay=args.away / 2000))
            where = where.replace(str(pg.port), str(way.port))
        measure(t, args, stack, where, pg)
    return t.end()


def start_managers(args, stack, where):
    settings = f"limits:\n  connections: {args.agents * 2 + 2000}\n"
    managers = [stack.enter_context(Manager(args.manager, store=where, settings=settings)).init()]
    for _ in range(1, args.managers):
        managers.append(stack.enter_context(Manager(args.manager, store=where, settings=settings,
                                                    state_from=managers[0].state)))
    return [m.start() for m in managers]


def measure(t, args, stack, where, pg):
    managers = start_managers(args, stack, where)
    m = managers[0]
    perf = None
    if args.perf:
        perf = subprocess.Popen(["sh", "-c", f"sleep {args.ramp + 25}; exec perf record -q -g -F 499 -o {args.perf} "
                                 f"-p {m.running.process.pid} -- sleep 25"])
    r, w = run_fleet(managers, pg, build(m.dir), args)
    if perf:
        perf.wait(60)
    if r is None:
        print("\n".join([*w.lines, *w.fleet.stderr, f"exit code {w.fleet.returncode}", m.log()[-2000:]]))
        t.check("the fleet runs", False)
        return
    show(r, w)
    if not args.store:
        print("  files: " + ", ".join(f"{n} {os.path.getsize(os.path.join(m.state, n)) >> 20} MiB"
                                      for n in sorted(os.listdir(m.state)) if n.startswith("manager.db")))
    if pg:
        print("  {} MiB, {} bytes an event".format(*pg.rows(SIZES)[0]))
    if args.check:
        judge(t, r, w, args)
    if args.check and pg:
        look_up(t, m, pg)


if __name__ == "__main__":
    sys.exit(main())
